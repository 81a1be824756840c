"""The periods of a recurring item: which there are, when each is due, and what part of a whole one it costs.

Pure: dates in, dates out, no database and no clock. Dates are the customer's own, in the customer's time zone, so
neither time zones nor daylight saving are known here. Every period is computed from the item's anchor (its first
billing date) by arithmetic, so an old item costs as little as a new one, and asking again gives the same answer.

    schedule = Schedule(starts_on=date(2026, 1, 20), interval="month", bill_cycle_day=1)
    due = periods(schedule, after=None, due_through=date(2026, 2, 1))  # 20 January to 1 February, and February
    price(Decimal("10"), Decimal(1), due[0], currency_digits("EUR"))  # Decimal("3.87"): 12 of 31 days
"""

from calendar import isleap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from enum import StrEnum
from itertools import islice
from typing import NamedTuple


class Interval(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Timing(StrEnum):
    ADVANCE = "advance"
    ARREARS = "arrears"


class Proration(StrEnum):
    DAYS = "days"
    FIXED_30 = "fixed_30"
    NONE = "none"


class Kind(StrEnum):
    """Why a period is as long as it is."""

    WHOLE = "whole"
    LEADING_STUB = "leading_stub"  # from the start to the first billing date
    TRAILING_STUB = "trailing_stub"  # from the last billing date to the end
    SHORT_STUB = "short_stub"  # the item ends before its first billing date: this is all of it
    PART = "part"  # what a pause, or an end that was taken back, left of a period


_DAYS_OF = {Interval.DAY.value: 1, Interval.WEEK.value: 7}
_MONTHS_OF = {Interval.MONTH.value: 1, Interval.QUARTER.value: 3, Interval.YEAR.value: 12}
_TIMINGS = frozenset(timing.value for timing in Timing)
_PRORATIONS = frozenset(proration.value for proration in Proration)


class InvalidSchedule(ValueError):
    """No item can run like this; the message is a sentence for whoever entered it."""


class Pause(NamedTuple):
    """Days that are not charged: from `starts_on`, up to but not including `ends_on` (None: until further notice)."""

    starts_on: date
    ends_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a recurring item is charged. Raises InvalidSchedule where it makes no sense.

    `ends_on` is the first day that is not charged any more. `bill_cycle_day` None means the day of `starts_on`.
    `interval`, `timing` and `proration` take the enums' members or their values. Pauses stand oldest first.
    """

    starts_on: date
    ends_on: date | None = None
    interval: str = Interval.MONTH
    interval_count: int = 1
    bill_cycle_day: int | None = None
    timing: str = Timing.ADVANCE
    proration: str = Proration.DAYS
    pauses: tuple[Pause, ...] = ()

    def __post_init__(self) -> None:
        _refuse_nonsense(self)


class Period(NamedTuple):
    """One charge of an item: the days `[start, end)`, due on `due_on`, at charged_days / whole_days of its amount.

    Days are counted as the item's proration counts them, and 0 <= charged_days <= whole_days. 0 is rare: where 30E/360
    sees no day (30th to 31st), and in a part of a period of which earlier parts have cost one whole amount already.
    """

    start: date
    end: date
    kind: Kind
    due_on: date
    charged_days: int
    whole_days: int


def periods(schedule: Schedule, after: date | None, due_through: date, limit: int | None = None) -> list[Period]:
    """Return the periods not yet charged that are due on or before `due_through`, oldest first, at most `limit`.

    `after` is the end of the last charged period, None if nothing was charged yet. Nothing returned begins before it:
    where the schedule has meanwhile been changed so that it lies inside a period, only the rest of that period is
    left, at what is left of one whole amount.

    In advance a period is due on its first day; in arrears on the day after its last.
    """
    return list(islice(_unfold(schedule, after, due_through), limit))


def next_due_on(schedule: Schedule, after: date | None) -> date | None:
    """Return when the first period not yet charged is due; None if there is none: ended, or paused without an end."""
    if schedule.timing == Timing.ADVANCE and not schedule.pauses:
        # Asked for every item in a run, and most are like this: what comes next begins, and is due, where we are.
        uncharged_on = schedule.starts_on if after is None else max(after, schedule.starts_on)
        return uncharged_on if uncharged_on < (schedule.ends_on or date.max) else None
    period = next(_unfold(schedule, after, date.max), None)
    return period.due_on if period else None


def price(amount: Decimal, quantity: Decimal, period: Period, minor_unit_digits: int) -> Decimal:
    """Return amount times quantity times the period's part of a whole one, rounded to the currency's minor unit.

    Exact up to the one rounding at the end: half up, where "up" is away from zero, so that a credit (a negative
    amount) is the mirror image of its charge. NaN and infinity raise ValueError or ArithmeticError.
    """
    total = _EXACT.multiply(amount, quantity)
    halves = _EXACT.scaleb(_EXACT.multiply(total, 2 * period.charged_days), minor_unit_digits)
    # |x| rounded half up is floor(|x| + 1/2); with x = halves / (2 * whole_days) that is one division of whole steps.
    rounded = int(_EXACT.divide_int(_EXACT.add(_EXACT.abs(halves), period.whole_days), 2 * period.whole_days))
    return Decimal(-rounded if halves < 0 else rounded).scaleb(-minor_unit_digits, _EXACT)


def currency_digits(currency: str) -> int:
    """Return how many decimals the currency's minor unit has, by ISO 4217 (list one, in force in 2026).

    2 unless the list says otherwise. Raises ValueError for what cannot be an ISO code, "eur" included. Not babel's
    `get_currency_precision`: that is CLDR's table of the digits in daily use, for many currencies (IQD, RSD, ALL, LBP)
    fewer than the standard's.
    """
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise ValueError(f"{currency!r} is no ISO 4217 currency code.")
    return _UNUSUAL_DIGITS.get(currency, 2)


_NO_DECIMALS = ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV"]
_UNUSUAL_DIGITS = {
    **dict.fromkeys([*_NO_DECIMALS, "XAF", "XOF", "XPF"], 0),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}

# Wide enough for the product of two numeric(18,6) and a day count; an inexact step is our mistake, and raises.
_EXACT = Context(prec=100, traps=[DivisionByZero, Inexact, InvalidOperation, Overflow])


def _refuse_nonsense(schedule: Schedule) -> None:
    """Raise InvalidSchedule, with a sentence, for the first thing that is wrong."""
    interval, day = schedule.interval, schedule.bill_cycle_day
    if interval not in _MONTHS_OF:
        if interval not in _DAYS_OF:
            raise InvalidSchedule(f"{interval!r} is no interval: use {', '.join(Interval)}.")
        if day is not None:
            raise InvalidSchedule(f"An item charged by the {interval} has no bill-cycle day: it runs from its start.")
        if schedule.proration == Proration.FIXED_30:
            raise InvalidSchedule(f"An item charged by the {interval} cannot be prorated by months of 30 days.")
    if day is not None and not 1 <= day <= 31:
        raise InvalidSchedule(f"The bill-cycle day must be between 1 and 31, not {day}.")
    if schedule.interval_count < 1:
        raise InvalidSchedule(f"The interval count must be at least 1, not {schedule.interval_count}.")
    if schedule.ends_on is not None and schedule.ends_on < schedule.starts_on:
        raise InvalidSchedule(f"The item would end on {schedule.ends_on}, before it starts on {schedule.starts_on}.")
    if schedule.timing not in _TIMINGS:
        raise InvalidSchedule(f"{schedule.timing!r} is no timing: use {' or '.join(Timing)}.")
    if schedule.proration not in _PRORATIONS:
        raise InvalidSchedule(f"{schedule.proration!r} is no proration: use {', '.join(Proration)}.")
    _refuse_nonsense_pauses(schedule.pauses)


def _refuse_nonsense_pauses(pauses: tuple[Pause, ...]) -> None:
    resumed_on: date | None = date.min
    for pause in pauses:
        if resumed_on is None or pause.starts_on < resumed_on:
            raise InvalidSchedule(f"The pause from {pause.starts_on} begins before the pause listed ahead of it ends.")
        if pause.ends_on is not None and pause.ends_on <= pause.starts_on:
            raise InvalidSchedule(f"The pause from {pause.starts_on} would end on {pause.ends_on}, before it begins.")
        resumed_on = pause.ends_on


def _unfold(schedule: Schedule, after: date | None, due_through: date) -> Iterator[Period]:
    """Yield the periods that `periods` and `next_due_on` tell of, without a bound on their number."""
    ends_on = schedule.ends_on or date.max
    uncharged_on = schedule.starts_on if after is None else max(after, schedule.starts_on)
    if uncharged_on >= ends_on or uncharged_on > due_through:
        return
    billing_date, number = _billing_dates(schedule, uncharged_on)
    start = schedule.starts_on if number < 0 else billing_date(number)
    while start < ends_on and start <= due_through:
        number += 1
        stretch = _Stretch(start, billing_date(number), is_leading=number == 0)
        for period in _charges(schedule, stretch, ends_on, uncharged_on):
            if period.due_on > due_through:
                return
            yield period
        if schedule.pauses and schedule.pauses[-1].ends_on is None and schedule.pauses[-1].starts_on <= stretch.end:
            return  # paused until further notice: every later stretch is skipped
        start = stretch.end


class _Stretch(NamedTuple):
    """The days from one billing date (or, leading, from the item's start) to the next, whenever the item ends."""

    start: date
    end: date
    is_leading: bool


def _billing_dates(schedule: Schedule, day: date) -> tuple[Callable[[int], date], int]:
    """Return the function that gives billing date n, and the n of the last one on or before `day` (-1: none yet)."""
    start, count = schedule.starts_on, schedule.interval_count
    months = _MONTHS_OF.get(schedule.interval)
    if months is None:
        days, anchor = count * _DAYS_OF[schedule.interval], start.toordinal()
        return lambda number: _nth_day(anchor + number * days), (day - start).days // days
    months *= count
    bill_cycle_day = schedule.bill_cycle_day or start.day
    anchor = _month_number(start)
    first = _day_in_month(anchor, bill_cycle_day)
    if first < start:
        anchor += months
        first = _day_in_month(anchor, bill_cycle_day)
    if day < first:
        number = -1
    else:
        number = (_month_number(day) - anchor) // months
        if _day_in_month(anchor + number * months, bill_cycle_day) > day:
            number -= 1
    return lambda number: _day_in_month(anchor + number * months, bill_cycle_day), number


def _charges(schedule: Schedule, stretch: _Stretch, ends_on: date, uncharged_on: date) -> list[Period]:
    """Return what is charged within one stretch, from `uncharged_on` on.

    Pauses and an `uncharged_on` inside the stretch cut it into parts; all its parts together, those before
    `uncharged_on` included, never cost more than one whole amount.
    """
    start, stretch_end, is_leading = stretch
    end = min(stretch_end, ends_on)
    unpaused = _unpaused(start, end, schedule.pauses)
    parts = _cut(unpaused, uncharged_on)
    is_whole = end == stretch_end and not is_leading and unpaused == [(start, end)]
    in_arrears = schedule.timing == Timing.ARREARS
    if is_whole and parts == unpaused:
        days = _whole_days(schedule, start, end)
        return [Period(start, end, Kind.WHOLE, end if in_arrears else start, days, days)]

    if is_leading:
        whole_days = _whole_days(schedule, _plus_intervals(schedule, stretch_end, -1), stretch_end)
    else:
        whole_days = _whole_days(schedule, start, _plus_intervals(schedule, start, 1))
    if parts != [(start, end)]:
        kind = Kind.PART
    elif is_leading:
        kind = Kind.LEADING_STUB if end == stretch_end else Kind.SHORT_STUB
    else:
        kind = Kind.TRAILING_STUB
    charges = []
    left = whole_days  # of one whole amount: no parts of a period cost more together
    for part_start, part_end in parts:
        if schedule.proration == Proration.NONE or (is_whole and part_end == end):
            charged_days = left
        else:
            charged_days = min(left, _count_days(schedule, part_start, part_end))
        left -= charged_days
        if part_start >= uncharged_on:
            due_on = part_end if in_arrears else part_start
            charges.append(Period(part_start, part_end, kind, due_on, charged_days, whole_days))
    return charges


def _unpaused(start: date, end: date, pauses: tuple[Pause, ...]) -> list[tuple[date, date]]:
    """Return what the pauses leave of [start, end)."""
    parts = []
    for pause in pauses:
        resumed_on = pause.ends_on or date.max
        if resumed_on <= start:
            continue
        if pause.starts_on >= end:
            break
        if start < pause.starts_on:
            parts.append((start, pause.starts_on))
        start = resumed_on
    if start < end:
        parts.append((start, end))
    return parts


def _cut(parts: list[tuple[date, date]], day: date) -> list[tuple[date, date]]:
    """Return the parts, the one around `day` as two."""
    pieces = []
    for start, end in parts:
        pieces += [(start, day), (day, end)] if start < day < end else [(start, end)]
    return pieces


def _whole_days(schedule: Schedule, start: date, end: date) -> int:
    """Return how many days one whole period, which is [start, end), counts."""
    if schedule.proration == Proration.FIXED_30:
        return 30 * schedule.interval_count * _MONTHS_OF[schedule.interval]
    return (end - start).days


def _count_days(schedule: Schedule, start: date, end: date) -> int:
    """Return the days in [start, end); under fixed_30 by 30E/360 (ISDA 2006, section 4.16(g)): day 31 counts as 30."""
    if schedule.proration == Proration.FIXED_30:
        return 30 * (_month_number(end) - _month_number(start)) + min(end.day, 30) - min(start.day, 30)
    return (end - start).days


def _plus_intervals(schedule: Schedule, day: date, number: int) -> date:
    """Return the day a number of plain calendar intervals later (negative: earlier): 29 February - 1 = 29 January."""
    number *= schedule.interval_count
    months = _MONTHS_OF.get(schedule.interval)
    if months is None:
        return _nth_day(day.toordinal() + number * _DAYS_OF[schedule.interval])
    return _day_in_month(_month_number(day) + number * months, day.day)


def _month_number(day: date) -> int:
    """Return the month, counted through the years: January of year 0 is 0."""
    return day.year * 12 + day.month - 1


def _day_in_month(month_number: int, day: int) -> date:
    """Return that day of the month, or the month's last one; nothing lies beyond either end of the calendar."""
    year, month = divmod(month_number, 12)
    if not date.min.year <= year <= date.max.year:
        return date.min if year < date.min.year else date.max
    last_day = 29 if month == 1 and isleap(year) else _LAST_DAYS[month]
    return date(year, month + 1, min(day, last_day))


_LAST_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _nth_day(ordinal: int) -> date:
    """Return the date with this proleptic Gregorian ordinal; nothing lies beyond either end of the calendar."""
    return date.fromordinal(min(max(ordinal, 1), date.max.toordinal()))
