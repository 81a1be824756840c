"""What is told to be charged next is what is then charged: the same keys, periods, days and amounts."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing import cycle, item_changes
from billing.models import Customer, ItemKind, LedgerEntry, Process
from billing.upcoming import Coming, Outlook, upcoming
from tests.factories import make_customer, make_item, make_partner, make_pause, make_price_change

pytestmark = pytest.mark.django_db

MID_MARCH = datetime(2026, 3, 15, 12, tzinfo=UTC)


def run(at: datetime, **options: Any) -> None:
    cycle.run_cycle(by="Astrid Holm", at=at, processes=[Process.ITEMS], **options)


def charged(customer: Customer) -> list[tuple[str, Decimal, date, date, datetime]]:
    entries = LedgerEntry.objects.filter(customer=customer, key__startswith="item:").order_by("key")
    return [(one.key, -one.amount, one.period_start, one.period_end, one.occurred_at) for one in entries]


def told(outlook: Outlook, *, through: date) -> list[tuple[str, Decimal, date, date, datetime]]:
    charges: list[Coming] = [charge for one in outlook.items for charge in one.charges if charge.due_on <= through]
    return sorted((one.key, one.amount, one.start_on, one.end_on, one.occurred_at) for one in charges)


ITEMS: dict[str, dict[str, Any]] = {
    "a month in advance": {},
    "a month in arrears": {"timing": "arrears"},
    "from the middle of a month, billed on the first": {"starts_on": date(2026, 3, 20), "bill_cycle_day": 1},
    "that ends in the middle of a period": {"ends_on": date(2026, 4, 10)},
    "every seven days": {"interval": "week", "amount": Decimal("6.90")},
    "every day": {"interval": "day", "amount": Decimal("0.33")},
    "a quarter of thirty-day months": {"interval": "quarter", "proration": "fixed_30", "starts_on": date(2026, 3, 31)},
    "a credit": {"amount": Decimal("-2.50"), "quantity": 3},
    "once, soon": {"kind": ItemKind.ONE_OFF, "starts_on": date(2026, 4, 3)},
    "once, in a while": {"kind": ItemKind.ONE_OFF, "starts_on": date(2026, 9, 1)},
    "that begins next year": {"starts_on": date(2027, 2, 28)},
}


class TestUpcomingCharges:
    @pytest.mark.parametrize("zone", ["Europe/London", "Pacific/Auckland"])
    def test_are_those_that_runs_then_make(self, zone: str) -> None:
        customer = make_customer(timezone=zone)
        for what, fields in ITEMS.items():
            make_item(customer=customer, reference=what.replace(" ", "-"), **fields)
        run(MID_MARCH)
        before = set(charged(customer))
        outlook = upcoming(customer, at=MID_MARCH, charges_an_item=40)
        expected = told(outlook, through=outlook.through)
        for days in range(2, 30, 3):  # some days apart, so that runs catch up, and in the last second that counts
            run(MID_MARCH + timedelta(days=days))
        run(_last_moment(outlook, zone))
        assert [row for row in charged(customer) if row not in before] == expected
        assert (outlook.count, outlook.total) == (len(expected), sum((row[1] for row in expected), Decimal(0)))
        without_any = {one.item.reference for one in outlook.items if not one.charges}
        assert without_any == set(), "each of them has a next charge, however far away"

    def test_follow_new_amounts_and_pauses(self) -> None:
        customer = make_customer()
        dearer = make_item(customer=customer, reference="dearer", interval="week")
        paused = make_item(customer=customer, reference="paused", interval="week")
        make_price_change(item=dearer, from_date=date(2026, 3, 29), amount=Decimal(12))
        make_pause(item=paused, starts_on=date(2026, 3, 25), ends_on=date(2026, 4, 7))
        run(MID_MARCH)
        before = set(charged(customer))
        outlook = upcoming(customer, at=MID_MARCH, charges_an_item=40)
        run(_last_moment(outlook, customer.timezone))
        assert [row for row in charged(customer) if row not in before] == told(outlook, through=outlook.through)

    def test_count_what_is_due_already_and_say_so(self) -> None:
        customer = make_customer()
        make_item(customer=customer, amount=Decimal(10), starts_on=date(2026, 1, 1))
        outlook = upcoming(customer, at=MID_MARCH)
        assert [charge.is_due for charge in outlook.items[0].charges] == [True, True, True]
        assert (outlook.count, outlook.total) == (4, Decimal(40))  # January to April

    def test_say_why_an_item_is_not_charged_and_count_nothing_for_it(self) -> None:
        customer = make_customer()
        make_item(customer=customer, reference="forgotten", starts_on=date(2024, 1, 1))
        make_item(customer=customer, reference="ordinary", starts_on=date(2026, 3, 20))
        outlook = upcoming(customer, at=MID_MARCH)
        ordinary, forgotten = outlook.items
        assert (ordinary.item.reference, ordinary.problem) == ("ordinary", "")
        assert "more than 13 months" in forgotten.problem
        assert outlook.total == Decimal(10)

    def test_leave_out_what_has_ended_for_good(self) -> None:
        customer = make_customer()
        item = make_item(customer=customer)
        run(MID_MARCH)
        item_changes.end(item.reference, on=date(2026, 4, 1), by="Astrid Holm")
        run(datetime(2026, 4, 2, tzinfo=UTC))
        assert upcoming(customer, at=datetime(2026, 4, 2, tzinfo=UTC)).items == []

    def test_cost_as_many_queries_for_many_items_as_for_one(self, django_assert_num_queries: Any) -> None:
        customer = make_customer(partner=make_partner())
        for _ in range(12):
            make_item(customer=customer)
        with django_assert_num_queries(3):
            assert len(upcoming(customer, at=MID_MARCH).items) == 12


def _last_moment(outlook: Outlook, zone: str) -> datetime:
    midnight = datetime.combine(outlook.through + timedelta(days=1), datetime.min.time(), ZoneInfo(zone))
    return midnight.astimezone(UTC) - timedelta(seconds=1)
