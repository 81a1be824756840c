"""One payment is posted once, whoever asks again, and never changes; so is a credit."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing import corrections
from billing.corrections import Correction, NotCorrectable
from billing.explain import explain
from billing.imports.payments import import_payments
from billing.models import Customer, CustomerBalance, LedgerEntry
from billing.payments import take_payment
from tests.billing.at_once import at_once, real_commits
from tests.factories import MORNING, make_customer

ASTRID = "astrid.holm@example.com"


def pay(customer: Customer, amount: str, **fields: Any) -> Correction:
    defaults: dict[str, Any] = {"source": "till", "reference": "4711", "at": MORNING, "by": ASTRID, "reason": "Cash."}
    return take_payment(customer.account, Decimal(amount), **defaults | fields)


def credit(customer: Customer, amount: str, **fields: Any) -> Correction:
    defaults: dict[str, Any] = {"reference": "T-1", "reason": "Line was down.", "by": ASTRID, "at": MORNING}
    return corrections.give_credit(customer.account, Decimal(amount), **defaults | fields)


def balance_of(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


@pytest.mark.django_db
class TestAPayment:
    def test_is_posted_once_however_often_it_is_taken(self) -> None:
        customer = make_customer()
        first, second = pay(customer, "12.50"), pay(customer, "12.50")
        assert (first.changed, second.changed) == (True, False)
        assert (first.entry.key, first.entry.kind, first.entry.entered_by) == ("payment:till:4711", "payment", ASTRID)
        assert balance_of(customer) == Decimal("12.50")

    def test_is_a_refund_where_the_amount_is_negative(self) -> None:
        customer = make_customer(balance=20)
        assert pay(customer, "-5").entry.kind == "refund"
        assert balance_of(customer) == 15

    @pytest.mark.parametrize(
        ("again", "why"),
        [
            ({"amount": "13"}, "with the amount 12.5, not 13"),
            ({"received": date(2026, 2, 27)}, "as received at"),
        ],
    )
    def test_never_changes(self, again: dict[str, Any], why: str) -> None:
        customer = make_customer()
        pay(customer, "12.50")
        with pytest.raises(NotCorrectable, match=why):
            pay(customer, **{"amount": "12.50", **again})

    def test_is_known_for_another_account_too(self) -> None:
        pay(make_customer(account="A-1"), "5")
        with pytest.raises(NotCorrectable, match="for the account “A-1”, not “A-2”"):
            pay(make_customer(account="A-2"), "5")

    def test_is_known_to_a_file_that_brings_it_again(self) -> None:
        customer = make_customer(account="A-1")
        pay(customer, "12.50")
        file = b"reference,account,amount\n4711,A-1,12.50\n4712,A-1,1\n"
        result = import_payments(file, at=MORNING, payment_source="till")
        assert (result.created, result.unchanged, result.errors) == (1, 1, ())
        assert not pay(customer, "1", reference="4712").changed

    def test_is_not_taken_from_a_file_whose_references_a_spreadsheet_has_shortened(self) -> None:
        make_customer(account="A-1")
        result = import_payments(b"reference,account,amount\n2.02611E+11,A-1,12.50\n", at=MORNING)
        (error,) = result.errors
        assert error.line == 2
        assert error.error.startswith("reference “2.02611E+11” is a number that a spreadsheet has shortened")

    def test_is_dated_by_the_day_it_was_received(self) -> None:
        customer = make_customer(timezone="America/New_York")
        entry = pay(customer, "5", received=date(2026, 2, 28)).entry
        assert entry.occurred_at == datetime(2026, 2, 28, 5, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"amount": "0"}, "other than zero"),
            ({"amount": "NaN"}, "other than zero"),
            ({"amount": "0.0000001"}, "more digits"),
            ({"amount": "1", "source": "a:b"}, "no name of a source"),
            ({"amount": "1", "reference": " "}, "has a reference"),
            ({"amount": "1", "received": MORNING + timedelta(days=2)}, "a day ahead"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, fields: dict[str, Any], why: str) -> None:
        with pytest.raises(NotCorrectable, match=why):
            pay(make_customer(), **fields)
        assert not LedgerEntry.objects.exists()

    def test_needs_a_customer(self) -> None:
        with pytest.raises(NotCorrectable, match="no customer “nobody”"):
            take_payment("nobody", Decimal(1), source="till", reference="1", at=MORNING)


@pytest.mark.django_db
class TestACredit:
    def test_is_given_once_and_explained(self) -> None:
        customer = make_customer(account="A-1")
        first, second = credit(customer, "7.5"), credit(customer, "7.5")
        assert (first.changed, second.changed) == (True, False)
        assert (first.entry.key, first.entry.kind) == ("credit:staff:A-1:T-1", "credit")
        assert balance_of(customer) == Decimal("7.5")
        told = " ".join(explain("credit:staff:A-1:T-1").steps)
        assert "A credit of 7.50 GBP" in told
        assert "(T-1)" in told
        assert f"{ASTRID} gave it on" in told

    def test_adds_to_the_balance_or_is_none(self) -> None:
        with pytest.raises(NotCorrectable, match="above zero"):
            credit(make_customer(), "-1")

    def test_never_changes(self) -> None:
        customer = make_customer()
        credit(customer, "7.5")
        with pytest.raises(NotCorrectable, match="posted already"):
            credit(customer, "8")


@real_commits
def test_a_payment_taken_at_two_tills_at_once_is_posted_once() -> None:
    customer = make_customer()
    answers = at_once(*[lambda: pay(customer, "12.50").changed] * 2)
    assert sorted(answers) == [False, True]
    assert balance_of(customer) == Decimal("12.50")
