"""Items in the billing cycle: what a run charges at an instant, in which order, under which keys, and never twice.

Which periods there are and what part of a whole one they cost is `billing.periods`' business, and tested there.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import cycle
from billing.models import BillingItem, BillingRun, Customer, ItemKind, LedgerEntry, Process
from billing.models.fields import validate_time_zone
from tests.factories import (
    MARCH_BEGIN,
    harbour,
    make_customer,
    make_item,
    make_partner,
    make_pause,
    make_price_change,
    make_reversal,
)

pytestmark = pytest.mark.django_db


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def run(at: datetime, **options: Any) -> BillingRun:
    """A run that charges items alone, at that instant."""
    return cycle.run_cycle(by="Astrid Holm", at=at, processes=[Process.ITEMS], **options)


def periods_of(item: BillingItem) -> list[tuple[str, str]]:
    """Start and end of the item's charges, in the order in which they were posted."""
    entries = LedgerEntry.objects.filter(key__startswith=f"item:{item.reference}:").order_by("pk")
    return [(str(entry.period_start), str(entry.period_end)) for entry in entries]


def prices_of(item: BillingItem) -> list[str]:
    """What the item's charges came to, in the order in which they were posted; positive where the customer owes."""
    entries = LedgerEntry.objects.filter(key__startswith=f"item:{item.reference}:").order_by("pk")
    return [f"{-entry.amount:.2f}" for entry in entries]


def make_one_off(**fields: Any) -> BillingItem:
    return make_item(kind=ItemKind.ONE_OFF, **fields)


class TestAnItemChargedInAdvance:
    def test_is_charged_at_the_start_of_its_period_and_not_again_until_the_next(self) -> None:
        trunk = make_item(reference="trunk-7", amount=Decimal("10.00"))

        assert run(utc(2026, 2, 28, 23, 59, 59)).item_charges == 0
        first = run(utc(2026, 3, 1))
        assert (first.state, first.item_charges, first.amount) == ("done", 1, {"GBP": "10.00"})
        assert run(utc(2026, 3, 1)).item_charges == 0
        assert run(utc(2026, 3, 31, 22, 59, 59)).item_charges == 0  # London: a second before midnight, in summer time
        assert run(utc(2026, 3, 31, 23)).item_charges == 1

        march, april = LedgerEntry.objects.order_by("pk")
        assert (march.key, march.kind, march.amount) == ("item:trunk-7:2026-03-01", "recurring", Decimal(-10))
        assert (march.period_start, march.period_end) == (date(2026, 3, 1), date(2026, 4, 1))
        assert (march.occurred_at, march.booked_month) == (utc(2026, 3, 1), date(2026, 3, 1))
        assert (march.description, march.run_id, march.customer) == ("SIP trunk", first.pk, trunk.customer)
        assert (april.occurred_at, april.booked_month) == (utc(2026, 3, 31, 23), date(2026, 3, 1))
        trunk.refresh_from_db()
        assert (trunk.charged_through, trunk.next_due_on) == (date(2026, 5, 1), date(2026, 5, 1))

    def test_keeps_how_its_price_was_made(self) -> None:
        seats = make_item(amount=Decimal("4.99"), quantity=3, starts_on=date(2026, 3, 11), bill_cycle_day=1)
        run(utc(2026, 3, 11))
        period = seats.periods.get()
        assert (period.kind, period.days, period.whole_days) == ("leading_stub", 21, 31)
        assert (period.amount, period.quantity) == (Decimal("4.99"), Decimal(3))
        assert prices_of(seats) == ["10.14"]  # 14.97 * 21 / 31 = 10.1409..., rounded once


class TestAnItemChargedInArrears:
    def test_is_charged_when_its_period_has_ended(self) -> None:
        usage = make_item(reference="usage-7", timing="arrears")

        assert run(utc(2026, 3, 31, 22, 59, 59)).item_charges == 0
        assert run(utc(2026, 3, 31, 23)).item_charges == 1

        march = LedgerEntry.objects.get()
        assert march.key == "item:usage-7:2026-03-01"
        assert march.occurred_at == utc(2026, 3, 31, 23)  # London's midnight at the end
        usage.refresh_from_db()
        assert (usage.charged_through, usage.next_due_on) == (date(2026, 4, 1), date(2026, 5, 1))

    def test_is_charged_for_its_last_part_on_the_day_it_ends(self) -> None:
        usage = make_item(timing="arrears", amount=31, ends_on=date(2026, 3, 21))
        assert run(utc(2026, 3, 20, 23, 59, 59)).item_charges == 0
        assert run(utc(2026, 3, 21)).item_charges == 1
        assert run(utc(2027, 3, 21)).item_charges == 0
        assert (periods_of(usage), prices_of(usage)) == ([("2026-03-01", "2026-03-21")], ["20.00"])


# What an item charges until 15 May 2026, of an amount of 31.00.
SCHEDULES: list[tuple[str, dict[str, Any], list[tuple[str, str]], list[str]]] = [
    (
        "a bill-cycle day on the last day of each month: 31 again after a shorter one",
        {"starts_on": date(2026, 1, 31), "bill_cycle_day": 31},
        [
            ("2026-01-31", "2026-02-28"),
            ("2026-02-28", "2026-03-31"),
            ("2026-03-31", "2026-04-30"),
            ("2026-04-30", "2026-05-31"),
        ],
        ["31.00", "31.00", "31.00", "31.00"],
    ),
    (
        "a leading stub up to the bill-cycle day: 12 of the 31 days that end there",
        {"starts_on": date(2026, 4, 20), "bill_cycle_day": 1},
        [("2026-04-20", "2026-05-01"), ("2026-05-01", "2026-06-01")],
        ["11.37", "31.00"],  # 11 of April's 30 days
    ),
    (
        "a trailing stub from the last billing date to the end",
        {"starts_on": date(2026, 4, 1), "ends_on": date(2026, 5, 11)},
        [("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-05-11")],
        ["31.00", "10.00"],
    ),
    (
        "stubs in full",
        {"starts_on": date(2026, 4, 20), "bill_cycle_day": 1, "ends_on": date(2026, 5, 11), "proration": "none"},
        [("2026-04-20", "2026-05-01"), ("2026-05-01", "2026-05-11")],
        ["31.00", "31.00"],
    ),
    (
        "months of thirty days",
        {"starts_on": date(2026, 4, 16), "bill_cycle_day": 1, "proration": "fixed_30"},
        [("2026-04-16", "2026-05-01"), ("2026-05-01", "2026-06-01")],
        ["15.50", "31.00"],
    ),
    (
        "every two weeks from the start",
        {"starts_on": date(2026, 4, 7), "interval": "week", "interval_count": 2},
        [("2026-04-07", "2026-04-21"), ("2026-04-21", "2026-05-05"), ("2026-05-05", "2026-05-19")],
        ["31.00", "31.00", "31.00"],
    ),
    (
        "quarters in arrears: nothing until the first has ended",
        {"starts_on": date(2026, 1, 15), "interval": "quarter", "timing": "arrears"},
        [("2026-01-15", "2026-04-15")],
        ["31.00"],
    ),
    (
        "a year whose bill-cycle day is past in the month of its start: up to it a stub of nearly a year",
        {"starts_on": date(2026, 3, 31), "interval": "year", "bill_cycle_day": 30},
        [("2026-03-31", "2027-03-30")],
        ["30.92"],  # 364 of 365 days
    ),
    ("an end on the day it starts: nothing", {"ends_on": MARCH_BEGIN}, [], []),
    ("not begun: nothing", {"starts_on": date(2026, 5, 16)}, [], []),
]


class TestTheScheduleOfAnItem:
    @pytest.mark.parametrize(
        ("fields", "periods", "prices"), [pytest.param(*case[1:], id=case[0]) for case in SCHEDULES]
    )
    def test_is_charged_period_by_period(
        self, fields: dict[str, Any], periods: list[tuple[str, str]], prices: list[str]
    ) -> None:
        item = make_item(amount=31, **fields)
        run(utc(2026, 5, 15, 12))
        run(utc(2026, 5, 15, 12))
        assert (periods_of(item), prices_of(item)) == (periods, prices)


class TestCatchingUp:
    def test_charges_every_missed_period_once_oldest_first_under_its_own_key(self) -> None:
        make_item(reference="trunk-7", starts_on=date(2025, 12, 31), customer=make_customer(timezone="Europe/Berlin"))

        assert run(utc(2026, 5, 1)).item_charges == 5

        assert list(LedgerEntry.objects.order_by("pk").values_list("key", "occurred_at", "booked_month")) == [
            ("item:trunk-7:2025-12-31", utc(2025, 12, 30, 23), date(2025, 12, 1)),
            ("item:trunk-7:2026-01-31", utc(2026, 1, 30, 23), date(2026, 1, 1)),
            ("item:trunk-7:2026-02-28", utc(2026, 2, 27, 23), date(2026, 2, 1)),
            ("item:trunk-7:2026-03-31", utc(2026, 3, 30, 22), date(2026, 3, 1)),  # summer time since the 29th
            ("item:trunk-7:2026-04-30", utc(2026, 4, 29, 22), date(2026, 4, 1)),
        ]
        assert len(set(LedgerEntry.objects.values_list("posted_at"))) == 1

    def test_stops_after_so_many_periods_and_goes_on_from_there(self) -> None:
        trunk, usage = make_item(), make_item(timing="arrears")
        at = utc(2026, 5, 10)

        assert run(at, max_periods=1).item_charges == 2
        assert periods_of(trunk) == periods_of(usage) == [("2026-03-01", "2026-04-01")]
        assert run(at, max_periods=1).item_charges == 2
        assert run(at, max_periods=5).item_charges == 1
        assert run(at, max_periods=1).item_charges == 0
        assert periods_of(trunk) == [
            ("2026-03-01", "2026-04-01"),
            ("2026-04-01", "2026-05-01"),
            ("2026-05-01", "2026-06-01"),
        ]

    def test_gives_daily_runs_and_one_late_run_the_same_entries(self) -> None:
        daily, late = make_partner(slug="daily"), make_partner(slug="late")
        for partner in (daily, late):
            for number, customer in enumerate(self.customers(partner)):
                for index, fields in enumerate(self.schedules()):
                    make_item(customer=customer, reference=f"{partner.slug}-{number}-{index}", amount=10, **fields)

        at = utc(2026, 3, 1, 3)
        while at < utc(2026, 4, 20):
            run(at, partner=daily)
            at += timedelta(days=1)
        run(at - timedelta(days=1), partner=late)

        entries = {
            partner: [
                (entry.key.replace(partner.slug, "x"), entry.amount, entry.occurred_at, entry.period_end)
                for entry in LedgerEntry.objects.filter(customer__partner=partner).order_by("key")
            ]
            for partner in (daily, late)
        }
        assert len(entries[late]) > 150
        assert entries[daily] == entries[late]

    def customers(self, partner: Any) -> Iterator[Customer]:
        for zone in ("Pacific/Pago_Pago", "Europe/London", "Pacific/Kiritimati"):
            yield make_customer(partner=partner, timezone=zone)

    def schedules(self) -> list[dict[str, Any]]:
        return [
            {"interval": "day"},
            {"interval": "week", "timing": "arrears", "ends_on": date(2026, 4, 2)},
            {"bill_cycle_day": 31},
            {"starts_on": date(2026, 3, 10), "bill_cycle_day": 5, "timing": "arrears", "proration": "fixed_30"},
            {"interval": "quarter", "starts_on": date(2026, 2, 17), "ends_on": date(2026, 4, 18)},
        ]


class TestAnItemMoreThanThirteenMonthsBehind:
    NOW = utc(2026, 3, 31, 12)

    def test_is_shown_to_staff_instead_of_charged(self) -> None:
        forgotten = make_item(reference="trunk-old", starts_on=date(2025, 2, 27))
        charged = make_item(customer=forgotten.customer)

        for _ in range(2):
            shown = run(self.NOW)
            assert shown.state == "partial"
            assert [(error["kind"], error["key"]) for error in shown.errors] == [("item", "trunk-old")]
            assert "since 2025-02-27, more than 13 months: run_billing --yes" in shown.errors[0]["error"]
        assert (len(periods_of(forgotten)), len(periods_of(charged))) == (0, 1)

    def test_is_charged_when_somebody_says_so(self) -> None:
        forgotten = make_item(starts_on=date(2025, 2, 27))
        assert run(self.NOW, charges_long_overdue=True, max_periods=2).item_charges == 2
        # What is left is not more than 13 months behind any more.
        assert run(self.NOW).item_charges == 12
        assert len(periods_of(forgotten)) == 14

    @pytest.mark.parametrize(
        ("fields", "charges", "because"),
        [
            ({"starts_on": date(2025, 2, 28)}, 14, "13 months before 31 March is 28 February: not more"),
            ({"starts_on": date(2025, 2, 27)}, 0, "a day more"),
            ({"starts_on": date(2025, 1, 28), "timing": "arrears"}, 14, "in arrears: due a month later"),
            ({"starts_on": date(2025, 1, 27), "timing": "arrears"}, 0, "in arrears, a day more"),
            ({"starts_on": date(2024, 6, 1), "interval": "year", "timing": "arrears"}, 1, "due for ten months only"),
        ],
    )
    def test_is_told_from_one_that_is_not_by_the_day_it_was_first_due(
        self, fields: dict[str, Any], charges: int, because: str
    ) -> None:
        item = make_item(**fields)
        run(self.NOW)
        assert len(periods_of(item)) == charges, because

    def test_is_charged_all_the_same_when_it_is_charged_once(self) -> None:
        porting = make_one_off(starts_on=date(2023, 1, 1))
        assert run(self.NOW).one_off_charges == 1
        assert periods_of(porting) == [("2023-01-01", "2023-01-02")]


class TestAOneOffItem:
    def test_is_charged_once_on_the_first_run_on_or_after_its_date(self) -> None:
        porting = make_one_off(reference="port-7", starts_on=date(2026, 3, 10), amount=25, quantity=2)

        assert run(utc(2026, 3, 9, 23, 59, 59)).one_off_charges == 0
        assert run(utc(2026, 3, 14)).one_off_charges == 1
        assert run(utc(2026, 3, 14)).one_off_charges == 0

        entry = LedgerEntry.objects.get()
        assert (entry.key, entry.kind, entry.amount) == ("item:port-7:2026-03-10", "one_off", Decimal(-50))
        assert entry.occurred_at == utc(2026, 3, 10)
        porting.refresh_from_db()
        assert porting.next_due_on is None

    def test_occurs_on_its_date_whatever_its_timing(self) -> None:
        make_one_off(starts_on=date(2026, 3, 10), timing="arrears")
        assert run(utc(2026, 3, 10)).one_off_charges == 1
        assert LedgerEntry.objects.get().occurred_at == utc(2026, 3, 10)

    def test_is_not_charged_when_it_was_cancelled_before(self) -> None:
        make_one_off(starts_on=date(2026, 3, 10), ends_on=date(2026, 3, 10))
        assert run(utc(2026, 3, 20)).one_off_charges == 0

    def test_is_not_charged_again_after_its_charge_was_reversed(self) -> None:
        make_one_off()
        run(utc(2026, 3, 1))
        make_reversal(LedgerEntry.objects.get())
        BillingItem.objects.update(next_due_on=MARCH_BEGIN, ends_on=date(2027, 1, 1))
        assert run(utc(2026, 3, 2)).one_off_charges == 0


class TestAmounts:
    @pytest.mark.parametrize(
        ("currency", "amount", "quantity", "entry", "because"),
        [
            ("GBP", "-10.00", "1", "10.00", "a credit adds to the balance"),
            ("GBP", "0", "1", "0", "charged nothing, and said so"),
            ("GBP", "10", "0", "0", "no pieces"),
            ("GBP", "0.333333", "3", "-1.00", "rounded after the quantity was multiplied"),
            ("GBP", "0.005", "1", "-0.01", "half up"),
            ("GBP", "-0.005", "1", "0.01", "half up: a credit mirrors the charge"),
            ("JPY", "1234.5", "1", "-1235", "no minor unit"),
            ("KWD", "1.2345", "1", "-1.235", "three decimals"),
        ],
    )
    def test_are_posted_in_the_currencys_minor_unit(
        self, currency: str, amount: str, quantity: str, entry: str, because: str
    ) -> None:
        lindqvist = make_customer(currency=currency)
        make_item(customer=lindqvist, amount=Decimal(amount), quantity=Decimal(quantity))
        done = run(utc(2026, 3, 2))
        assert LedgerEntry.objects.get().amount == Decimal(entry), because
        assert {code: Decimal(total) for code, total in done.amount.items()} == {currency: -Decimal(entry)}
        assert lindqvist.balance_row.balance == Decimal(entry)

    def test_apply_from_the_next_uncharged_period(self) -> None:
        trunk = make_item(amount=10)
        run(utc(2026, 3, 2))
        BillingItem.objects.filter(pk=trunk.pk).update(amount=12, quantity=2)
        run(utc(2026, 3, 31))
        run(utc(2026, 4, 2))
        assert prices_of(trunk) == ["10.00", "24.00"]

    def test_keep_odd_descriptions_as_they_are(self) -> None:
        odd = "Trunk\t“7”\\N \\t, line\r\nbreak; 100 %"
        make_item(description=odd)
        run(utc(2026, 3, 2))
        assert LedgerEntry.objects.get().description == odd

    @pytest.mark.parametrize("reference", ["trunk#2", "100%", "back\\slash\\t", "tab\tand\nline", "\\."])
    def test_keep_odd_references_apart_from_the_second_charge_of_another_item(self, reference: str) -> None:
        """The admin and the import refuse such references; a psql session does not."""
        make_item(reference=reference)
        done = run(utc(2026, 3, 2))
        assert (done.state, done.errors) == ("done", [])
        escaped = reference.replace("%", "%25").replace("#", "%23")
        assert LedgerEntry.objects.get().key == f"item:{escaped}:2026-03-01"


class TestTheStatusOfACustomer:
    def test_suspended_is_charged(self) -> None:
        trunk = make_item(customer=make_customer(status="suspended"))
        run(utc(2026, 3, 2))
        assert len(periods_of(trunk)) == 1

    def test_closed_ends_the_items_that_day(self) -> None:
        lindqvist = make_customer()
        trunk = make_item(customer=lindqvist)
        usage = make_item(customer=lindqvist, timing="arrears", amount=31)
        porting = make_one_off(customer=lindqvist, starts_on=date(2026, 3, 25))
        run(utc(2026, 3, 2))

        # 00:30 on the 21st in London is 00:30 in UTC, before summer time.
        Customer.objects.filter(pk=lindqvist.pk).update(status="closed", closed_at=utc(2026, 3, 21, 0, 30))
        run(utc(2026, 3, 21, 1))
        run(utc(2026, 6, 1))

        assert periods_of(trunk) == [("2026-03-01", "2026-04-01")]
        assert (periods_of(usage), prices_of(usage)) == ([("2026-03-01", "2026-03-21")], ["20.00"])
        assert periods_of(porting) == []

    def test_closed_is_a_day_of_the_customers_own(self) -> None:
        tanaka = make_customer(timezone="Pacific/Kiritimati")
        usage = make_item(customer=tanaka, timing="arrears", amount=31)
        Customer.objects.filter(pk=tanaka.pk).update(status="closed", closed_at=utc(2026, 3, 20, 12))
        run(utc(2026, 6, 1))
        assert periods_of(usage) == [("2026-03-01", "2026-03-21")]  # two in the morning of the 21st, there

    @pytest.mark.parametrize(
        ("fields", "edit", "because"),
        [
            ({}, {"ends_on": None}, "its end was taken back"),
            ({}, {"ends_on": date(2026, 3, 22)}, "it would end a day later"),
            ({"starts_on": date(2026, 5, 1)}, {"starts_on": date(2026, 4, 1)}, "it ended where it was to start"),
        ],
    )
    def test_closed_leaves_no_item_that_charges_later(
        self, fields: dict[str, Any], edit: dict[str, Any], because: str
    ) -> None:
        lindqvist = make_customer()
        trunk = make_item(customer=lindqvist, **fields)
        Customer.objects.filter(pk=lindqvist.pk).update(status="closed", closed_at=utc(2026, 3, 21))
        with pytest.raises(IntegrityError, match="would charge a customer who is closed"), transaction.atomic():
            BillingItem.objects.filter(pk=trunk.pk).update(**edit)
        assert BillingItem.objects.filter(pk=trunk.pk).update(ends_on=trunk.starts_on) == 1, f"refused though {because}"

    def test_active_again_may_have_its_items_again(self) -> None:
        lindqvist = make_customer()
        trunk = make_item(customer=lindqvist)
        Customer.objects.filter(pk=lindqvist.pk).update(status="closed", closed_at=utc(2026, 3, 21))
        Customer.objects.filter(pk=lindqvist.pk).update(status="active")
        assert BillingItem.objects.filter(pk=trunk.pk).update(ends_on=None) == 1


class TestAnItemThatCannotBeCharged:
    def test_does_not_stop_the_others(self) -> None:
        lindqvist = make_customer()
        too_dear = make_item(customer=lindqvist, reference="too-dear", amount=999_999_999_999, quantity=1_000)
        before, after = make_item(customer=lindqvist), make_item(customer=lindqvist)
        lower_case_zone = make_item(customer=make_customer(timezone="europe/london"), reference="lower-case-zone")
        odd_currency = make_item(customer=make_customer(currency="gbp"), reference="lower-case-currency")
        others = [make_item() for _ in range(3)]

        for charged in (5, 0):
            done = run(utc(2026, 3, 2))
            assert (done.state, done.item_charges) == ("partial", charged)
            assert {error["key"] for error in done.errors} == {"too-dear", "lower-case-zone", "lower-case-currency"}

        assert all(len(periods_of(item)) == 1 for item in (before, after, *others))
        assert periods_of(too_dear) == periods_of(lower_case_zone) == periods_of(odd_currency) == []

    def test_is_named_beside_all_that_are_like_it(self) -> None:
        nowhere = make_customer(timezone="europe/london")
        for reference in ("trunk-north", "trunk-south"):
            make_item(customer=nowhere, reference=reference)
        for _ in range(2):
            assert {error["key"] for error in run(utc(2026, 3, 2)).errors} == {"trunk-north", "trunk-south"}

    def test_is_charged_once_it_was_mended(self) -> None:
        too_dear = make_item(amount=999_999_999_999, quantity=1_000)
        run(utc(2026, 3, 2))
        BillingItem.objects.filter(pk=too_dear.pk).update(quantity=1)
        assert run(utc(2026, 3, 2)).state == "done"
        assert len(periods_of(too_dear)) == 1


class TestACharge:
    @pytest.mark.parametrize(
        ("edit", "because"),
        [
            ({"ends_on": date(2026, 3, 10)}, "ended inside what was charged"),
            ({"ends_on": date(2030, 1, 1)}, "an end, far away"),
            ({"amount": 99, "quantity": 5, "description": "Another"}, "edited"),
            ({"next_due_on": date(2026, 3, 1)}, "looked at again"),
            ({"charged_through": date(2026, 3, 20)}, "set back by hand: half of March again"),
            ({"charged_through": None, "next_due_on": date(2026, 3, 1)}, "forgotten by hand"),
        ],
    )
    def test_is_never_made_twice_whatever_was_edited(self, edit: dict[str, object], because: str) -> None:
        trunk, other = make_item(reference="trunk-7"), make_item()
        run(utc(2026, 3, 2))
        BillingItem.objects.filter(pk=trunk.pk).update(**edit)
        BillingItem.objects.filter(pk=other.pk).update(next_due_on=MARCH_BEGIN)

        for _ in range(2):
            run(utc(2026, 3, 31, 12))
        assert periods_of(trunk) == periods_of(other) == [("2026-03-01", "2026-04-01")], because

        run(utc(2026, 4, 2))
        assert len(periods_of(other)) == 2
        assert [start for start, _ in periods_of(trunk)].count("2026-03-01") == 1
        self.assert_no_days_overlap(trunk)

    def test_is_not_made_again_after_its_reversal(self) -> None:
        trunk = make_item()
        run(utc(2026, 3, 2))
        make_reversal(LedgerEntry.objects.get())
        BillingItem.objects.filter(pk=trunk.pk).update(ends_on=date(2026, 12, 1))  # looked at again
        assert run(utc(2026, 3, 3)).item_charges == 0

    def test_goes_on_where_the_last_one_ended_when_an_end_was_taken_back(self) -> None:
        trunk = make_item(amount=31, ends_on=date(2026, 3, 11))
        run(utc(2026, 3, 5))
        BillingItem.objects.filter(pk=trunk.pk).update(ends_on=None)
        run(utc(2026, 4, 5))
        assert periods_of(trunk) == [
            ("2026-03-01", "2026-03-11"),
            ("2026-03-11", "2026-04-01"),
            ("2026-04-01", "2026-05-01"),
        ]
        assert prices_of(trunk) == ["10.00", "21.00", "31.00"]

    def assert_no_days_overlap(self, item: BillingItem) -> None:
        charged = sorted(periods_of(item))
        assert all(end <= start for (_, end), (start, _) in pairwise(charged))


# The instant at which the customer's day begins, in UTC, and why it is of interest.
MIDNIGHTS = [
    ("Pacific/Pago_Pago", date(2026, 3, 1), utc(2026, 3, 1, 11), "the last to see a day begin: UTC-11"),
    ("Pacific/Kiritimati", date(2026, 3, 1), utc(2026, 2, 28, 10), "the first: UTC+14"),
    ("UTC", date(2026, 3, 1), utc(2026, 3, 1), "no offset"),
    ("Asia/Kathmandu", date(2026, 3, 1), utc(2026, 2, 28, 18, 15), "UTC+5:45"),
    ("Europe/London", date(2026, 3, 29), utc(2026, 3, 29), "summer time begins an hour later"),
    ("Europe/London", date(2026, 3, 30), utc(2026, 3, 29, 23), "the first midnight in summer time"),
    ("Europe/London", date(2026, 10, 26), utc(2026, 10, 26), "the first midnight in winter time"),
    ("America/New_York", date(2026, 11, 2), utc(2026, 11, 2, 5), "a day after winter time began"),
    ("Asia/Beirut", date(2026, 3, 29), utc(2026, 3, 28, 22), "there is no midnight: the day begins at one"),
    ("Asia/Beirut", date(2026, 10, 25), utc(2026, 10, 24, 22), "the hour before midnight comes twice"),
    ("America/Havana", date(2026, 11, 1), utc(2026, 11, 1, 4), "midnight comes twice: the first counts"),
    ("Pacific/Apia", date(2011, 12, 30), utc(2011, 12, 30, 10), "the day was left out: the 31st begins instead"),
    ("Australia/Lord_Howe", date(2026, 4, 6), utc(2026, 4, 5, 13, 30), "summer time of half an hour has ended"),
]


class TestTheCustomersMidnight:
    def test_is_the_same_to_postgresql_and_python_in_every_zone_that_may_be_entered(self) -> None:
        days = [utc(2019, 1, 1), utc(2019, 7, 1)]  # long ago: what is new in the one's data is not in the other's
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, day, day AT TIME ZONE name FROM pg_timezone_names, unnest(%s::timestamptz[]) day"
                " WHERE name = ANY(%s)",
                [days, list(available_timezones())],
            )
            found = cursor.fetchall()
        assert len(found) > 800
        for zone in {zone for zone, day, at in found if day.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != at}:
            with pytest.raises(ValidationError, match="may have summer time or not"):
                validate_time_zone(zone)

    @pytest.mark.parametrize(
        ("zone", "day", "midnight", "because"), MIDNIGHTS, ids=[f"{zone} {day}" for zone, day, *_ in MIDNIGHTS]
    )
    def test_is_when_an_item_is_due_and_when_it_is_said_to_have_occurred(
        self, zone: str, day: date, midnight: datetime, because: str
    ) -> None:
        customer = make_customer(timezone=zone)
        advance = make_item(customer=customer, starts_on=day, interval="year")
        arrears = make_item(customer=customer, starts_on=day - timedelta(days=3), ends_on=day, timing="arrears")
        porting = make_one_off(customer=customer, starts_on=day)

        for early in (timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)):
            assert run(midnight - early).amount == {}, f"{early} too early: {because}"
        run(midnight)
        for late in (timedelta(seconds=1), timedelta(hours=1), timedelta(days=2)):
            assert run(midnight + late).amount == {}, f"{late} later again: {because}"

        assert len(periods_of(advance)) == len(periods_of(arrears)) == len(periods_of(porting)) == 1
        assert set(LedgerEntry.objects.values_list("occurred_at", flat=True)) == {midnight}, because

    @settings(max_examples=25, deadline=None)
    @given(
        zone=st.sampled_from(sorted({zone for zone, *_ in MIDNIGHTS})),
        day=st.dates(date(2025, 4, 1), date(2026, 3, 31)),
        distance=st.integers(-26 * 3600, 26 * 3600),
    )
    def test_decides_at_any_instant_around_it(self, zone: str, day: date, distance: int) -> None:
        at = datetime.combine(day, time(), UTC) + timedelta(seconds=distance)
        item = make_item(customer=make_customer(timezone=zone), starts_on=day, interval="year")
        run(at)
        assert len(periods_of(item)) == (at.astimezone(ZoneInfo(zone)).date() >= day)


class TestARunOfItems:
    def test_leaves_other_partners_alone(self) -> None:
        fjord = make_partner(slug="fjord")
        theirs, ours = make_item(customer=make_customer(partner=fjord)), make_item()
        assert run(utc(2026, 3, 2), partner=harbour()).item_charges == 1
        assert (periods_of(theirs), len(periods_of(ours))) == ([], 1)

    def test_charges_the_same_in_small_chunks(self) -> None:
        items = [make_item(customer=customer) for customer in [make_customer() for _ in range(5)] for _ in range(3)]
        done = run(utc(2026, 4, 2), sizes=cycle.ChunkSizes(items=2))
        assert (done.state, done.item_charges) == ("done", 30)
        assert all(len(periods_of(item)) == 2 for item in items)

    def test_charges_items_that_are_alike_each_by_its_own_pauses_and_amounts(self) -> None:
        like_the_others, dearer, paused, another = [make_item(amount=31) for _ in range(4)]
        make_price_change(item=dearer, from_date=date(2026, 4, 1), amount=40)
        make_pause(item=paused, starts_on=date(2026, 3, 11), ends_on=date(2026, 4, 1))
        for charged in (8, 0):
            assert run(utc(2026, 4, 2)).item_charges == charged
        assert prices_of(like_the_others) == prices_of(another) == ["31.00", "31.00"]
        assert prices_of(dearer) == ["31.00", "40.00"]
        assert prices_of(paused) == ["10.00", "31.00"]

    def test_puts_fewer_items_into_a_chunk_where_more_periods_of_each_are_due(self) -> None:
        for _ in range(4):
            make_item()
        for at, most_at_once in ((utc(2026, 3, 2), 4), (utc(2026, 7, 2), 1)):
            statements: list[str] = []

            def remember(execute: Any, sql: str, *arguments: Any, seen: list[str] = statements) -> Any:
                seen.append(sql)
                return execute(sql, *arguments)

            with connection.execute_wrapper(remember):
                assert run(at, sizes=cycle.ChunkSizes(items=4)).state == "done"
            assert sum("INSERT INTO billing_itemperiod" in sql for sql in statements) == 4 / most_at_once

    def test_takes_one_statement_for_all_entries_of_a_chunk(self) -> None:
        customers = [make_customer() for _ in range(4)]
        for customer in customers:
            for _ in range(5):
                make_item(customer=customer)
        statements: list[str] = []

        def remember(execute: Any, sql: str, *arguments: Any) -> Any:
            statements.append(sql)
            return execute(sql, *arguments)

        with connection.execute_wrapper(remember):
            assert run(utc(2026, 3, 2)).item_charges == 20
        few = len(statements)
        for customer in customers:
            for _ in range(50):
                make_item(customer=customer)
        statements.clear()
        with connection.execute_wrapper(remember):
            assert run(utc(2026, 3, 2)).item_charges == 200
        assert len(statements) == few
