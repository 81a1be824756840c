"""Sums of the ledger: what is summed and what is later come to the same as the ledger itself, at every moment."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.utils import timezone

from billing import reconcile, sums
from billing.models import Customer, LedgerEntry, LedgerSum, LedgerSumMark
from ivy import tasks
from tests.factories import (
    harbour,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_partner,
    make_reversal,
)
from tests.faults.processes import another_connection

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
LONG_AGO = timedelta(minutes=10)


def in_march(partner_id: int, zone: str = "UTC") -> dict[tuple[date, str], Decimal]:
    since, until = (at.replace(tzinfo=ZoneInfo(zone)) for at in (MARCH, APRIL))
    return {(row.on, row.kind): row.amount for row in sums.by_day(partner_id, since=since, until=until, zone=zone)}


def drift() -> list[str]:
    rule = next(one for one in reconcile.RULES if one.name == "sums_are_those_of_the_ledger")
    return [one.key for _, _, found in reconcile.checks([rule]) for one in found]


@pytest.mark.django_db
class TestSums:
    @pytest.mark.parametrize(
        ("zone", "day"),
        [
            ("UTC", date(2026, 3, 10)),
            ("Europe/Berlin", date(2026, 3, 11)),
            ("Asia/Kathmandu", date(2026, 3, 11)),
            ("America/New_York", date(2026, 3, 10)),
        ],
    )
    @pytest.mark.parametrize("are_made", [False, True])
    def test_are_by_the_days_of_any_zone(self, zone: str, day: date, *, are_made: bool) -> None:
        call = make_call(started_at=datetime(2026, 3, 10, 23, 20, tzinfo=UTC))
        make_call_charge(call, amount=Decimal("-1.25"), posted_at=timezone.now() - LONG_AGO)
        if are_made:
            assert sums.sum_up() == 1
        assert in_march(harbour().pk, zone) == {(day, "call"): Decimal("-1.25")}

    def test_count_a_reversal_under_the_kind_of_what_it_takes_back(self) -> None:
        charge = make_call_charge(make_call())
        make_reversal(charge, posted_at=timezone.now() - LONG_AGO)
        for _ in range(2):
            assert in_march(harbour().pk) == {(date(2026, 3, 2), "call"): Decimal(0)}
            sums.sum_up()

    def test_are_of_one_partner_and_of_the_time_asked_for(self) -> None:
        make_entry(amount=Decimal(7), occurred_at=APRIL)
        make_entry(amount=Decimal(5), occurred_at=MARCH - timedelta(seconds=1))
        make_entry(customer=make_customer(partner=make_partner()), amount=Decimal(3))
        make_entry(amount=Decimal(2), occurred_at=MARCH)
        assert in_march(harbour().pk) == {(date(2026, 3, 1), "payment"): Decimal(2)}


@pytest.fixture
def lindqvist(transactional_db: None) -> Customer:
    return make_customer(name="Café Lindqvist")


@pytest.fixture
def elsewhere(lindqvist: Customer) -> Iterator[psycopg.Connection]:
    """Somebody else, who begins a transaction before all that follows."""
    with another_connection() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1")
        yield other
        other.execute("ROLLBACK")


def post(customer: Customer, amount: int) -> LedgerEntry:
    """An entry that was posted long enough ago to be summed."""
    return make_entry(customer=customer, amount=Decimal(amount), posted_at=timezone.now() - LONG_AGO)


def is_summed(customer: Customer) -> Decimal:
    return sum((row.amount for row in LedgerSum.objects.filter(partner_id=customer.partner_id)), Decimal(0))


class TestSummingUp:
    def test_adds_each_entry_once_however_often_it_is_done(self, lindqvist: Customer) -> None:
        post(lindqvist, 5)
        for _ in range(3):
            sums.sum_up()
            assert is_summed(lindqvist) == 5
            assert sum(in_march(lindqvist.partner_id).values()) == 5
        make_entry(customer=lindqvist, amount=Decimal(2))
        sums.sum_up()
        assert is_summed(lindqvist) == 5  # nobody knows yet whether another one was posted as early
        assert sum(in_march(lindqvist.partner_id).values()) == 7
        assert drift() == []

    def test_takes_in_what_came_since(self, lindqvist: Customer) -> None:
        post(lindqvist, 5)
        sums.sum_up()
        LedgerSumMark.objects.update(through=timezone.now() - 2 * LONG_AGO)
        post(lindqvist, 3)
        LedgerSumMark.objects.update(after_id=LedgerEntry.objects.earliest("id").pk)
        sums.sum_up()
        assert is_summed(lindqvist) == 8
        assert drift() == []

    def test_waits_for_whoever_may_still_post_as_early(
        self, lindqvist: Customer, elsewhere: psycopg.Connection
    ) -> None:
        sums.sum_up()
        elsewhere.execute(
            "INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month,"
            " charge_number, description, reason, entered_by) VALUES ('payment:bank:slow', %s, 'payment', 4, 'GBP',"
            " '2026-03-05', '2026-03-01', 1, '', '', '')",
            [lindqvist.pk],
        )
        for _ in range(2):
            sums.sum_up()
        elsewhere.execute("COMMIT")
        assert sum(in_march(lindqvist.partner_id).values()) == 4
        assert drift() == []
        sums.sum_up()
        assert sum(in_march(lindqvist.partner_id).values()) == 4

    def test_is_part_of_every_look_at_what_is_due(self, lindqvist: Customer) -> None:
        post(lindqvist, 5)
        for _ in range(2):
            tasks.billing_cycle()
            assert is_summed(lindqvist) == 5

    def test_is_done_by_one_at_a_time(self, lindqvist: Customer, elsewhere: psycopg.Connection) -> None:
        elsewhere.execute("SELECT pg_advisory_xact_lock(%s)", [sums.LOCK])
        assert sums.sum_up() == 0

    def test_begins_anew_for_customers_who_go_to_another_partner(self, lindqvist: Customer) -> None:
        post(lindqvist, 5)
        sums.sum_up()
        old, new = lindqvist.partner, make_partner()
        lindqvist.partner = new
        lindqvist.save()
        for _ in range(2):
            assert (in_march(old.pk), sum(in_march(new.pk).values())) == ({}, 5)
            assert drift() == []
            sums.sum_up()

    def test_that_went_wrong_is_found(self, lindqvist: Customer) -> None:
        post(lindqvist, 5)
        sums.sum_up()
        LedgerSum.objects.update(amount=6)
        assert drift() == ["harbour GBP"]
