"""The way in, by hand."""

from playwright.sync_api import Page, expect

from ivy.accounts.models import User
from ivy.staff import roles
from tests.browser.conftest import serious_findings


class TestLoggingIn:
    def test_leads_staff_to_the_first_page(self, page: Page, live_server) -> None:
        roles.install()
        User.objects.create_user("ann@ivy.example", "a long enough secret", is_staff=True)
        page.goto(f"{live_server.url}/admin/")
        page.get_by_label("Email").fill("ann@ivy.example")
        page.get_by_label("Password:").fill("a long enough secret")
        assert serious_findings(page) == []
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{live_server.url}/admin/")
