"""What the first page says: where customers stand, what they used, what they heard, and up to when that is known."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from billing import standing, sums
from billing.models import EntryKind
from ivy import cache
from ivy.portal import charts, words
from ivy.portal.charts import Chart, Series

SOURCES_KEPT = 10 * 60.0  # seconds
ZERO = Decimal(0)
DAY = timedelta(days=1)

USED = {
    EntryKind.CALL: ("Calls", "call"),
    EntryKind.RECURRING: ("Recurring", "recurring"),
    EntryKind.ONE_OFF: ("One-off", "one_off"),
}
"""What counts as money used, less what was taken back of it, with name and look. Payments and credits do not."""


@dataclass(frozen=True)
class Used:
    """What customers of one currency used this month, beside the whole month before; positive amounts."""

    currency: str
    this_month: Decimal
    last_month: Decimal
    last_month_so_far: Decimal
    """Of the same days of last month as have begun in this one."""
    by_kind: Sequence[tuple[str, Decimal, Decimal]]
    chart: Chart


def used(partner_id: int, *, zone: str, now: datetime) -> list[Used]:
    """By currency, the one with most use first. Days, and so months, are those of `zone`; by when it occurred."""
    today = now.astimezone(ZoneInfo(zone)).date()
    this = today.replace(day=1)
    last = (this - DAY).replace(day=1)
    following = (this + 32 * DAY).replace(day=1)
    rows = sums.by_day(partner_id, since=_midnight(last, zone), until=_midnight(following, zone), zone=zone)
    amounts: dict[str, dict[tuple[str, date], Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in rows:
        if row.kind in USED:
            amounts[row.currency][row.kind, row.on] += -row.amount
    found = [_used(currency, of, this=this, last=last, today=today) for currency, of in amounts.items()]
    return sorted(found, key=lambda one: (-one.last_month - one.this_month, one.currency))


def _used(currency: str, of: dict[tuple[str, date], Decimal], *, this: date, last: date, today: date) -> Used:
    days = [this + number * DAY for number in range((today - this).days + 1)]
    before = [last + number * DAY for number in range((this - last).days)]
    of_last = [sum((of.get((kind, day), ZERO) for kind in USED), ZERO) for day in before]

    def write(amount: Decimal) -> str:
        return words.money(amount, currency)

    by_kind = [
        (
            name,
            sum((of.get((kind, day), ZERO) for day in days), ZERO),
            sum((of.get((kind, day), ZERO) for day in before), ZERO),
        )
        for kind, (name, _) in USED.items()
    ]
    length = max(len(before), (this + 32 * DAY).replace(day=1).toordinal() - this.toordinal())
    places = [this + number * DAY for number in range(length)]
    chart = charts.bars(
        f"Used by day, {currency}",
        description=f"{words.month(this)} by kind, beside {words.month(last)}",
        labels=[
            words.short_day(day) if day.month == this.month else f"day {place + 1}" for place, day in enumerate(places)
        ],
        series=[
            Series(name, look, [of.get((kind, day), ZERO) if day <= today else ZERO for day in places])
            for kind, (name, look) in USED.items()
        ],
        beside=Series(words.month(last), "before", [*of_last, *[ZERO] * (length - len(of_last))]),
        write=write,
    )
    return Used(
        currency=currency,
        this_month=sum((amount for _, amount, _ in by_kind), ZERO),
        last_month=sum(of_last, ZERO),
        last_month_so_far=sum(of_last[: len(days)], ZERO),
        by_kind=by_kind,
        chart=chart,
    )


def billed_through(partner_id: int) -> standing.BilledThrough:
    """Up to when calls are billed. Which sources are the partner's is kept for some minutes, where there is a cache."""
    sources = cache.get_or_make(
        f"sources-of-partner-{partner_id}", lambda: standing.sources_of(partner_id), seconds=SOURCES_KEPT
    )
    if not sources:  # else whose first calls came just now would read for minutes that there are none
        sources = standing.sources_of(partner_id)
    return standing.billed_through(partner_id, sources=sources)


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone))
