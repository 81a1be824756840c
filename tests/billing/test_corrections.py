"""Reversals and adjustments: posted once, by a name and for a reason, and never an invitation to charge again."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import corrections, cycle, halting
from billing.corrections import Correction, NotCorrectable
from billing.models import BillingItem, Customer, CustomerBalance, LedgerEntry, Process
from billing.reconcile import checks
from tests.billing.at_once import at_once, real_commits
from tests.factories import (
    MORNING,
    key_of,
    make_batch,
    make_call,
    make_customer,
    make_delivery,
    make_entry,
    make_item,
    make_rate,
    standard_deck,
)

ASTRID = "Astrid Holm"


def balance_of(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


def reverse(key: str, **fields: Any) -> Correction:
    return corrections.reverse(key, **{"reason": "Charged in error.", "by": ASTRID} | fields)


def adjust(account: str, amount: str, **fields: Any) -> Correction:
    defaults: dict[str, Any] = {"reference": "T-1", "reason": "Goodwill.", "by": ASTRID, "at": MORNING}
    return corrections.adjust(account, Decimal(amount), **defaults | fields)


def run(at: datetime = datetime(2026, 3, 20, tzinfo=UTC)) -> Any:
    return cycle.run_cycle(by=ASTRID, at=at)


def drift() -> list[str]:
    return [f"{rule.name}: {found}" for rule, count, found in checks() if count]


def command(name: str, *arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    call_command(name, *arguments, "--json")
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.django_db
class TestAReversal:
    def test_is_the_opposite_entry_and_names_what_it_takes_back(self) -> None:
        lindqvist = make_customer(balance=100)
        make_item(customer=lindqvist, reference="trunk-7", amount=31, ends_on=date(2026, 3, 11))
        run()
        assert balance_of(lindqvist) == 90

        done = reverse("item:trunk-7:2026-03-01", reason="Never ordered.")

        entry = done.entry
        assert (done.changed, entry.key, entry.kind) == (True, "reversal:item:trunk-7:2026-03-01", "reversal")
        assert (entry.amount, entry.currency, entry.reverses) == (Decimal(10), "GBP", "item:trunk-7:2026-03-01")
        assert (entry.reason, entry.entered_by) == ("Never ordered.", ASTRID)
        assert entry.description == "Taken back: SIP trunk"
        assert balance_of(lindqvist) == 100

    def test_occurred_with_what_it_takes_back_and_was_posted_now(self) -> None:
        payment = make_entry(occurred_at=datetime(2024, 2, 29, 23, 30, tzinfo=UTC))
        before = timezone.now()
        entry = reverse(payment.key).entry
        assert (entry.occurred_at, entry.booked_month) == (payment.occurred_at, payment.booked_month)
        assert entry.posted_at >= before.replace(microsecond=0)

    def test_again_changes_nothing(self) -> None:
        payment = make_entry()
        first, second = reverse(payment.key), reverse(payment.key, reason="Once more.", by="Samuel Adeyemi")
        assert (first.changed, second.changed) == (True, False)
        assert second.entry == first.entry
        assert second.entry.reason == "Charged in error."
        assert balance_of(payment.customer) == 0

    @pytest.mark.parametrize(
        ("kind", "amount"), [("payment", 10), ("refund", -10), ("opening", -3), ("adjustment", 5), ("recurring", 0)]
    )
    def test_takes_back_whatever_moved_the_balance(self, kind: str, amount: int) -> None:
        entry = make_entry(kind=kind, amount=amount, reason="Because.", entered_by=ASTRID)
        assert reverse(entry.key).entry.amount == -amount
        assert balance_of(entry.customer) == 0

    def test_cannot_be_reversed(self) -> None:
        reversal = reverse(make_entry().key).entry
        with pytest.raises(NotCorrectable, match="is a reversal, and stays"):
            reverse(reversal.key)

    def test_of_what_is_not_there_is_refused(self) -> None:
        with pytest.raises(NotCorrectable, match="There is no ledger entry “call:pbx-north:leg-0”"):
            reverse("call:pbx-north:leg-0")


@pytest.mark.django_db(transaction=True)
class TestWhatWasReversed:
    """Never due to a run again."""

    def test_is_not_charged_again_by_a_run(self) -> None:
        lindqvist = make_customer(rate_deck=standard_deck())
        make_rate()
        delivery = make_delivery(read_count=1, accepted_count=1)
        call = make_call(customer=lindqvist, batch=make_batch(delivery=delivery))
        trunk = make_item(customer=lindqvist, reference="trunk-7")
        make_item(customer=lindqvist, reference="port-7", kind="one_off")
        run()
        keys = [key_of(call), "item:trunk-7:2026-03-01", "item:port-7:2026-03-01"]
        assert {entry.key for entry in LedgerEntry.objects.all()} == set(keys)

        for key in keys:
            assert reverse(key).changed
        BillingItem.objects.filter(pk=trunk.pk).update(ends_on=date(2026, 12, 1))  # looked at again

        done = run()
        assert (done.state, done.calls_billed, done.item_charges, done.one_off_charges) == ("done", 0, 0, 0)
        assert balance_of(lindqvist) == 0
        assert drift() == []

    def test_may_be_reversed_while_everything_is_halted(self) -> None:
        payment = make_entry()
        for process in Process:
            halting.halt(process, reason="Wrong prices.", by=ASTRID)
        assert reverse(payment.key).changed
        assert adjust(payment.customer.account, "5").changed
        assert balance_of(payment.customer) == 5


@real_commits
class TestTwoAtOnce:
    def test_reverse_once(self) -> None:
        payment = make_entry()
        answers = at_once(*[lambda: reverse(payment.key) for _ in range(4)])
        assert sorted(answer.changed for answer in answers) == [False, False, False, True]
        assert balance_of(payment.customer) == 0

    def test_adjust_once(self) -> None:
        lindqvist = make_customer()
        answers = at_once(*[lambda: adjust(lindqvist.account, "5") for _ in range(4)])
        assert sorted(answer.changed for answer in answers) == [False, False, False, True]
        assert balance_of(lindqvist) == 5


@pytest.mark.django_db
class TestAnAdjustment:
    @pytest.mark.parametrize("amount", ["5.00", "-5.00", "0.000001"])
    def test_moves_the_balance_in_the_customers_favour_when_positive(self, amount: str) -> None:
        lindqvist = make_customer(account="10001")
        entry = adjust("10001", amount).entry
        assert (entry.key, entry.kind) == ("adjustment:10001:T-1", "adjustment")
        assert (entry.occurred_at, entry.reason, entry.entered_by) == (MORNING, "Goodwill.", ASTRID)
        assert balance_of(lindqvist) == entry.amount == Decimal(amount)

    def test_again_changes_nothing(self) -> None:
        lindqvist = make_customer()
        assert [adjust(lindqvist.account, amount).changed for amount in ("5", "5.00")] == [True, False]
        assert balance_of(lindqvist) == 5

    def test_with_another_amount_under_the_same_reference_is_refused(self) -> None:
        lindqvist = make_customer(account="10001")
        adjust("10001", "5")
        with pytest.raises(NotCorrectable, match="“T-1” of 10001 was posted already, with 5 GBP"):
            adjust("10001", "6")
        assert balance_of(lindqvist) == 5

    def test_of_another_account_may_have_the_same_reference(self) -> None:
        for _ in range(2):
            assert adjust(make_customer().account, "5").changed

    def test_keeps_odd_references_apart_from_numbered_charges(self) -> None:
        assert adjust(make_customer(account="10001").account, "5", reference="50 % #2").entry.key == (
            "adjustment:10001:50 %25 %232"
        )

    @pytest.mark.parametrize(
        ("amount", "sentence"),
        [
            ("0", "other than zero"),
            ("NaN", "other than zero"),
            ("0.0000001", "more digits than the ledger"),
            ("1000000000000", "more digits than the ledger"),
        ],
    )
    def test_of_no_amount_is_refused(self, amount: str, sentence: str) -> None:
        with pytest.raises(NotCorrectable, match=sentence):
            adjust(make_customer().account, amount)

    def test_for_nobody_is_refused(self) -> None:
        with pytest.raises(NotCorrectable, match="There is no customer “10009”"):
            adjust("10009", "5")


@pytest.mark.django_db
class TestTheCommands:
    def test_reverse_tells_what_was_taken_back(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_item(reference="trunk-7")
        run()
        arguments = ("reverse", "item:trunk-7:2026-03-01", "--reason", "Never ordered.")
        assert command(*arguments, capsys=capsys) == {"reversed": 1, "charged": 0, "amount": {"GBP": "-10.00"}}
        assert command(*arguments, capsys=capsys) == {"reversed": 0, "charged": 0, "amount": {}}

        call_command(*arguments)
        assert "was reversed already, by" in capsys.readouterr().out

    def test_adjust_tells_what_was_posted(self, capsys: pytest.CaptureFixture[str]) -> None:
        account = make_customer().account
        arguments = ("adjust", account, "5.00", "--reference", "T-1", "--reason", "Goodwill.")
        assert command(*arguments, capsys=capsys) == {"reversed": 0, "charged": 1, "amount": {"GBP": "-5.00"}}
        assert command(*arguments, capsys=capsys) == {"reversed": 0, "charged": 0, "amount": {}}

        call_command("adjust", account, "-7.5", reference="T-2", reason="Forgotten fee.")
        assert f"Posted adjustment:{account}:T-2: -7.50 GBP to the balance of {account}." in capsys.readouterr().out
        assert LedgerEntry.objects.get(key=f"adjustment:{account}:T-2").entered_by.endswith("command line)")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["reverse", "payment:bank:0"], "Say why"),
            (["reverse", "payment:bank:0", "--reason", "x"], "There is no ledger entry"),
            (["adjust", "10001", "5", "--reason", "x"], "Name it"),
            (["adjust", "10001", "5", "--reference", "T-1"], "Say why"),
            (["adjust", "10001", "five", "--reference", "T-1", "--reason", "x"], "“five” is no amount"),
            (["adjust", "10001", "1e3", "--reference", "T-1", "--reason", "x"], "“1e3” is no amount"),
            (["adjust", "10009", "5", "--reference", "T-1", "--reason", "x"], "There is no customer"),
        ],
    )
    def test_refuse_what_makes_no_sense(self, arguments: list[str], sentence: str) -> None:
        make_customer(account="10001")
        with pytest.raises(CommandError, match=sentence) as refusal:
            call_command(*arguments)
        assert refusal.value.returncode == 2
        assert LedgerEntry.objects.count() == 0

    def test_refuse_more_than_a_balance_holds(self) -> None:
        account = make_customer(balance=1).account
        with pytest.raises(CommandError, match=r"The database can't hold that: numeric field overflow\.") as refused:
            call_command("adjust", account, "999999999999", reference="T-3", reason="A slip of the finger.")
        assert refused.value.returncode == 2
