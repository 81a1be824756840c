"""The balance is the sum of the entries at every commit, whoever writes them, however many at once."""

import random
from collections.abc import Iterable
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Sum

from billing.models import Customer, CustomerBalance, CustomerToJudge, EntryKind, LedgerEntry
from tests.billing.at_once import at_once, real_commits
from tests.factories import (
    MARCH_BEGIN,
    MORNING,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_item,
    make_period,
    make_reversal,
)
from tests.faults.processes import another_connection


def balance_of(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


def sum_of_entries(customer: Customer) -> Decimal:
    return LedgerEntry.objects.filter(customer=customer).aggregate(sum=Sum("amount"))["sum"] or Decimal(0)


def payment(customer: Customer, amount: Decimal | int, key: str) -> LedgerEntry:
    """A payment that is not written yet."""
    return LedgerEntry(
        customer=customer,
        key=f"payment:bank:{key}",
        kind=EntryKind.PAYMENT,
        amount=amount,
        currency=customer.currency,
        occurred_at=MORNING,
        booked_month=MARCH_BEGIN,
    )


def post(entries: Iterable[LedgerEntry]) -> None:
    """Write them in one statement."""
    LedgerEntry.objects.bulk_create(entries)


@real_commits
class TestManyWritersAtOnce:
    def test_keep_the_balance_at_the_sum_of_the_entries(self) -> None:
        customers = [make_customer() for _ in range(3)]

        def writer(number: int) -> None:
            chance = random.Random(number)
            for n in range(15):
                amount = Decimal(chance.choice([-1, 1]) * chance.randint(1, 10**9)) / 10**6
                post([payment(chance.choice(customers), amount, f"{number}-{n}")])

        at_once(*[lambda number=number: writer(number) for number in range(4)])  # type: ignore[misc]

        assert LedgerEntry.objects.count() == 60
        assert [balance_of(customer) for customer in customers] == [sum_of_entries(customer) for customer in customers]

    def test_never_wait_for_each_other_in_a_circle(self) -> None:
        lindqvist, okafor, rossi = make_customer(), make_customer(), make_customer()

        def writer(number: int, order: list[Customer]) -> None:
            for n in range(20):
                post(payment(customer, 1, f"{number}-{n}-{customer.pk}") for customer in order)

        at_once(
            lambda: writer(1, [lindqvist, okafor, rossi]),
            lambda: writer(2, [rossi, okafor, lindqvist]),
            lambda: writer(3, [okafor, rossi, lindqvist]),
        )

        assert {balance_of(customer) for customer in (lindqvist, okafor, rossi)} == {Decimal(60)}

    def test_write_one_key_once(self) -> None:
        lindqvist = make_customer()

        def writer() -> bool:
            try:
                post([payment(lindqvist, 10, "2026-03-77")])
            except IntegrityError:
                return False
            return True

        assert sorted(at_once(writer, writer, writer)) == [False, False, True]
        assert balance_of(lindqvist) == 10

    def test_reverse_an_entry_once(self) -> None:
        lindqvist = make_customer()
        entry = make_entry(customer=lindqvist, amount=Decimal(10))

        def writer(key: str) -> bool:
            try:
                make_reversal(entry, key=key)
            except IntegrityError:
                return False
            return True

        assert sorted(at_once(lambda: writer("reversal:a"), lambda: writer("reversal:b"))) == [False, True]
        assert balance_of(lindqvist) == 0


@real_commits
class TestTheNoteThatACustomerIsToBeJudged:
    def test_is_seen_with_the_entry_and_not_before(self) -> None:
        lindqvist = make_customer()
        CustomerToJudge.objects.all().delete()
        world = (
            "SELECT (SELECT count(*) FROM billing_ledgerentry), (SELECT count(*) FROM billing_customertojudge),"
            " (SELECT balance FROM billing_customerbalance)"
        )
        with another_connection() as other:
            with transaction.atomic():
                make_entry(customer=lindqvist, amount=Decimal(10))
                assert CustomerToJudge.objects.filter(customer=lindqvist).exists()
                assert other.execute(world).fetchone() == (0, 0, 0)
            assert other.execute(world).fetchone() == (1, 1, 10)

    def test_is_rolled_back_with_the_entry(self) -> None:
        lindqvist = make_customer()
        CustomerToJudge.objects.all().delete()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            raise ZeroDivisionError(make_entry(customer=lindqvist))
        assert not LedgerEntry.objects.exists()
        assert not CustomerToJudge.objects.exists()
        assert balance_of(lindqvist) == 0

    def test_stays_one_note_however_often_the_balance_moves(self) -> None:
        lindqvist = make_customer()
        for _ in range(3):
            make_entry(customer=lindqvist)
        assert CustomerToJudge.objects.filter(customer=lindqvist).count() == 1


@pytest.mark.django_db
class TestOneStatement:
    def test_moves_the_balances_of_several_customers(self) -> None:
        lindqvist, okafor, rossi = make_customer(), make_customer(), make_customer(balance=5)
        post([payment(lindqvist, 1, "a"), payment(okafor, 2, "b"), payment(lindqvist, 4, "c")])
        assert [balance_of(customer) for customer in (lindqvist, okafor, rossi)] == [5, 2, 5]

    def test_that_is_refused_moves_nothing(self) -> None:
        lindqvist, okafor = make_customer(), make_customer(currency="EUR")
        euros = payment(okafor, 2, "b")
        euros.currency = "GBP"
        with pytest.raises(IntegrityError, match="payment:bank:b"), transaction.atomic():
            post([payment(lindqvist, 1, "a"), euros])
        assert not LedgerEntry.objects.exists()
        assert balance_of(lindqvist) == 0

    def test_keeps_every_decimal(self) -> None:
        lindqvist = make_customer(balance=Decimal("999999999999.999999"))
        post(payment(lindqvist, Decimal("-0.000001"), str(n)) for n in range(3))
        assert balance_of(lindqvist) == Decimal("999999999999.999996")


@pytest.mark.django_db
class TestEntriesOfAllKinds:
    def test_add_up(self) -> None:
        lindqvist = make_customer(balance=100)
        call = make_call(customer=lindqvist)
        item = make_item(customer=lindqvist)
        charge = make_call_charge(call, amount=Decimal("-0.0312"))
        period = make_period(item=item)
        make_entry(customer=lindqvist, kind=EntryKind.RECURRING, key=period.entry_key, amount=Decimal("-10.50"))
        make_entry(customer=lindqvist, kind=EntryKind.ONE_OFF, key="item:port-1:2026-03-02", amount=Decimal(0))
        make_entry(customer=lindqvist, kind=EntryKind.PAYMENT, amount=Decimal("20.00"))
        make_entry(customer=lindqvist, kind=EntryKind.REFUND, amount=Decimal("-1.25"))
        make_entry(customer=lindqvist, kind=EntryKind.CREDIT, amount=Decimal("0.75"))
        make_entry(
            customer=lindqvist, kind=EntryKind.ADJUSTMENT, amount=Decimal("-0.01"), reason="A penny.", entered_by="Mei"
        )
        make_reversal(charge)

        assert balance_of(lindqvist) == Decimal("108.99") == sum_of_entries(lindqvist)

    def test_charge_again_what_was_reversed_in_one_transaction(self) -> None:
        lindqvist = make_customer()
        charge = make_call_charge(make_call(customer=lindqvist), amount=Decimal("-0.30"))

        with transaction.atomic():
            make_reversal(charge)
            again = make_entry(
                customer=lindqvist,
                kind=EntryKind.CALL,
                key=f"{charge.key}#2",
                charge_number=2,
                amount=Decimal("-0.20"),
                rate_id=2,
                billed_seconds=60,
            )
        assert balance_of(lindqvist) == Decimal("-0.20")

        with transaction.atomic():
            make_reversal(again)
            make_entry(
                customer=lindqvist,
                kind=EntryKind.CALL,
                key=f"{charge.key}#3",
                charge_number=3,
                amount=Decimal("-0.25"),
                rate_id=3,
                billed_seconds=60,
            )
        assert balance_of(lindqvist) == Decimal("-0.25") == sum_of_entries(lindqvist)
