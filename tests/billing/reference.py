"""What recurring items cost, by a second, slow program that was written from the rules alone: to hold Ivy against.

It shares no code with `billing.periods` and goes from billing date to billing date, and within a period from day to
day, without a thought for speed. It knows no pauses.
"""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)
MONTHS = {"month": 1, "quarter": 3, "year": 12}
DAYS = {"day": 1, "week": 7}


@dataclass
class Item:
    """A recurring item. `changes`: amounts by the day from which they hold, the oldest first."""

    reference: str
    timezone: str
    amount: Decimal
    starts_on: date
    interval: str
    count: int = 1
    quantity: Decimal = Decimal(1)
    ends_on: date | None = None
    day: int | None = None
    timing: str = "advance"
    proration: str = "days"
    changes: list[tuple[date, Decimal]] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """A charge as it has to stand in the ledger."""

    key: str
    amount: Decimal
    begin: date
    end: date
    occurred_at: datetime


def entries(item: Item, *, at: datetime, digits: int) -> Iterator[Entry]:
    """Every charge that is due at `at`, rounded to so many digits."""
    zone = ZoneInfo(item.timezone)
    today = at.astimezone(zone).date()
    for begin, end, part in _periods(item, until=today):
        due = begin if item.timing == "advance" else end
        if due > today:
            continue
        amount = item.amount
        for from_date, new in item.changes:
            if begin >= from_date:
                amount = new
        yield Entry(
            key=f"item:{item.reference}:{begin.isoformat()}",
            amount=_rounded(amount * item.quantity * part[0] / part[1], digits),
            begin=begin,
            end=end,
            occurred_at=datetime.combine(due, time(0), zone).astimezone(UTC),
        )


def _periods(item: Item, *, until: date) -> Iterator[tuple[date, date, tuple[int, int]]]:
    """Begin, end, and the part of a whole one that it is, of every period that begins by then."""
    ends_on = item.ends_on or date.max
    first = _billing_date(item, 0)
    if item.starts_on < first:
        end = min(first, ends_on)
        if end > item.starts_on:
            whole = _days(item, _one_interval(item, first, -1), first)
            yield item.starts_on, end, _part(item, _days(item, item.starts_on, end), whole)
    number = 0
    while True:
        begin, end = _billing_date(item, number), _billing_date(item, number + 1)
        if begin > until or begin >= ends_on:
            return
        if end <= ends_on:
            yield begin, end, (1, 1)
        else:
            whole = _days(item, begin, _one_interval(item, begin, 1))
            yield begin, ends_on, _part(item, _days(item, begin, ends_on), whole)
        number += 1


def _billing_date(item: Item, number: int) -> date:
    """The first billing date, and those that follow, each counted from the first one's month."""
    if item.interval in DAYS:
        return item.starts_on + number * item.count * DAYS[item.interval] * ONE_DAY
    day = item.day or item.starts_on.day
    length = MONTHS[item.interval] * item.count
    month = item.starts_on.year * 12 + item.starts_on.month - 1
    if _in_month(month, day) < item.starts_on:
        month += length
    return _in_month(month + number * length, day)


def _in_month(month: int, day: int) -> date:
    """A day of a month, counted from year 0; the last one where the month is too short."""
    year, number = divmod(month, 12)
    return date(year, number + 1, min(day, monthrange(year, number + 1)[1]))


def _one_interval(item: Item, day: date, sign: int) -> date:
    """A day and a plain interval of the calendar, whatever the bill-cycle day."""
    if item.interval in DAYS:
        return day + sign * item.count * DAYS[item.interval] * ONE_DAY
    return _in_month(day.year * 12 + day.month - 1 + sign * item.count * MONTHS[item.interval], day.day)


def _days(item: Item, begin: date, end: date) -> int:
    if item.proration == "fixed_30":
        in_begin, in_end = min(begin.day, 30), min(end.day, 30)
        return (end.year - begin.year) * 360 + (end.month - begin.month) * 30 + in_end - in_begin
    days = 0
    while begin < end:
        begin += ONE_DAY
        days += 1
    return days


def _part(item: Item, days: int, whole: int) -> tuple[int, int]:
    if item.proration == "none":
        return 1, 1
    if item.proration == "fixed_30":
        whole = 30 * item.count * MONTHS[item.interval]
    return min(days, whole), whole


def _rounded(amount: Decimal, digits: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
