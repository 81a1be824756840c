"""The portal as partners see it, in a browser."""

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db.models import Sum
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from billing import cycle, halting
from billing.models import Customer, LedgerEntry, Process
from ivy.portal import people
from ivy.portal.models import Role
from tests import factories
from tests.browser.conftest import carry_session, overflows, serious_findings
from tests.portal.statements import can_print, figures_in, pdf_text, written

PAGES = [
    "/portal/",
    "/portal/customers/",
    "/portal/customers/HV-1/",
    "/portal/customers/HV-1/ledger/",
    "/portal/customers/HV-1/alerts/",
    "/portal/customers/HV-1/items/",
    "/portal/calls/",
    "/portal/statements/",
    f"/portal/statements/{timezone.now():%Y-%m}/",
    f"/portal/statements/{timezone.now():%Y-%m}/HV-1/",
    "/portal/tokens/",
    "/portal/alerts/",
    "/portal/requests/",
    "/portal/status/",
    "/portal/people/",
    "/portal/brand/",
    "/portal/settings/",
    "/status/",
]


@pytest.fixture
def owner_page(page: Page, live_server) -> Page:
    """A window in which the owner of Harbour is logged in."""
    owner = factories.make_portal_user()
    customer = factories.make_customer(account="HV-1", balance=-5)
    factories.make_item(customer=customer, description="Trunk of ten lines")
    call = factories.make_call(customer=customer, started_at=timezone.now() - timedelta(hours=3))
    factories.make_call_charge(call, amount=Decimal("-0.1234"))
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
    def test_comes_and_goes_by_itself(self, owner_page: Page, live_server) -> None:
        owner_page.goto(f"{live_server.url}/portal/settings/")
        banner = owner_page.get_by_text("Billing of calls is halted since")
        expect(banner).to_have_count(0)
        expect(owner_page.locator("#banners")).to_have_attribute("hx-trigger", "every 3s")
        halting.halt(Process.CALLS, reason="Doubled calls.", by="olga@ivy.example")
        expect(banner).to_be_visible()
        assert serious_findings(owner_page) == []
        halting.resume(Process.CALLS, reason="Mended.", by="olga@ivy.example")
        expect(banner).to_have_count(0)
        assert owner_page.mistakes == []

    def test_gives_way_to_the_log_in_once_somebody_is_logged_out(self, owner_page: Page, live_server) -> None:
        owner_page.goto(f"{live_server.url}/portal/customers/HV-1/")
        owner_page.context.clear_cookies()
        expect(owner_page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(owner_page.get_by_text("HV-1")).to_have_count(0)


class TestACall:
    def test_is_found_explained_and_downloaded_with_the_ledgers_total(self, owner_page: Page, live_server) -> None:
        factories.make_rate()
        entry = LedgerEntry.objects.get(kind="call")
        owner_page.goto(f"{live_server.url}/portal/")
        owner_page.get_by_role("link", name="Calls", exact=True).click()
        owner_page.get_by_label("Number, or part of it").fill("+44 7700")
        owner_page.get_by_role("button", name="Show").click()
        expect(owner_page.locator("#totals")).to_contain_text("£0.1234")
        with owner_page.expect_download() as download:
            owner_page.get_by_role("link", name="Download all of them as CSV").click()
        (line,) = csv.DictReader(io.StringIO(download.value.path().read_text()))
        assert Decimal(line["price"]) == -entry.amount
        owner_page.locator("tbody a").first.click()
        expect(owner_page.get_by_role("heading", name="How this came about")).to_be_visible()
        expect(owner_page.get_by_text(entry.key)).to_be_visible()
        assert owner_page.mistakes == []

    def test_that_came_while_calls_are_halted_appears_once_they_are_resumed(
        self, owner_page: Page, browser: Browser, live_server
    ) -> None:
        """From both sides at once: staff halt in one window, and a partner looks on in another."""
        began = timezone.now() - timedelta(hours=1)
        halting.halt(Process.CALLS, reason="Doubled calls.", by="olga@ivy.example")
        customer = Customer.objects.get(account="HV-1")
        Customer.objects.update(rate_deck=factories.make_rate(prefix="44").deck)
        factories.make_call(customer=customer, started_at=began, to_number="447700900777")
        cycle.run_cycle(by="test", at=timezone.now())
        url = f"{live_server.url}/portal/calls/?number=900777"
        owner_page.goto(url)
        expect(owner_page.get_by_text("No billed call fits")).to_be_visible()
        banner = owner_page.get_by_text("Billing of calls is halted since")
        expect(banner).to_be_visible()
        staff = browser.new_context()
        ann = factories.make_user(email="ann@ivy.example", is_staff=True)
        ann.groups.add(factories.role("operator"))
        carry_session(staff, live_server.url, ann)
        desk = staff.new_page()
        desk.goto(f"{live_server.url}/admin/control/resume/calls/")
        desk.get_by_label("Reason").fill("Mended.")
        desk.get_by_role("button", name="Resume now").click()
        expect(banner).to_have_count(0)
        cycle.run_cycle(by="test", at=timezone.now())
        owner_page.goto(url)
        expect(owner_page.locator("tbody tr")).to_have_count(1)
        staff.close()


class TestAStatement:
    def test_has_the_ledgers_closing_balance_on_screen_in_csv_and_in_pdf(self, owner_page: Page, live_server) -> None:
        customer = Customer.objects.get(account="HV-1")
        factories.make_entry(customer=customer, key="payment:bank:4711", amount=Decimal("20.50"))
        balance = LedgerEntry.objects.filter(customer=customer).aggregate(total=Sum("amount"))["total"]
        owner_page.goto(f"{live_server.url}/portal/")
        owner_page.get_by_role("link", name="Statements", exact=True).click()
        owner_page.locator("tbody a").first.click()
        owner_page.get_by_role("link", name="HV-1").first.click()
        expect(owner_page.get_by_role("link", name="CSV", exact=True)).to_be_visible()
        owner_page.wait_for_load_state()
        on_screen = figures_in(owner_page.locator("main").inner_text().split("\nLines\n")[0], "GBP")
        assert on_screen[-1] == written(balance, "GBP")
        with owner_page.expect_download() as download:
            owner_page.get_by_role("link", name="CSV", exact=True).click()
        lines = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        assert sum(Decimal(line["amount"]) for line in lines[1:-1]) == balance == Decimal(lines[-1]["balance"])
        if can_print():  # as the same file told by itself, in tests of statements
            with owner_page.expect_download() as download:
                owner_page.get_by_role("link", name="PDF", exact=True).click()
            assert figures_in(pdf_text(download.value.path().read_bytes()).split("\nLines\n")[0], "GBP") == on_screen
        assert owner_page.mistakes == []


class TestAnAlert:
    def test_is_changed_on_the_customers_page(self, owner_page: Page, live_server) -> None:
        owner_page.goto(f"{live_server.url}/portal/customers/HV-1/")
        owner_page.get_by_role("link", name="Alerts, and what was told").click()
        owner_page.get_by_label("Threshold").last.fill("12.50")
        owner_page.get_by_role("button", name="Add the alert").click()
        expect(owner_page.get_by_text("The alert is set.")).to_be_visible()
        expect(owner_page.get_by_role("heading", name="Below £12.50")).to_be_visible()
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
