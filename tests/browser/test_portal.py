"""The portal as partners see it, in a browser."""

import re

import pytest
from django.core import mail
from playwright.sync_api import Page, expect

from billing import halting
from billing.models import Process
from ivy.portal import people
from ivy.portal.models import Role
from tests import factories
from tests.browser.conftest import carry_session, overflows, serious_findings

PAGES = ["/portal/", "/portal/status/", "/portal/people/", "/portal/brand/", "/portal/settings/", "/status/"]


@pytest.fixture
def owner_page(page: Page, live_server) -> Page:
    """A window in which the owner of Harbour is logged in."""
    owner = factories.make_portal_user()
    customer = factories.make_customer(balance=-5)
    factories.make_call_charge(factories.make_call(customer=customer))
    carry_session(page.context, live_server.url, owner.user)
    return page


class TestAnInvitation:
    def test_leads_into_the_portal_by_keyboard_alone(self, page: Page, live_server) -> None:
        people.invite(factories.harbour(), email="jonas@harbour.example", role=Role.OWNER, by="mei@harbour.example")
        link = re.search(r"/portal/invitation/\S+", str(mail.outbox[0].body))
        page.goto(live_server.url + link[0])
        assert serious_findings(page) == []
        page.get_by_label("Your name").fill("Jonas Weber")
        for _ in range(2):
            page.keyboard.press("Tab")
            page.keyboard.type("a long walk along the quay")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        assert page.mistakes == []


class TestTheBanner:
    def test_comes_and_goes_by_itself_within_five_seconds(self, owner_page: Page, live_server) -> None:
        owner_page.goto(f"{live_server.url}/portal/settings/")
        banner = owner_page.get_by_text("Billing of calls is halted since")
        expect(banner).to_have_count(0)
        halting.halt(Process.CALLS, reason="Doubled calls.", by="olga@ivy.example")
        expect(banner).to_be_visible(timeout=5_000)
        assert serious_findings(owner_page) == []
        halting.resume(Process.CALLS, reason="Mended.", by="olga@ivy.example")
        expect(banner).to_have_count(0, timeout=5_000)
        assert owner_page.mistakes == []


class TestPages:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_can_be_read_by_everybody_and_fit_a_phone(self, owner_page: Page, live_server, scheme: str) -> None:
        owner_page.emulate_media(color_scheme=scheme)
        for path in PAGES:
            owner_page.set_viewport_size({"width": 1280, "height": 900})
            owner_page.goto(live_server.url + path)
            assert serious_findings(owner_page) == [], path
            owner_page.set_viewport_size({"width": 400, "height": 800})
            assert not overflows(owner_page), path
        assert owner_page.mistakes == []
