"""The history of a balance is exact: what the ledger said at the end of each day of the customer's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from billing import balances
from billing.balances import balance_at, by_day
from billing.models import Customer, LedgerEntry
from tests.factories import make_customer, make_entry

pytestmark = pytest.mark.django_db


def post(customer: Customer, amount: str, at: datetime) -> None:
    make_entry(customer=customer, amount=Decimal(amount), posted_at=at)


class TestABalanceByDay:
    def test_ends_with_the_balance_as_it_is_and_steps_back_from_there(self) -> None:
        customer = make_customer(timezone="Europe/London")
        noon = timezone.now().astimezone(ZoneInfo("Europe/London")).replace(hour=0, minute=5)
        post(customer, "100", noon - timedelta(days=200))
        post(customer, "20", noon - timedelta(days=3))
        post(customer, "-5.25", noon - timedelta(days=1))
        post(customer, "1", noon)
        days = by_day(customer)
        assert len(days) == 90
        assert [one.balance for one in days[-5:]] == [100, 120, 120, Decimal("114.75"), Decimal("115.75")]
        assert [(one.moved, one.entry_count) for one in days[-4:]] == [(20, 1), (0, 0), (Decimal("-5.25"), 1), (1, 1)]
        assert days[0].balance == 100
        assert days[-1].day == noon.date()

    def test_counts_days_as_the_customer_does(self) -> None:
        customer = make_customer(timezone="Pacific/Auckland")
        today = timezone.now().astimezone(ZoneInfo("Pacific/Auckland")).replace(hour=0, minute=30)
        post(customer, "3", today.astimezone(UTC))
        assert by_day(customer)[-1].moved == 3
        assert by_day(customer)[-2].balance == 0

    def test_reads_back_through_more_entries_than_it_takes_at_a_time(self) -> None:
        customer = make_customer()
        now = timezone.now()
        LedgerEntry.objects.bulk_create(
            LedgerEntry(
                key=f"payment:bank:{number}", customer=customer, kind="payment", amount=1, currency="GBP",
                occurred_at=now, booked_month=now.date().replace(day=1), posted_at=now - timedelta(hours=number),
            )
            for number in range(2_500, 0, -1)
        )  # fmt: skip
        days = by_day(customer)
        assert days[-1].balance == 2_500
        assert days[0].balance == 2_500 - sum(one.entry_count for one in days[1:])
        assert sum(one.entry_count for one in days) <= 90 * 24

    def test_of_a_customer_without_any_entry_is_zero(self) -> None:
        assert {one.balance for one in by_day(make_customer())} == {Decimal(0)}


class TestABalanceOfThePast:
    def test_is_todays_without_what_was_posted_since(self) -> None:
        customer = make_customer(balance=Decimal("12.50"))
        then = timezone.now()
        make_entry(customer=customer, amount=Decimal(30))
        make_entry(customer=customer, amount=Decimal("-2.25"), kind="credit")
        make_entry(amount=Decimal(99))  # somebody else's
        assert balance_at(customer.pk, then) == Decimal("12.50")
        assert balance_at(customer.pk, timezone.now()) == Decimal("40.25")

    def test_is_not_known_where_very_much_was_posted_since(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(balances, "LOOKED_AT", 2)
        customer = make_customer(balance=Decimal(1))
        then = timezone.now()
        make_entry(customer=customer, amount=Decimal(1))
        assert balance_at(customer.pk, then) == Decimal(1)
        make_entry(customer=customer, amount=Decimal(1))
        assert balance_at(customer.pk, then) is None
