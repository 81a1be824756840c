"""Charging billing items: which are due, and posting all their due periods, a range of customers at a time.

The dates and prices are `billing.periods`, pure. A period is charged once whatever happens: its ledger key is unique,
and charged periods of one item never overlap.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection

from billing import runs
from billing.keys import item_key
from billing.models import BillingChunk, BillingItem, BillingRun, BillingWorker, EntryKind, ItemKind, Partner
from billing.periods import (
    InvalidSchedule,
    Kind,
    Pause,
    Period,
    Schedule,
    Timing,
    currency_digits,
    next_due_on,
    periods,
    price,
)
from billing.runs import Tally

ITEMS_AT_A_TIME = 5_000
ALIKE = 10_000  # schedules, prices, midnights: most items of a run share theirs with many others
LONG_OVERDUE_MONTHS = 13
CHARGED_BY_A_PERSON = "run_billing --yes charges it"  # how the error of a long overdue item ends


@dataclass(frozen=True, slots=True)
class DueItem:
    """A row of billing_billingitem on which something may be due, with what its customer brings along."""

    id: int
    customer_id: int
    reference: str
    description: str
    kind: str
    amount: Decimal
    quantity: Decimal
    interval: str
    interval_count: int
    bill_cycle_day: int | None
    timing: str
    proration: str
    starts_on: date
    ends_on: date | None
    charged_through: date | None
    currency: str
    timezone: str
    today: date
    amounts: tuple[tuple[date, Decimal], ...] = ()
    pauses: tuple[Pause, ...] = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """One due period of an item. `amount`: positive, in the customer's currency; negative for a credit.

    `whole_amount`: what a whole period and one piece cost when this one began.
    `occurred_at`: the customer's midnight at which the period began (in advance) or had ended (in arrears), in UTC.
    """

    item: DueItem
    period: Period
    whole_amount: Decimal
    amount: Decimal
    occurred_at: datetime

    @property
    def key(self) -> str:
        return item_key(self.item.reference, self.period.start)


class LongOverdue(Exception):
    """The item is more than 13 months behind: charged only when a person says so."""


# What `charges_of` raises for one item, and the run notes before it goes on with the others.
NOT_CHARGEABLE = (InvalidSchedule, LongOverdue, ArithmeticError, ValueError, ZoneInfoNotFoundError)


def plan(run: BillingRun, *, items_at_a_time: int = ITEMS_AT_A_TIME) -> int:
    """Cut the customers with due items into chunks of about so many items, of one partner each; how many chunks."""
    with connection.cursor() as cursor:
        cursor.execute(
            _PLAN, {"run": run.pk, "partner": run.partner_id, "size": items_at_a_time, "at": run.business_at}
        )
        return cursor.rowcount


def post(chunk: BillingChunk, worker: BillingWorker) -> tuple[Tally, int]:
    """Charge every due period of the chunk's items; the tally, and how many customers had to be left alone.

    One item that can't be charged is noted with the run and does not stop the others. To be called in a halting chunk.
    """
    run = worker.run
    with connection.cursor() as cursor:
        cursor.execute(
            _LOCK_CUSTOMERS,
            {
                "partner": chunk.partner_id,
                "first": chunk.first_customer,
                "last": chunk.last_customer,
                "at": run.business_at,
            },
        )
        customers, wanted = cursor.fetchone()
    due = due_items(customers, at=run.business_at, first_item=chunk.first_record, last_item=chunk.last_record)
    charges: list[Charge] = []
    moved: list[tuple[int, date | None, date | None]] = []
    for item in due:
        try:
            new, next_due = charges_of(item, max_periods=run.max_periods, charges_long_overdue=run.charges_long_overdue)
        except NOT_CHARGEABLE as error:
            runs.note_error(run, kind="item", key=item.reference, error=str(error))
            continue
        charges += new
        moved.append((item.id, new[-1].period.end if new else item.charged_through, next_due))
    _write(charges, moved, run_id=run.pk)
    return _tally(charges), wanted - len(customers)


def due_items(
    customer_ids: list[int], *, at: datetime, first_item: int | None = None, last_item: int | None = None
) -> list[DueItem]:
    """The items of these customers on which something may be due at `at`, locked until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            _DUE + " FOR UPDATE OF i SKIP LOCKED",
            {"customers": customer_ids, "at": at, "first": first_item, "last": last_item},
        )
        return _with_changes(cursor.fetchall())


def everything_due(*, at: datetime, partner: Partner | None = None) -> Iterator[DueItem]:
    """All items on which something may be due at `at`, for a preview: not locked, read bit by bit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT cu.id FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
            WHERE i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
              AND (%(partner)s::bigint IS NULL OR cu.partner_id = %(partner)s)
            ORDER BY cu.id
            """,
            {"at": at, "partner": partner.pk if partner else None},
        )
        customers = [row[0] for row in cursor.fetchall()]
        for first in range(0, len(customers), ITEMS_AT_A_TIME):
            some = customers[first : first + ITEMS_AT_A_TIME]
            cursor.execute(_DUE, {"customers": some, "at": at, "first": None, "last": None})
            yield from _with_changes(cursor.fetchall())


def long_overdue(*, at: datetime, at_most: int) -> list[str]:
    """References of items more than 13 months behind at `at`, which wait for a person; the longest due first.

    Looks at so few by the index of due dates that it is quick however many are due; nothing is locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, customer_id FROM billing_billingitem
            WHERE next_due_on < (%s::timestamptz AT TIME ZONE 'UTC')::date + 1 - make_interval(months => %s)
            ORDER BY next_due_on LIMIT %s
            """,
            [at, LONG_OVERDUE_MONTHS, at_most],
        )
        found = cursor.fetchall()
        waiting = []
        for item_id, customer_id in found:
            cursor.execute(_DUE, {"customers": [customer_id], "at": at, "first": item_id, "last": item_id})
            waiting += [item for item in _with_changes(cursor.fetchall()) if _is_long_overdue(item)]
    return [item.reference for item in waiting]


def _is_long_overdue(item: DueItem) -> bool:
    try:
        charges_of(item)
    except LongOverdue:
        return True
    except NOT_CHARGEABLE:
        return False
    return False


def charges_of(
    item: DueItem, *, max_periods: int | None = None, charges_long_overdue: bool = False
) -> tuple[list[Charge], date | None]:
    """What is due of the item, oldest first, and the earliest day on which more can be due (None: never).

    Pure. Raises LongOverdue for an item more than 13 months behind, unless told to charge it.
    """
    if item.kind == ItemKind.ONE_OFF:
        return _one_off_charge(item)
    due, next_due = _due_periods(
        item.starts_on,
        item.ends_on,
        item.interval,
        item.interval_count,
        item.bill_cycle_day,
        item.timing,
        item.proration,
        item.pauses,
        item.charged_through,
        item.today,
        max_periods,
    )
    if due and not charges_long_overdue and due[0].due_on < _months_before(item.today, LONG_OVERDUE_MONTHS):
        raise LongOverdue(
            f"has not been charged since {due[0].start}, more than {LONG_OVERDUE_MONTHS} months: {CHARGED_BY_A_PERSON}"
        )
    return [_charge(item, period) for period in due], next_due


@lru_cache(maxsize=ALIKE)
def _due_periods(  # noqa: PLR0917 - the cache goes by each of them
    starts_on: date,
    ends_on: date | None,
    interval: str,
    interval_count: int,
    bill_cycle_day: int | None,
    timing: str,
    proration: str,
    pauses: tuple[Pause, ...],
    charged_through: date | None,
    today: date,
    max_periods: int | None,
) -> tuple[tuple[Period, ...], date | None]:
    """The periods that are due, and the day on which the next will be: once for all items that are alike."""
    schedule = Schedule(
        starts_on=starts_on,
        ends_on=ends_on,
        interval=interval,
        interval_count=interval_count,
        bill_cycle_day=bill_cycle_day,
        timing=timing,
        proration=proration,
        pauses=pauses,
    )
    due = periods(schedule, charged_through, today, max_periods)
    return tuple(due), next_due_on(schedule, due[-1].end if due else charged_through)


def schedule_of(item: DueItem | BillingItem, *, pauses: Sequence[Pause], ends_on: date | None) -> Schedule:
    """When a recurring item is charged, were it paused and ended like this. Raises InvalidSchedule."""
    return Schedule(
        starts_on=item.starts_on,
        ends_on=ends_on,
        interval=item.interval,
        interval_count=item.interval_count,
        bill_cycle_day=item.bill_cycle_day,
        timing=item.timing,
        proration=item.proration,
        pauses=tuple(pauses),
    )


def amount_on(day: date, *, first: Decimal, changes: Sequence[tuple[date, Decimal]]) -> Decimal:
    """The amount for a period that begins on this day: that of the last change before or on it, else the first."""
    if not changes:
        return first
    return max((change for change in changes if change[0] <= day), default=(day, first))[1]


def bounds(chunk: BillingChunk, *, at: datetime) -> tuple[int, int] | None:
    """The first and the last item of the chunk on which something may be due; None when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(i.id), max(i.id) FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id"
            " WHERE cu.id BETWEEN %s AND %s AND i.next_due_on <= (%s::timestamptz AT TIME ZONE cu.timezone)::date",
            [chunk.first_customer, chunk.last_customer, at],
        )
        first, last = cursor.fetchone()
    return None if first is None else (first, last)


def key_of(item_id: int) -> str:
    """The reference of an item, for people to find it by."""
    return BillingItem.objects.filter(pk=item_id).values_list("reference", flat=True).first() or f"item {item_id}"


def _with_changes(rows: list[tuple[Any, ...]]) -> list[DueItem]:
    """Items from rows of `_DUE`, with their amounts from a date and their pauses, both oldest first.

    In a statement after the one that locked the items: in the same one, whatever was changed while it waited for a
    lock would be read as it was before.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"items": [row[0] for row in rows]})
        changes = {
            item: (tuple(zip(dates, amounts, strict=True)), tuple(map(Pause, starts, ends)))
            for item, dates, amounts, starts, ends in cursor.fetchall()
        }
    return [DueItem(*row, *changes.get(row[0], ())) for row in rows]


def _one_off_charge(item: DueItem) -> tuple[list[Charge], date | None]:
    is_cancelled = item.ends_on is not None and item.ends_on <= item.starts_on
    if item.charged_through is not None or is_cancelled:
        return [], None
    if item.starts_on > item.today:
        return [], item.starts_on
    day = Period(item.starts_on, item.starts_on + timedelta(days=1), Kind.WHOLE, item.starts_on, 1, 1)
    return [_charge(item, day)], None


def _charge(item: DueItem, period: Period) -> Charge:
    day = period.end if item.timing == Timing.ARREARS else period.start
    amount = amount_on(period.start, first=item.amount, changes=item.amounts)
    return Charge(
        item,
        period,
        amount,
        _price(amount, item.quantity, period, item.currency),
        _midnight(day, item.timezone),
    )


@lru_cache(maxsize=ALIKE)
def _price(amount: Decimal, quantity: Decimal, period: Period, currency: str) -> Decimal:
    return price(amount, quantity, period, currency_digits(currency))


@lru_cache(maxsize=ALIKE)
def _midnight(day: date, timezone: str) -> datetime:
    """The customer's midnight at which the day begins, in UTC."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def _months_before(day: date, months: int) -> date:
    """The same day some months earlier; in a shorter month its last day."""
    month = day.year * 12 + day.month - 1 - months
    first = date(month // 12, month % 12 + 1, 1)
    last = date((month + 1) // 12, (month + 1) % 12 + 1, 1) - timedelta(days=1)
    return min(first + timedelta(days=day.day - 1), last)


def _tally(charges: Iterable[Charge]) -> Tally:
    tally = Tally()
    for charge in charges:
        tally.charge(charge.item.currency, charge.amount)
        if charge.item.kind == ItemKind.ONE_OFF:
            tally.one_off_charges += 1
        else:
            tally.item_charges += 1
    return tally


def _write(charges: list[Charge], moved: list[tuple[int, date | None, date | None]], *, run_id: int) -> None:
    """Post the charges, remember the periods, and move the items on: three statements, however many items."""
    # Django gives the errors of execute() its own classes, by which a run knows them, but not those of copy().
    with connection.wrap_database_errors, connection.cursor() as cursor:
        with cursor.copy(_COPY_ENTRIES) as copy:
            copy.write("".join(_entry_line(charge, run_id) for charge in charges))
        with cursor.copy(_COPY_PERIODS) as copy:
            copy.write("".join(_period_line(charge) for charge in charges))
        cursor.execute(
            """
            UPDATE billing_billingitem i SET charged_through = m.charged_through, next_due_on = m.next_due_on
            FROM unnest(%s::bigint[], %s::date[], %s::date[]) AS m (id, charged_through, next_due_on)
            WHERE i.id = m.id
            """,
            [_array(row[0] for row in moved), _array(row[1] for row in moved), _array(row[2] for row in moved)],
        )


def _array(values: Iterable[int | date | None]) -> str:
    """Numbers or dates as PostgreSQL reads an array: quicker than value by value through the driver."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def _entry_line(charge: Charge, run_id: int) -> str:
    item, period, at = charge.item, charge.period, charge.occurred_at
    kind = EntryKind.ONE_OFF if item.kind == ItemKind.ONE_OFF else EntryKind.RECURRING
    return (
        f"{_copy_text(charge.key)}\t{item.customer_id}\t{kind.value}\t{-charge.amount}\t{item.currency}"
        f"\t{at.isoformat()}\t{at.year:04}-{at.month:02}-01\t1\t{_copy_text(item.description)}"
        f"\t{period.start}\t{period.end}\t{run_id}\t\t\n"
    )


def _period_line(charge: Charge) -> str:
    item, period = charge.item, charge.period
    return (
        f"{item.id}\t{_copy_text(charge.key)}\t{'t' if item.kind == ItemKind.ONE_OFF else 'f'}"
        f"\t{period.start}\t{period.end}\t{period.kind.value}"
        f"\t{period.charged_days}\t{period.whole_days}\t{charge.whole_amount}\t{item.quantity}\n"
    )


def _copy_text(text: str) -> str:
    """Text as COPY reads it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


_COPY_ENTRIES = """
COPY billing_ledgerentry (
    key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number, description,
    period_start, period_end, run_id, reason, entered_by
) FROM STDIN
"""

_COPY_PERIODS = """
COPY billing_itemperiod (
    item_id, entry_key, is_one_off, start_on, end_on, kind, days, whole_days, amount, quantity
) FROM STDIN
"""

_PLAN = """
WITH due AS (
    SELECT cu.partner_id, cu.id AS customer_id, count(*) AS items
    FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
    WHERE i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date + 1
      AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
      AND (%(partner)s::bigint IS NULL OR cu.partner_id = %(partner)s)
    GROUP BY cu.partner_id, cu.id
), ranked AS (
    SELECT due.*, ceil(sum(items) OVER (PARTITION BY partner_id ORDER BY customer_id) / %(size)s) AS chunk FROM due
)
INSERT INTO billing_billingchunk (run_id, process, partner_id, first_customer, last_customer, state, tries)
SELECT %(run)s, 'items', partner_id, min(customer_id), max(customer_id), 'open', 0
FROM ranked GROUP BY partner_id, chunk ORDER BY min(customer_id)
"""

# In id order, as everybody locks balances; skipping those that somebody else is changing.
_LOCK_CUSTOMERS = """
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT cu.id AS customer_id
    FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
    WHERE cu.id BETWEEN %(first)s AND %(last)s AND cu.partner_id = %(partner)s
      AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
), locked AS (
    SELECT b.customer_id FROM billing_customerbalance b JOIN wanted USING (customer_id)
    ORDER BY b.customer_id FOR UPDATE OF b SKIP LOCKED
)
SELECT coalesce((SELECT array_agg(customer_id) FROM locked), '{}'), (SELECT count(*) FROM wanted)
"""

_DUE = """
SELECT i.id, i.customer_id, i.reference, i.description, i.kind, i.amount, i.quantity, i.interval, i.interval_count,
    i.bill_cycle_day, i.timing, i.proration, i.starts_on, i.ends_on, i.charged_through, cu.currency, cu.timezone,
    (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date AS today
FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
WHERE i.customer_id = ANY(%(customers)s)
  AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
  AND (%(first)s::bigint IS NULL OR i.id BETWEEN %(first)s AND %(last)s)
ORDER BY i.customer_id, i.id
"""

# Few items have any.
_CHANGES = """
SELECT item_id, coalesce(p.dates, '{}'), coalesce(p.amounts, '{}'), coalesce(s.starts, '{}'), coalesce(s.ends, '{}')
FROM (
    SELECT item_id, array_agg(from_date ORDER BY from_date) AS dates, array_agg(amount ORDER BY from_date) AS amounts
    FROM billing_itempricechange WHERE item_id = ANY(%(items)s) GROUP BY item_id
) p
FULL JOIN (
    SELECT item_id, array_agg(starts_on ORDER BY starts_on) AS starts, array_agg(ends_on ORDER BY starts_on) AS ends
    FROM billing_itempause WHERE item_id = ANY(%(items)s) GROUP BY item_id
) s USING (item_id)
"""
