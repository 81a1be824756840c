"""Stories of customers and money, before a real browser: found by number, paid once, explained, credited by two."""

import pytest
from playwright.sync_api import Page, expect

from billing.models import Customer, CustomerBalance, LedgerEntry
from ivy.models import AuditEntry, CreditRequest
from notifications import reviewing
from notifications.models import Outcome, State, Verb
from tests.browser.conftest import overflows, serious_findings
from tests.factories import (
    make_alert,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_episode,
    make_identity,
    make_item,
)
from tests.notifications.stories import make_attempt, make_mail


@pytest.fixture
def okafor(transactional_db: None) -> Customer:
    customer = make_customer(account="LD-1007", name="Okafor Bakery", balance=5)
    make_identity(customer=customer, value="442079460123")
    make_episode(alert=make_alert(customer=customer, threshold=10))
    make_item(customer=customer, reference="trunk-7")
    make_call_charge(make_call(customer=customer))
    return customer


def balance_of(customer: Customer) -> int:
    return int(CustomerBalance.objects.get(customer=customer).balance)


def find(page: Page, term: str) -> None:
    """Write into the box on top of the page, by keyboard alone."""
    page.get_by_label("Find a customer, call, entry or mail").fill(term)
    page.keyboard.press("Enter")


class TestACustomer:
    def test_is_found_by_phone_number_and_pays_once_though_the_button_is_clicked_twice(
        self, page: Page, live_server, log_in, okafor: Customer
    ) -> None:
        log_in("billing")
        page.goto(f"{live_server.url}/admin/")
        find(page, "+44 (0)20 7946 0123")
        expect(page.get_by_role("heading", name="LD-1007 · Okafor Bakery")).to_be_visible()
        page.get_by_role("link", name="Take a payment").click()
        page.get_by_label("Amount").fill("25")
        page.get_by_label("Reference").fill("4711")
        page.get_by_label("Reason").fill("Cash over the counter.")
        page.get_by_role("button", name="Show what would follow").click()
        expect(page.get_by_text("The fall below 10.00 GBP is over")).to_be_visible()
        assert serious_findings(page) == []
        page.get_by_role("button", name="Take the payment").dblclick()
        expect(page.get_by_role("heading", name="LD-1007 · Okafor Bakery")).to_be_visible()
        expect(page.locator(".customer-head .figure")).to_have_text("29.97 GBP")
        assert LedgerEntry.objects.filter(key="payment:staff:4711").count() == 1
        assert AuditEntry.objects.filter(verb="take payment").count() == 1
        page.go_back()
        page.goto(f"{live_server.url}/admin/search/?q=Okafor")
        expect(page.get_by_role("link", name="LD-1007 · Okafor Bakery")).to_be_visible()
        assert page.mistakes == []

    def test_has_a_charge_explained(self, page: Page, live_server, log_in, okafor: Customer) -> None:
        log_in("support")
        page.goto(f"{live_server.url}/admin/customers/LD-1007/")
        page.locator("#payments, #ledger").get_by_role("link", name="Explain opening:LD-1007").first.click()
        expect(page.get_by_text("The balance that Okafor Bakery, account LD-1007, brought along")).to_be_visible()
        assert serious_findings(page) == []
        page.get_by_role("link", name="LD-1007 · Okafor Bakery").click()
        expect(page.locator(".customer-head")).to_be_visible()

    def test_gets_a_large_credit_from_two_people(self, page: Page, live_server, log_in, okafor: Customer) -> None:
        log_in("billing", email="bill@ivy.example")
        page.goto(f"{live_server.url}/admin/customers/LD-1007/credit/")
        page.get_by_label("Amount").fill("150")
        page.get_by_label("Reference").fill("T-9")
        page.get_by_label("Reason").fill("A week without telephone.")
        page.get_by_role("button", name="Show what would follow").click()
        expect(page.get_by_text("Not posted yet:")).to_be_visible()
        page.get_by_role("button", name="Give the credit").click()
        expect(page.get_by_role("heading", name="Waiting for a second person")).to_be_visible()
        assert balance_of(okafor) == 4
        page.goto(f"{live_server.url}/admin/money/credits/")
        expect(page.get_by_role("link", name="Withdraw T-9")).to_be_visible()
        expect(page.get_by_role("link", name="Approve T-9")).to_have_count(0)

        log_in("admin", email="ada@ivy.example")
        page.goto(f"{live_server.url}/admin/money/credits/")
        assert serious_findings(page) == []
        page.get_by_role("link", name="Approve T-9").click()
        page.get_by_label("Reason").fill("Seen the fault report.")
        page.get_by_role("button", name="Show what would follow").click()
        page.get_by_role("button", name="Approve and post it").click()
        expect(page.get_by_text("was approved")).to_be_visible()
        assert balance_of(okafor) == 154
        assert CreditRequest.objects.get().decided_by.email == "ada@ivy.example"

    def test_is_looked_at_by_support_who_can_do_nothing_with_money(
        self, page: Page, live_server, log_in, okafor: Customer
    ) -> None:
        log_in("support")
        page.goto(f"{live_server.url}/admin/customers/LD-1007/")
        expect(page.get_by_role("link", name="Take a payment")).to_have_count(0)
        answer = page.goto(f"{live_server.url}/admin/customers/LD-1007/payment/")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_text("needs the permission billing.take_payment")).to_be_visible()
        page.goto(f"{live_server.url}/admin/customers/LD-1007/")
        page.get_by_label("Note").fill("Wants a call after nine.")
        page.get_by_role("button", name="Keep the note").click()
        expect(page.get_by_text("The note was kept.")).to_be_visible()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_can_be_read_by_everybody_on_any_screen(
        self, scheme: str, page: Page, live_server, log_in, okafor: Customer
    ) -> None:
        make_entry(customer=okafor, description="A payment with an unusually long description that goes on and on")
        mail = make_mail(State.UNCERTAIN, alert=make_alert(customer=okafor, threshold=60))
        reviewing.review(Verb.RESEND, [mail.key], reason="They say that none came.", by="bob@ivy.example")
        make_attempt(mail, outcome=Outcome.ACCEPTED)
        log_in(superuser=True)
        page.emulate_media(color_scheme=scheme)
        pages = [
            "customers/LD-1007/",
            "customers/LD-1007/done/",
            "changes/?by=bob@ivy.example",
            "customers/LD-1007/alerts/add/",
            "search/?q=LD&all=1",
        ]
        if scheme == "light":
            pages += ["money/credits/", "explain/?key=opening:LD-1007", "money/reverse/?key=opening:LD-1007"]
        for path in pages:
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(f"{live_server.url}/admin/{path}")
            assert serious_findings(page) == [], path
            if scheme == "light":
                page.set_viewport_size({"width": 400, "height": 800})
                assert not overflows(page), path


class TestTheCommandPalette:
    def test_finds_a_customer(self, page: Page, live_server, log_in, okafor: Customer) -> None:
        log_in("support")
        page.goto(f"{live_server.url}/admin/")
        page.keyboard.press("Control+k")
        page.locator("#search-input-command").press_sequentially("okafor")
        expect(page.locator("#command-results").get_by_text("LD-1007 · Okafor Bakery")).to_be_visible()
        page.locator("#command-results").get_by_text("LD-1007 · Okafor Bakery").click()
        expect(page.locator(".customer-head")).to_be_visible()
