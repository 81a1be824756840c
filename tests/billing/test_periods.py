"""The rules of recurring items: billing dates, stubs, proration, pauses, due dates, prices.

Tables of cases first, each with its reason; then properties, and a slow reference written straight from the rules.
"""

import calendar
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from billing.periods import (
    Interval,
    InvalidSchedule,
    Kind,
    Pause,
    Period,
    Proration,
    Schedule,
    Timing,
    currency_digits,
    next_due_on,
    periods,
    price,
)

JANUARY_1 = date(2026, 1, 1)
JANUARY_10 = date(2026, 1, 10)
JANUARY_20 = date(2026, 1, 20)
FEBRUARY_1 = date(2026, 2, 1)
FEBRUARY_10 = date(2026, 2, 10)
MARCH_1 = date(2026, 3, 1)
MARCH_20 = date(2026, 3, 20)
APRIL_1 = date(2026, 4, 1)
DOOMSDAY = date.max


def day(iso: str) -> date:
    return date.fromisoformat(iso)


def starts(found: list[Period]) -> list[str]:
    return [period.start.isoformat() for period in found]


def days(found: list[Period]) -> list[tuple[str, str, int, int]]:
    return [(str(period.start), str(period.end), period.charged_days, period.whole_days) for period in found]


def part_of_whole(period: Period) -> Fraction:
    return Fraction(period.charged_days, period.whole_days)


class TestBillingDates:
    @pytest.mark.parametrize(
        ("starts_on", "interval", "count", "bill_cycle_day", "expected", "reason"),
        [
            ("2026-01-15", "month", 1, None, "2026-01-15 2026-02-15 2026-03-15", "the day of the start, by default"),
            ("2026-01-15", "month", 1, 15, "2026-01-15 2026-02-15 2026-03-15", "the start is a billing date: no stub"),
            ("2026-01-15", "month", 1, 20, "2026-01-15 2026-01-20 2026-02-20", "still ahead in the start's own month"),
            ("2026-01-15", "month", 1, 10, "2026-01-15 2026-02-10 2026-03-10", "already past: one interval later"),
            ("2012-01-31", "month", 1, 30, "2012-01-31 2012-02-29 2012-03-30", "one month later has no day 30"),
            ("2012-01-31", "year", 1, 30, "2012-01-31 2013-01-30 2014-01-30", "one interval later is a year later"),
            ("2026-02-20", "quarter", 1, 15, "2026-02-20 2026-05-15 2026-08-15", "quarters run from the start's month"),
            ("2026-02-20", "month", 5, 15, "2026-02-20 2026-07-15 2026-12-15", "one interval later is five months"),
            ("2026-01-31", "month", 1, None, "2026-01-31 2026-02-28 2026-03-31 2026-04-30 2026-05-31", "31 comes back"),
            ("2024-01-30", "month", 1, None, "2024-01-30 2024-02-29 2024-03-30", "30 too, in a leap year"),
            (
                "2026-04-30",
                "month",
                1,
                None,
                "2026-04-30 2026-05-30 2026-06-30",
                "a start on the 30th means 30, not last",
            ),
            ("2026-04-30", "month", 1, 31, "2026-04-30 2026-05-31 2026-06-30", "31 is April's 30th: a billing date"),
            ("2026-02-28", "month", 1, 31, "2026-02-28 2026-03-31 2026-04-30", "31 is February's 28th"),
            ("2024-02-28", "month", 1, 31, "2024-02-28 2024-02-29 2024-03-31", "31 is the 29th: a stub of a day"),
            ("2024-02-29", "year", 1, None, "2024-02-29 2025-02-28 2026-02-28", "29 February, where there is none"),
            ("2026-12-05", "month", 1, 1, "2026-12-05 2027-01-01 2027-02-01", "over the turn of the year"),
            ("2026-11-30", "quarter", 1, None, "2026-11-30 2027-02-28 2027-05-30", "quarterly, clamped and back"),
            ("2026-01-31", "month", 13, None, "2026-01-31 2027-02-28 2028-03-31", "more months than a year has"),
            ("2026-01-31", "day", 10, None, "2026-01-31 2026-02-10 2026-02-20", "days run from the start"),
            ("2026-01-31", "week", 2, None, "2026-01-31 2026-02-14 2026-02-28", "weeks run from the start"),
        ],
    )
    def test_begin_the_periods(
        self, starts_on: str, interval: str, count: int, bill_cycle_day: int | None, expected: str, reason: str
    ) -> None:
        schedule = Schedule(
            starts_on=day(starts_on), interval=interval, interval_count=count, bill_cycle_day=bill_cycle_day
        )
        expected_starts = expected.split()
        assert starts(periods(schedule, None, DOOMSDAY, limit=len(expected_starts))) == expected_starts, reason

    def test_come_back_to_29_february_after_four_years(self) -> None:
        yearly = Schedule(starts_on=date(2024, 2, 29), interval="year")
        assert starts(periods(yearly, date(2027, 2, 28), date(2028, 12, 31))) == ["2027-02-28", "2028-02-29"]

    def test_of_a_leap_day_in_2100_are_the_28th(self) -> None:
        yearly = Schedule(starts_on=date(2096, 2, 29), interval="year", interval_count=4)
        assert starts(periods(yearly, None, DOOMSDAY, limit=3)) == ["2096-02-29", "2100-02-28", "2104-02-29"]


class TestPartOfAWholePeriod:
    @pytest.mark.parametrize(
        ("starts_on", "ends_on", "interval", "bill_cycle_day", "proration", "kind", "expected", "reason"),
        [
            # Leading stubs: the whole one ends on the first billing date.
            ("2026-01-20", None, "month", 1, "days", "leading_stub", (12, 31), "of 1 January to 1 February"),
            ("2026-02-20", None, "month", 5, "days", "leading_stub", (13, 28), "of 5 February to 5 March"),
            ("2012-01-31", None, "month", 30, "days", "leading_stub", (29, 31), "29 February - 1 month = 29 January"),
            (
                "2012-01-31",
                None,
                "year",
                30,
                "days",
                "leading_stub",
                (365, 366),
                "30 January 2012 to 2013, a leap year",
            ),
            ("2026-01-15", None, "month", 31, "days", "leading_stub", (16, 31), "31 January - 1 month = 31 December"),
            ("2026-03-10", None, "month", 31, "days", "leading_stub", (21, 31), "31 March - 1 month = 28 February"),
            ("2026-01-20", None, "quarter", 15, "days", "leading_stub", (85, 90), "of 15 January to 15 April"),
            ("2026-01-10", None, "year", 20, "days", "leading_stub", (10, 365), "of the year before 20 January"),
            ("2026-01-20", None, "month", 1, "fixed_30", "leading_stub", (11, 30), "20 January to 1 February, 30E/360"),
            ("2026-01-31", None, "month", 1, "fixed_30", "leading_stub", (1, 30), "the 31st counts as the 30th"),
            ("2026-01-30", None, "month", 31, "fixed_30", "leading_stub", (0, 30), "30th to 31st: 30E/360 sees no day"),
            ("2026-02-20", None, "quarter", 15, "fixed_30", "leading_stub", (85, 90), "a quarter has 90 days"),
            ("2026-02-20", None, "year", 15, "fixed_30", "leading_stub", (355, 360), "a year has 360 days"),
            ("2026-01-20", None, "month", 1, "none", "leading_stub", (31, 31), "charged in full"),
            # Trailing stubs: the whole one starts on the last billing date.
            ("2026-02-01", "2026-02-11", "month", None, "days", "trailing_stub", (10, 28), "of February"),
            ("2026-02-01", "2026-02-02", "month", None, "days", "trailing_stub", (1, 28), "one day"),
            ("2024-02-29", "2024-03-31", "month", 31, "days", "whole", (31, 31), "ends on a billing date: no stub"),
            (
                "2026-02-28",
                "2026-03-28",
                "month",
                31,
                "days",
                "trailing_stub",
                (28, 28),
                "a plain month, anchor or not",
            ),
            (
                "2026-02-28",
                "2026-03-30",
                "month",
                31,
                "days",
                "trailing_stub",
                (28, 28),
                "30 days: never more than all",
            ),
            ("2026-01-15", "2026-03-01", "quarter", None, "days", "trailing_stub", (45, 90), "15 January to 15 April"),
            ("2026-02-28", "2026-03-30", "month", 31, "fixed_30", "trailing_stub", (30, 30), "32 by 30E/360: all"),
            ("2026-02-01", "2026-02-28", "month", None, "fixed_30", "trailing_stub", (27, 30), "1st to 28th"),
            ("2026-01-01", "2026-01-31", "month", None, "fixed_30", "trailing_stub", (29, 30), "1st to 30th"),
            ("2026-02-01", "2026-02-02", "month", None, "none", "trailing_stub", (28, 28), "charged in full"),
            ("2026-02-01", "2026-02-05", "week", None, "days", "trailing_stub", (4, 7), "inside the first week"),
            ("2026-02-01", "2026-02-05", "day", None, "days", "whole", (1, 1), "days have no stubs"),
            # Started and ended before the first billing date: one stub, of the leading kind's whole.
            ("2026-01-20", "2026-01-25", "month", 1, "days", "short_stub", (5, 31), "of 1 January to 1 February"),
            ("2026-01-20", "2026-01-25", "month", 1, "fixed_30", "short_stub", (5, 30), "by 30E/360"),
            ("2026-01-20", "2026-01-21", "month", 1, "none", "short_stub", (31, 31), "charged in full"),
            (
                "2026-01-20",
                "2026-02-01",
                "month",
                1,
                "days",
                "leading_stub",
                (12, 31),
                "ends on the first billing date",
            ),
            # Whole ones.
            ("2026-02-28", None, "month", 31, "days", "whole", (31, 31), "31 days, but one whole amount"),
            ("2026-02-28", None, "month", 31, "fixed_30", "whole", (30, 30), "one whole amount"),
            ("2026-01-31", None, "month", 31, "none", "whole", (28, 28), "one whole amount"),
        ],
    )
    def test_is_counted_in_days(
        self,
        starts_on: str,
        ends_on: str | None,
        interval: str,
        bill_cycle_day: int | None,
        proration: str,
        kind: str,
        expected: tuple[int, int],
        reason: str,
    ) -> None:
        schedule = Schedule(
            starts_on=day(starts_on),
            ends_on=day(ends_on) if ends_on else None,
            interval=interval,
            bill_cycle_day=bill_cycle_day,
            proration=proration,
        )
        first = periods(schedule, None, DOOMSDAY, limit=1)[0]
        assert (first.kind, (first.charged_days, first.whole_days)) == (kind, expected), reason

    def test_of_the_last_period_is_a_trailing_stub_in_the_anchored_month(self) -> None:
        ended = Schedule(starts_on=date(2026, 1, 31), ends_on=date(2026, 3, 10))
        last = periods(ended, None, DOOMSDAY)[-1]
        assert days([last]) == [("2026-02-28", "2026-03-10", 10, 28)]


class TestDuePeriods:
    MONTHLY = Schedule(starts_on=JANUARY_20, ends_on=MARCH_20, bill_cycle_day=1)

    @pytest.mark.parametrize(
        ("timing", "due_through", "expected", "reason"),
        [
            ("advance", "2026-01-19", "", "what has not started is not due"),
            ("advance", "2026-01-20", "2026-01-20", "the stub's start has come"),
            ("advance", "2026-01-31", "2026-01-20", "February has not come"),
            ("advance", "2026-02-01", "2026-01-20 2026-02-01", "February has"),
            ("advance", "2026-12-31", "2026-01-20 2026-02-01 2026-03-01", "all of it, oldest first"),
            ("arrears", "2026-01-31", "", "the stub's last day is not over"),
            ("arrears", "2026-02-01", "2026-01-20", "it is"),
            ("arrears", "2026-03-19", "2026-01-20 2026-02-01", "the item's last day is not over"),
            ("arrears", "2026-03-20", "2026-01-20 2026-02-01 2026-03-01", "the item's end has come"),
        ],
    )
    def test_come_when_their_time_has_come(self, timing: str, due_through: str, expected: str, reason: str) -> None:
        schedule = replace(self.MONTHLY, timing=timing)
        assert starts(periods(schedule, None, day(due_through))) == expected.split(), reason

    def test_continue_where_the_last_charge_ended(self) -> None:
        assert starts(periods(self.MONTHLY, FEBRUARY_1, APRIL_1)) == ["2026-02-01", "2026-03-01"]

    def test_begin_with_the_item_though_something_earlier_is_said_to_be_charged(self) -> None:
        weekly = Schedule(starts_on=JANUARY_20, interval="week")
        for schedule in (self.MONTHLY, weekly):
            assert periods(schedule, JANUARY_1, JANUARY_20) == periods(schedule, None, JANUARY_20)

    def test_are_the_same_when_asked_twice(self) -> None:
        assert periods(self.MONTHLY, None, APRIL_1) == periods(self.MONTHLY, None, APRIL_1)

    def test_stop_at_the_limit_and_begin_with_the_oldest(self) -> None:
        assert starts(periods(self.MONTHLY, None, APRIL_1, limit=2)) == ["2026-01-20", "2026-02-01"]
        assert periods(self.MONTHLY, None, APRIL_1, limit=0) == []

    def test_are_none_for_an_item_that_ends_where_it_starts(self) -> None:
        for proration in Proration:
            assert periods(Schedule(starts_on=MARCH_1, ends_on=MARCH_1, proration=proration), None, DOOMSDAY) == []

    def test_are_none_once_an_ended_item_is_charged(self) -> None:
        assert periods(self.MONTHLY, MARCH_20, DOOMSDAY) == []

    def test_are_found_at_once_however_old_the_item(self) -> None:
        daily = Schedule(starts_on=date(1, 1, 1), interval="day")  # millions of steps, if it took steps
        assert starts(periods(daily, date(9999, 1, 1), date(9999, 1, 1))) == ["9999-01-01"]

    @pytest.mark.parametrize("interval", Interval)
    def test_end_with_the_calendar(self, interval: str) -> None:
        endless = Schedule(starts_on=date(9990, 5, 17), interval=interval, interval_count=7)
        assert periods(endless, None, DOOMSDAY)[-1].end == date.max
        for next_to_never in (replace(endless, interval_count=10**6), replace(endless, starts_on=date.min)):
            assert len(periods(next_to_never, None, JANUARY_1, limit=1)) == (next_to_never.starts_on <= JANUARY_1)


class TestNextDueDate:
    @pytest.mark.parametrize(
        ("timing", "after", "expected", "reason"),
        [
            ("advance", None, JANUARY_20, "the start"),
            ("advance", FEBRUARY_1, FEBRUARY_1, "the first billing date"),
            ("advance", MARCH_20, None, "the item has ended"),
            ("arrears", None, FEBRUARY_1, "the end of the leading stub"),
            ("arrears", MARCH_1, MARCH_20, "the item's end, before the billing date"),
            ("arrears", MARCH_20, None, "the item has ended"),
        ],
    )
    def test_is_that_of_the_first_uncharged_period(
        self, timing: str, after: date | None, expected: date | None, reason: str
    ) -> None:
        schedule = Schedule(starts_on=JANUARY_20, ends_on=MARCH_20, bill_cycle_day=1, timing=timing)
        assert next_due_on(schedule, after) == expected, reason


class TestAnEndThatWasMoved:
    CHARGED = Schedule(starts_on=JANUARY_1)

    @pytest.mark.parametrize("ends_on", [JANUARY_1, JANUARY_20, FEBRUARY_1])
    def test_behind_what_was_charged_leaves_nothing(self, ends_on: date) -> None:
        assert periods(replace(self.CHARGED, ends_on=ends_on), FEBRUARY_1, DOOMSDAY) == []

    def test_gives_the_stub_to_credit_against(self) -> None:
        cancelled = replace(self.CHARGED, ends_on=FEBRUARY_10)  # February was charged whole
        assert days(periods(cancelled, FEBRUARY_1, DOOMSDAY)) == [("2026-02-01", "2026-02-10", 9, 28)]

    @pytest.mark.parametrize(
        ("proration", "rest", "reason"),
        [
            ("days", (19, 28), "9 of 28 were charged"),
            ("fixed_30", (21, 30), "9 of 30 were charged"),
            ("none", (0, 28), "the stub was charged in full: nothing is left of one whole amount"),
        ],
    )
    def test_further_away_leaves_the_rest_of_the_period(
        self, proration: str, rest: tuple[int, int], reason: str
    ) -> None:
        charged_through = FEBRUARY_10  # the trailing stub of an item that was to end then
        first, second = periods(replace(self.CHARGED, proration=proration), charged_through, MARCH_1)
        assert first == Period(FEBRUARY_10, MARCH_1, Kind.PART, FEBRUARY_10, *rest), reason
        assert (second.start, second.kind) == (MARCH_1, Kind.WHOLE)

    def test_leaves_no_less_than_one_whole_amount(self) -> None:
        anchored = Schedule(starts_on=date(2026, 1, 31), proration="fixed_30")  # to 28 February: 28 days by 30E/360
        stub = periods(replace(anchored, ends_on=FEBRUARY_10), None, DOOMSDAY)
        rest = periods(anchored, FEBRUARY_10, date(2026, 2, 27))
        assert days(stub + rest) == [("2026-01-31", "2026-02-10", 10, 30), ("2026-02-10", "2026-02-28", 20, 30)]

    def test_leaves_no_more_than_one_whole_amount(self) -> None:
        anchored = Schedule(starts_on=date(2026, 1, 31))  # 28 February to 31 March: 31 days, of a plain month's 28
        stub = periods(replace(anchored, ends_on=date(2026, 3, 10)), date(2026, 2, 28), DOOMSDAY)
        rest = periods(anchored, date(2026, 3, 10), date(2026, 3, 30))
        assert days(stub + rest) == [("2026-02-28", "2026-03-10", 10, 28), ("2026-03-10", "2026-03-31", 18, 28)]


class TestPauses:
    @pytest.mark.parametrize(
        ("timing", "expected", "reason"),
        [
            ("advance", [JANUARY_1, MARCH_20, APRIL_1], "a part is due on its first day"),
            ("arrears", [JANUARY_10, APRIL_1, date(2026, 5, 1)], "or when its last day is over"),
        ],
    )
    def test_skip_whole_and_part_periods(self, timing: str, expected: list[date], reason: str) -> None:
        paused = Schedule(starts_on=JANUARY_1, timing=timing, pauses=(Pause(JANUARY_10, MARCH_20),))
        found = periods(paused, None, DOOMSDAY, limit=3)
        assert days(found) == [
            ("2026-01-01", "2026-01-10", 9, 31),
            ("2026-03-20", "2026-04-01", 12, 31),
            ("2026-04-01", "2026-05-01", 30, 30),
        ]
        assert [period.kind for period in found] == [Kind.PART, Kind.PART, Kind.WHOLE]
        assert [period.due_on for period in found] == expected, reason

    def test_entered_late_change_nothing_that_was_charged(self) -> None:
        paused = Schedule(starts_on=JANUARY_1, pauses=(Pause(JANUARY_10, MARCH_20),))
        assert starts(periods(paused, FEBRUARY_1, MARCH_20)) == ["2026-03-20"]

    def test_without_an_end_are_never_due(self) -> None:
        paused = Schedule(starts_on=JANUARY_1, pauses=(Pause(JANUARY_10),))
        assert days(periods(paused, None, DOOMSDAY)) == [("2026-01-01", "2026-01-10", 9, 31)]
        assert next_due_on(paused, JANUARY_10) is None

    def test_over_the_whole_life_leave_nothing(self) -> None:
        assert periods(Schedule(starts_on=JANUARY_20, pauses=(Pause(JANUARY_1),)), None, DOOMSDAY) == []

    def test_within_one_period_charge_an_unprorated_item_once(self) -> None:
        paused = Schedule(starts_on=JANUARY_1, proration="none", pauses=(Pause(JANUARY_10, JANUARY_20),))
        assert days(periods(paused, None, JANUARY_20)) == [
            ("2026-01-01", "2026-01-10", 31, 31),
            ("2026-01-20", "2026-02-01", 0, 31),
        ]

    def test_cut_stubs_too(self) -> None:
        paused = Schedule(starts_on=JANUARY_10, bill_cycle_day=1, pauses=(Pause(JANUARY_20, FEBRUARY_10),))
        assert days(periods(paused, None, FEBRUARY_10)) == [
            ("2026-01-10", "2026-01-20", 10, 31),
            ("2026-02-10", "2026-03-01", 19, 28),
        ]

    def test_on_billing_dates_leave_whole_periods(self) -> None:
        paused = Schedule(starts_on=JANUARY_1, pauses=(Pause(FEBRUARY_1, MARCH_1), Pause(MARCH_1, APRIL_1)))
        assert [(period.start, period.kind) for period in periods(paused, None, APRIL_1)] == [
            (JANUARY_1, Kind.WHOLE),
            (APRIL_1, Kind.WHOLE),
        ]


class TestNonsense:
    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            ({"ends_on": date(2025, 12, 31)}, "end on 2025-12-31, before it starts on 2026-01-01"),
            ({"interval": "fortnight"}, "'fortnight' is no interval: use day, week, month, quarter, year"),
            ({"interval": ""}, "is no interval"),
            ({"interval_count": 0}, "count must be at least 1, not 0"),
            ({"interval_count": -1}, "count must be at least 1"),
            ({"bill_cycle_day": 0}, "between 1 and 31, not 0"),
            ({"bill_cycle_day": 32}, "between 1 and 31, not 32"),
            ({"interval": "day", "bill_cycle_day": 1}, "charged by the day has no bill-cycle day"),
            ({"interval": "week", "bill_cycle_day": 1}, "charged by the week has no bill-cycle day"),
            ({"interval": "week", "proration": "fixed_30"}, "cannot be prorated by months of 30 days"),
            ({"timing": "later"}, "'later' is no timing: use advance or arrears"),
            ({"proration": "hours"}, "'hours' is no proration: use days, fixed_30, none"),
            ({"pauses": (Pause(MARCH_1, MARCH_1),)}, "would end on 2026-03-01, before it begins"),
            ({"pauses": (Pause(MARCH_1, APRIL_1), Pause(MARCH_20))}, "begins before the pause listed ahead of it ends"),
            ({"pauses": (Pause(MARCH_1), Pause(APRIL_1))}, "begins before the pause listed ahead of it ends"),
        ],
    )
    def test_is_refused_with_a_sentence(self, wrong: dict[str, object], sentence: str) -> None:
        valid = Schedule(starts_on=JANUARY_1)
        with pytest.raises(InvalidSchedule, match=sentence) as refusal:
            replace(valid, **wrong)  # type: ignore[arg-type]
        assert str(refusal.value).endswith(".")

    def test_of_a_currency_is_refused(self) -> None:
        for nonsense in ("", "eur", "EURO", "E1R", "ÄÖÜ", "€"):
            with pytest.raises(ValueError, match="no ISO 4217 currency code"):
                currency_digits(nonsense)


def stub(charged_days: int, whole_days: int) -> Period:
    return Period(JANUARY_1, FEBRUARY_1, Kind.LEADING_STUB, JANUARY_1, charged_days, whole_days)


class TestPrice:
    @pytest.mark.parametrize(
        ("amount", "quantity", "part", "digits", "expected", "reason"),
        [
            ("10", "1", (12, 31), 2, "3.87", "3.8709…"),
            ("10", "7", (12, 31), 2, "27.10", "27.0967…, rounded after the quantity: not 7 times 3.87"),
            ("0.01", "1", (1, 2), 2, "0.01", "half a cent: up"),
            ("-0.01", "1", (1, 2), 2, "-0.01", "a credit mirrors its charge: away from zero"),
            ("0.03", "1", (1, 2), 2, "0.02", "half up, not to even"),
            ("0.05", "1", (1, 2), 2, "0.03", "half up, not to even"),
            ("0.009999", "1", (1, 2), 2, "0.00", "just below half a cent"),
            ("-0.009999", "1", (1, 2), 2, "0.00", "no negative zero"),
            ("0", "5", (1, 2), 2, "0.00", "items may cost nothing"),
            ("10", "1", (0, 30), 2, "0.00", "a stub without a day"),
            ("1000", "1", (1, 31), 0, "32", "the yen has no decimals"),
            ("10", "1", (1, 31), 3, "0.323", "the dinar has three"),
            ("10", "0.5", (31, 31), 2, "5.00", "quantities may be fractions"),
            ("9.995", "1", (30, 30), 2, "10.00", "amounts may be finer than the minor unit"),
            (
                "999999999999.999999",
                "999999999999.999999",
                (1, 1),
                2,
                "999999999999999998000000.00",
                "the largest that numeric(18,6) holds: exact beyond Decimal's usual 28 digits",
            ),
        ],
    )
    def test_is_rounded_once(
        self, amount: str, quantity: str, part: tuple[int, int], digits: int, expected: str, reason: str
    ) -> None:
        assert str(price(Decimal(amount), Decimal(quantity), stub(*part), digits)) == expected, reason

    @pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity"])
    def test_of_no_number_is_no_number(self, amount: str) -> None:
        with pytest.raises((ArithmeticError, ValueError)):
            price(Decimal(amount), Decimal(1), stub(1, 2), 2)

    @pytest.mark.parametrize(
        ("currency", "digits", "reason"),
        [
            ("EUR", 2, "the usual"),
            ("JPY", 0, "no minor unit"),
            ("KWD", 3, "1,000 fils"),
            ("CLF", 4, "a unit of account"),
            ("UGX", 0, "since 2014"),
            ("ISK", 0, "since 2007"),
            ("CLP", 0, "no minor unit"),
            ("HUF", 2, "by the standard, though nobody has seen a fillér since 1999"),
            ("IQD", 3, "by the standard; CLDR says 0"),
            ("RSD", 2, "by the standard; CLDR says 0"),
            ("TWD", 2, "by the standard"),
        ],
    )
    def test_has_the_decimals_of_its_currency(self, currency: str, digits: int, reason: str) -> None:
        assert currency_digits(currency) == digits, reason


# Properties. A few years around leap days; long and short lives; every interval, timing and proration.

thorough = settings(max_examples=200, deadline=None)
some_day = st.dates(date(2011, 1, 1), date(2025, 12, 31))
month_intervals = st.sampled_from(["month", "quarter", "year"])
HORIZON = date(2028, 6, 30)  # beyond every end below


@st.composite
def schedules(draw: st.DrawFn, *, with_pauses: bool = False) -> Schedule:
    starts_on = draw(some_day)
    by_months = draw(st.booleans())
    pauses: list[Pause] = []
    if with_pauses:
        edges = draw(st.lists(st.integers(-30, 900), unique=True, max_size=6).map(sorted))
        dates = [starts_on + timedelta(days=edge) for edge in edges]
        pauses = [Pause(*pair) for pair in zip(dates[::2], [*dates[1::2], None], strict=False)]
    return Schedule(
        starts_on=starts_on,
        ends_on=draw(st.none() | st.integers(0, 900).map(lambda length: starts_on + timedelta(days=length))),
        interval=draw(month_intervals) if by_months else draw(st.sampled_from(["day", "week"])),
        interval_count=draw(st.integers(1, 14)),
        bill_cycle_day=draw(st.none() | st.integers(1, 31)) if by_months else None,
        timing=draw(st.sampled_from(Timing)),
        proration=draw(st.sampled_from(Proration if by_months else [Proration.DAYS, Proration.NONE])),
        pauses=tuple(pauses),
    )


class Reference:
    """The rules again, as they are written: month by month from the start, day by day through the pauses."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def charges(self, due_through: date) -> list[tuple[date, date, date, Fraction]]:
        """Return (start, end, due on, part of a whole amount)."""
        found = []
        edges = self.edges(due_through)
        for start, end in pairwise(edges):
            left = Fraction(1)
            last_billed = self.is_billing_date(start) and self.is_billing_date(end)
            whole = self.whole_days(start, end)
            runs = self.unpaused_runs(start, end)
            for run in runs:
                part = min(left, Fraction(self.count(*run), whole))
                if self.schedule.proration == "none" or (last_billed and run == (start, end)):
                    part = left
                left -= part
                due_on = run[1] if self.schedule.timing == "arrears" else run[0]
                if due_on <= due_through:
                    found.append((*run, due_on, part))
        return found

    def edges(self, through: date) -> list[date]:
        """Return the start, the billing dates until one lies after `through`, and the end."""
        dates = self.billing_dates(through)
        ends_on = self.schedule.ends_on
        edges = sorted({self.schedule.starts_on, *dates})
        if ends_on is not None:
            edges = [edge for edge in edges if edge < ends_on]
            edges += [ends_on] if edges else []
        return edges

    def billing_dates(self, through: date) -> list[date]:
        item = self.schedule
        if item.interval in ("day", "week"):
            step = timedelta(days=item.interval_count * (7 if item.interval == "week" else 1))
            dates = [item.starts_on]
            while dates[-1] <= through:
                dates.append(dates[-1] + step)
            return dates
        day_wanted = item.bill_cycle_day or item.starts_on.day
        year, month = item.starts_on.year, item.starts_on.month
        dates = []
        while not dates or dates[-1] <= through:
            candidate = self.clamped(year, month, day_wanted)
            if candidate >= item.starts_on:
                dates.append(candidate)
            for _ in range(self.months):
                year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return dates

    def is_billing_date(self, day: date) -> bool:
        return day in self.billing_dates(day)

    def whole_days(self, start: date, end: date) -> int:
        if self.schedule.proration == "fixed_30":
            return 30 * self.months
        if self.schedule.interval in ("day", "week"):
            return self.schedule.interval_count * (7 if self.schedule.interval == "week" else 1)
        if self.is_billing_date(start):
            return (self.shifted(start, 1) - start).days
        first_billing_date = self.billing_dates(end)[0]
        return (first_billing_date - self.shifted(first_billing_date, -1)).days

    def unpaused_runs(self, start: date, end: date) -> list[tuple[date, date]]:
        runs: list[tuple[date, date]] = []
        for offset in range((end - start).days):
            today = start + timedelta(days=offset)
            if any(pause.starts_on <= today and (not pause.ends_on or today < pause.ends_on) for pause in self.pauses):
                continue
            tomorrow = today + timedelta(days=1)
            if runs and runs[-1][1] == today:
                runs[-1] = (runs[-1][0], tomorrow)
            else:
                runs.append((today, tomorrow))
        return runs

    def count(self, start: date, end: date) -> int:
        if self.schedule.proration != "fixed_30":
            return (end - start).days
        first, last = (30 if edge.day == 31 else edge.day for edge in (start, end))
        return 360 * (end.year - start.year) + 30 * (end.month - start.month) + (last - first)

    @property
    def pauses(self) -> tuple[Pause, ...]:
        return self.schedule.pauses

    @property
    def months(self) -> int:
        return self.schedule.interval_count * {"month": 1, "quarter": 3, "year": 12}[self.schedule.interval]

    def shifted(self, day: date, intervals: int) -> date:
        year, month = day.year, day.month
        for _ in range(self.months):
            month += intervals
            if month in (0, 13):
                year, month = year + intervals, 12 if month == 0 else 1
        return self.clamped(year, month, day.day)

    @staticmethod
    def clamped(year: int, month: int, day: int) -> date:
        return date(year, month, min(day, calendar.monthrange(year, month)[1]))


class TestEverySchedule:
    @thorough
    @given(schedules(with_pauses=True), some_day)
    def test_agrees_with_the_rules_written_out(self, schedule: Schedule, due_through: date) -> None:
        found = [
            (period.start, period.end, period.due_on, part_of_whole(period))
            for period in periods(schedule, None, due_through)
        ]
        assert found == Reference(schedule).charges(due_through)

    @thorough
    @given(schedules())
    def test_covers_every_day_once(self, schedule: Schedule) -> None:
        found = periods(schedule, None, HORIZON)
        covered = [schedule.starts_on, *(period.end for period in found)]
        assert covered[:-1] == [period.start for period in found]
        assert all(period.start < period.end for period in found)
        if schedule.ends_on is not None:
            assert covered[-1] == schedule.ends_on
        elif schedule.timing == "advance":
            assert covered[-1] > HORIZON

    @thorough
    @given(schedules(with_pauses=True))
    def test_charges_no_paused_day_and_all_others(self, schedule: Schedule) -> None:
        def is_paused(today: date) -> bool:
            return any(pause.starts_on <= today < (pause.ends_on or date.max) for pause in schedule.pauses)

        schedule = replace(schedule, ends_on=schedule.ends_on or schedule.starts_on + timedelta(days=700))
        charged = [
            period.start + timedelta(days=offset)
            for period in periods(schedule, None, DOOMSDAY)
            for offset in range((period.end - period.start).days)
        ]
        assert schedule.ends_on is not None
        life = range((schedule.ends_on - schedule.starts_on).days)
        lived = [schedule.starts_on + timedelta(days=offset) for offset in life]
        assert charged == [today for today in lived if not is_paused(today)]

    @thorough
    @given(schedules(with_pauses=True), st.lists(st.tuples(some_day, st.integers(0, 4)), max_size=8))
    def test_charges_the_same_in_many_runs_as_in_one(self, schedule: Schedule, runs: list[tuple[date, int]]) -> None:
        charged: list[Period] = []
        for due_through, limit in [*sorted(runs), (HORIZON, None)]:
            after = charged[-1].end if charged else None
            charged += periods(schedule, after, due_through, limit)
        assert charged == periods(schedule, None, HORIZON)

    @thorough
    @given(schedules(with_pauses=True), some_day)
    def test_charges_nothing_before_its_time_and_leaves_nothing_due(self, schedule: Schedule, today: date) -> None:
        found = periods(schedule, None, today)
        for period in found:
            assert period.due_on == (period.end if schedule.timing == "arrears" else period.start)
            assert schedule.starts_on <= period.due_on <= today
        next_one = next_due_on(schedule, found[-1].end if found else None)
        assert next_one is None or next_one > today

    @thorough
    @given(schedules() | schedules(with_pauses=True), st.none() | some_day)
    def test_is_next_due_when_its_first_uncharged_period_is(self, schedule: Schedule, after: date | None) -> None:
        first = periods(schedule, after, DOOMSDAY, limit=1)
        assert next_due_on(schedule, after) == (first[0].due_on if first else None)

    @thorough
    @given(schedules(with_pauses=True))
    def test_never_charges_more_than_one_whole_amount(self, schedule: Schedule) -> None:
        for period in periods(schedule, None, HORIZON):
            assert 0 <= period.charged_days <= period.whole_days
            if period.kind == Kind.WHOLE:
                assert period.charged_days == period.whole_days
            if not schedule.pauses and (
                schedule.proration != "fixed_30" or (period.start.day, period.end.day) != (30, 31)
            ):
                assert period.charged_days > 0

    @thorough
    @given(schedules(with_pauses=True), some_day)
    def test_gives_nothing_that_overlaps_what_was_charged(self, schedule: Schedule, after: date) -> None:
        found = periods(schedule, after, HORIZON)
        assert all(period.start >= after for period in found)
        assert all(period.end <= (schedule.ends_on or date.max) for period in found)

    @thorough
    @given(schedules(), st.integers(1, 800), st.none() | st.integers(1, 400))
    def test_costs_the_same_when_its_end_was_moved_after_charging(
        self, schedule: Schedule, first_length: int, further: int | None
    ) -> None:
        first_end = schedule.starts_on + timedelta(days=first_length)
        second_end = None if further is None else first_end + timedelta(days=further)
        through = second_end or first_end + timedelta(days=400)
        charged = periods(replace(schedule, ends_on=first_end), None, DOOMSDAY)
        charged += periods(replace(schedule, ends_on=second_end), first_end, through)
        straight = periods(replace(schedule, ends_on=second_end), None, through)
        assert [period.end for period in charged] == sorted({first_end, *(period.end for period in straight)})[
            : len(charged)
        ]
        assert charged[-1].end == max(first_end, straight[-1].end if straight else first_end)
        if straight and straight[-1].end >= first_end:
            assert sum(map(part_of_whole, charged)) == sum(map(part_of_whole, straight))


class TestAnItemEndedAndAnotherBegunOnTheSameDay:
    @thorough
    @given(
        starts_on=some_day,
        length=st.integers(1, 500),
        interval=month_intervals,
        count=st.integers(1, 3),
        bill_cycle_day=st.integers(1, 28),
        proration=st.sampled_from(["days", "fixed_30"]),
    )
    def test_cost_the_whole_period_together(
        self, starts_on: date, length: int, interval: str, count: int, bill_cycle_day: int, proration: str
    ) -> None:
        single = Schedule(
            starts_on=starts_on,
            interval=interval,
            interval_count=count,
            bill_cycle_day=bill_cycle_day,
            proration=proration,
        )
        changed_on = starts_on + timedelta(days=length)
        ended = replace(single, ends_on=changed_on)
        begun = replace(single, starts_on=changed_on)
        before, after = periods(ended, None, DOOMSDAY), periods(begun, None, DOOMSDAY, limit=1)
        together = [*before, *after]
        undisturbed = periods(single, None, DOOMSDAY, limit=len(together))
        undisturbed = [period for period in undisturbed if period.start < after[0].end]
        # With intervals of many months the second item may count from another month: then its dates are its own.
        assume(undisturbed[-1].end == after[0].end)

        assert sum(map(part_of_whole, together)) == sum(map(part_of_whole, undisturbed))
        prices = [price(Decimal("19.99"), Decimal(1), period, 2) for period in (before[-1], after[0])]
        if before[-1].kind == Kind.TRAILING_STUB:
            assert abs(sum(prices) - Decimal("19.99")) <= Decimal("0.01")

    def test_always_share_their_billing_dates_when_monthly(self) -> None:
        single = Schedule(starts_on=JANUARY_1, bill_cycle_day=15)
        for length in range(1, 400):
            changed_on = JANUARY_1 + timedelta(days=length)
            begun = periods(replace(single, starts_on=changed_on), None, DOOMSDAY, limit=1)[0]
            assert begun.end in {period.end for period in periods(single, None, changed_on)}


money = st.decimals(Decimal("-99999.999999"), Decimal("99999.999999"), places=6)


class TestEveryPrice:
    @thorough
    @given(
        money, money, st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(0, 4)
    )
    def test_is_the_exact_one_rounded_half_up(
        self, amount: Decimal, quantity: Decimal, part: tuple[int, int], digits: int
    ) -> None:
        charge = price(amount, quantity, stub(*part), digits)
        exact = Fraction(amount) * Fraction(quantity) * Fraction(*part)
        assert abs(Fraction(charge) - exact) <= Fraction(1, 2 * 10**digits)
        if abs(Fraction(charge) - exact) == Fraction(1, 2 * 10**digits):
            assert abs(Fraction(charge)) > abs(exact)
        assert -charge.as_tuple().exponent == digits  # type: ignore[operator]
        assert price(-amount, quantity, stub(*part), digits) == -charge

    @given(money)
    def test_of_a_whole_period_is_the_amount(self, amount: Decimal) -> None:
        rounded = amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        assert price(amount, Decimal(1), stub(31, 31), 2) == rounded

    def test_does_not_depend_on_the_precision_around_it(self) -> None:
        with localcontext(prec=3):
            assert price(Decimal("123456.78"), Decimal(1), stub(1, 1), 2) == Decimal("123456.78")
