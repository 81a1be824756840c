"""Payments, refunds, credits, adjustments and reversals by staff: shown before, done once, noted, and fenced."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Customer, CustomerBalance, EntryKind, LedgerEntry
from billing.payments import take_payment
from ivy.models import AuditEntry
from tests.factories import (
    MORNING,
    make_alert,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_episode,
    make_free_call,
)
from tests.staff.forms import browser_of, filled_in, member, shown_and_done, text_of

pytestmark = pytest.mark.django_db

PAYMENT = {"amount": "25", "source": "till", "reference": "4711", "reason": "Cash over the counter."}
GIVING = {"amount": "25", "reference": "T-9", "reason": "The line was down."}


@pytest.fixture(autouse=True)
def no_lockout(settings: Any) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def customer() -> Customer:
    return make_customer(account="A-1", name="Okafor Bakery", balance=5)


@pytest.fixture
def billing() -> Client:
    return browser_of(member("billing", email="bill@ivy.example"))


def page(name: str, customer: Customer) -> str:
    return reverse(f"admin:money_{name}", args=[customer.account])


def balance_of(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


class TestTakingAPayment:
    def test_shows_the_balance_before_and_after_and_what_it_ends(self, billing: Client, customer: Customer) -> None:
        make_episode(alert=make_alert(customer=customer, threshold=10))
        url = page("payment", customer)
        shown = billing.post(url, filled_in(billing.get(url), **PAYMENT))
        told = text_of(shown)
        assert "Balance before 5.00 GBP" in told
        assert "Balance after 30.00 GBP" in told
        assert "The fall below 10.00 GBP is over; nobody was told of it." in told
        assert "No mail goes out because of it." in told
        assert balance_of(customer) == 5, "nothing was done by looking"
        assert not AuditEntry.objects.exists()

    def test_posts_it_and_notes_who_did_it_and_how_the_balance_moved(self, billing: Client, customer: Customer) -> None:
        answer = shown_and_done(billing, page("payment", customer), **PAYMENT)
        assert answer.url == reverse("admin:customer", args=["A-1"])
        entry = LedgerEntry.objects.get(key="payment:till:4711")
        assert (entry.amount, entry.entered_by, entry.reason) == (25, "bill@ivy.example", "Cash over the counter.")
        note = AuditEntry.objects.get()
        assert (note.by, note.verb, note.noun, note.name) == ("bill@ivy.example", "take payment", "customer", "A-1")
        assert note.before == {"balance": "5.00 GBP"}
        assert note.after == {"balance": "30.00 GBP", "entry": "payment:till:4711"}

    def test_twice_with_the_same_form_takes_it_once_and_says_so(self, billing: Client, customer: Customer) -> None:
        url = page("payment", customer)
        form = filled_in(billing.post(url, filled_in(billing.get(url), **PAYMENT)))
        billing.post(url, form)
        again = billing.post(url, form, follow=True)
        assert "This was done already" in text_of(again)
        assert balance_of(customer) == 30
        assert AuditEntry.objects.count() == 1

    def test_again_with_the_same_reference_is_refused_in_words(self, billing: Client, customer: Customer) -> None:
        shown_and_done(billing, page("payment", customer), **PAYMENT)
        url = page("payment", customer)
        again = billing.post(url, filled_in(billing.get(url), **PAYMENT))
        assert "was posted already" in text_of(again)
        assert "Nothing was posted twice" in text_of(again)
        assert balance_of(customer) == 30

    def test_is_shown_again_when_the_balance_has_moved_since(self, billing: Client, customer: Customer) -> None:
        url = page("payment", customer)
        form = filled_in(billing.post(url, filled_in(billing.get(url), **PAYMENT)))
        make_entry(customer=customer, amount=Decimal(100))
        moved = billing.post(url, form)
        assert "Nothing was done yet:" in text_of(moved)
        assert "Balance after 130.00 GBP" in text_of(moved)
        assert billing.post(url, filled_in(moved)).status_code == 302
        assert balance_of(customer) == 130

    def test_is_shown_again_when_the_amount_was_changed_after_the_preview(
        self, billing: Client, customer: Customer
    ) -> None:
        url = page("payment", customer)
        form = filled_in(billing.post(url, filled_in(billing.get(url), **PAYMENT)), amount="250")
        assert "Balance after 255.00 GBP" in text_of(billing.post(url, form))
        assert balance_of(customer) == 5

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ({"amount": "-5"}, "Write an amount above zero."),
            ({"amount": "0.005"}, "GBP has 2 decimals"),
            ({"source": "a bank"}, "valid “slug”"),
            ({"received_on": "2999-01-01"}, "more than a day ahead"),
            ({"reason": ""}, "This field is required."),
        ],
    )
    def test_says_what_makes_no_sense(
        self, said: dict[str, str], why: str, billing: Client, customer: Customer
    ) -> None:
        url = page("payment", customer)
        assert why in text_of(billing.post(url, filled_in(billing.get(url), **{**PAYMENT, **said})))
        assert balance_of(customer) == 5

    def test_works_for_a_closed_customer(self, billing: Client) -> None:
        closed = make_customer(account="A-2", status="closed")
        assert shown_and_done(billing, page("payment", closed), **PAYMENT).status_code == 302


class TestARefund:
    def test_is_taken_off_the_balance_and_tells_whom_it_will_alert(self, billing: Client, customer: Customer) -> None:
        make_alert(customer=customer, threshold=4)
        url = page("refund", customer)
        shown = billing.post(url, filled_in(billing.get(url), **{**PAYMENT, "amount": "2"}))
        assert "A fall below 4.00 GBP begins." in text_of(shown)
        assert f"A mail “low_balance” goes to {customer.email}" in text_of(shown)
        billing.post(url, filled_in(shown))
        assert LedgerEntry.objects.get(key="payment:till:4711").kind == EntryKind.REFUND
        assert balance_of(customer) == 3


class TestCreditsAndAdjustments:
    def test_are_posted_up_to_the_limit(self, billing: Client, customer: Customer) -> None:
        shown_and_done(billing, page("credit", customer), **GIVING)
        shown_and_done(billing, page("adjust", customer), **{**GIVING, "amount": "-1.2345"})
        kinds = LedgerEntry.objects.order_by("pk").values_list("kind", "amount")
        assert list(kinds)[1:] == [("credit", 25), ("adjustment", Decimal("-1.2345"))]
        assert balance_of(customer) == Decimal("28.7655")

    def test_need_a_reason(self, billing: Client, customer: Customer) -> None:
        url = page("adjust", customer)
        billing.post(url, filled_in(billing.get(url), **{**GIVING, "reason": "  "}))
        assert balance_of(customer) == 5


class TestReversing:
    def url(self, key: str) -> str:
        return f"{reverse('admin:money_reverse')}?{urlencode({'key': key})}"

    def test_shows_what_follows_and_takes_the_entry_back(self, billing: Client, customer: Customer) -> None:
        call = make_call(customer=customer)
        charge = make_call_charge(call, amount=Decimal("-2"))
        url = self.url(charge.key)
        opened = billing.get(url)
        assert "The balance is 5.00 GBP then." in text_of(opened)
        assert "not charged again, by no run" in text_of(opened)
        shown = billing.post(url, filled_in(opened, reason="Goodwill."))
        assert "Balance after 5.00 GBP" in text_of(shown)
        assert billing.post(url, filled_in(shown)).status_code == 302
        assert LedgerEntry.objects.get(reverses=charge.key).entered_by == "bill@ivy.example"
        assert balance_of(customer) == 5
        assert AuditEntry.objects.get().name == "A-1"

    def test_of_what_was_reversed_is_refused(self, billing: Client, customer: Customer) -> None:
        paid = take_payment("A-1", Decimal(3), source="till", reference="1", at=MORNING).entry
        url = self.url(paid.key)
        shown_and_done(billing, url, reason="Bounced.")
        again = billing.get(url)
        assert "It was reversed already, by bill@ivy.example" in text_of(again)
        stale = billing.post(url, {**filled_in(again), "reason": "Again."})
        assert stale.status_code == 200
        assert balance_of(customer) == 5
        assert "is a reversal, and stays" in text_of(billing.get(self.url(f"reversal:{paid.key}")))

    def test_of_an_unknown_key_is_not_found(self, billing: Client) -> None:
        assert billing.get(self.url("payment:till:none")).status_code == 404


class TestExplaining:
    def url(self, key: str) -> str:
        return f"{reverse('admin:explain')}?{urlencode({'key': key})}"

    def test_tells_how_an_entry_came_about_and_leads_to_its_customer(self, customer: Customer) -> None:
        support = browser_of(member("support"))
        paid = take_payment("A-1", Decimal(3), source="till", reference="1", at=MORNING, by="x", reason="Cash.").entry
        answer = support.get(self.url(paid.key))
        assert "A payment of 3.00 GBP by Okafor Bakery" in text_of(answer)
        assert reverse("admin:customer", args=["A-1"]) in answer.content.decode()
        assert "Reverse it" not in text_of(answer)

    def test_tells_of_calls_that_cost_nothing(self, billing: Client) -> None:
        free = make_free_call()
        assert "nobody answered" in text_of(billing.get(self.url(free.call_key)))

    def test_says_when_there_is_no_such_thing(self, billing: Client) -> None:
        answer = billing.get(self.url("call:nowhere:none"))
        assert answer.status_code == 404
        assert "Nothing has the key “call:nowhere:none”" in text_of(answer)


class TestTheFence:
    @pytest.mark.parametrize(
        ("role", "allowed"), [("support", False), ("operator", False), ("billing", True), ("admin", True)]
    )
    @pytest.mark.parametrize("name", ["payment", "refund", "credit", "adjust"])
    def test_keeps_money_to_those_who_may(self, name: str, role: str, allowed: bool, customer: Customer) -> None:
        browser = browser_of(member(role))
        for answer in (browser.get(page(name, customer)), browser.post(page(name, customer), {**PAYMENT, **GIVING})):
            assert answer.status_code == (200 if allowed else 403)
            if not allowed:
                assert "Nothing was changed. An admin can give you a role that has it." in text_of(answer)
        assert balance_of(customer) == 5

    def test_keeps_reversals_to_those_who_may(self, customer: Customer) -> None:
        paid = take_payment("A-1", Decimal(3), source="till", reference="1", at=MORNING).entry
        url = f"{reverse('admin:money_reverse')}?{urlencode({'key': paid.key})}"
        assert browser_of(member("support")).post(url, {"reason": "x"}).status_code == 403
        assert not LedgerEntry.objects.filter(kind=EntryKind.REVERSAL).exists()
