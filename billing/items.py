"""Charging billing items: which are due, and posting all their due periods, a range of customers at a time.

The dates and prices are `billing.periods`, pure. A period is charged once whatever happens: its ledger key is unique,
and charged periods of one item never overlap.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection

from billing import runs
from billing.models import BillingChunk, BillingItem, BillingRun, BillingWorker, ItemKind, Partner
from billing.periods import (
    InvalidSchedule,
    Kind,
    Pause,
    Period,
    Schedule,
    currency_digits,
    next_due_on,
    periods,
    price,
)
from billing.runs import Tally

ITEMS_AT_A_TIME = 20_000
WORK_MEMORY = "32MB"  # a chunk is sorted and joined in memory, not on disk
ALIKE = 10_000  # schedules, prices, midnights: most items of a run share theirs with many others
LONG_OVERDUE_MONTHS = 13
CHARGED_BY_A_PERSON = "run_billing --yes charges it"  # how the error of a long overdue item ends


@dataclass(frozen=True, slots=True)
class DueItems:
    """Items on which something may be due, alike in all that decides what: most items of a run are like many others.

    An item whose amount changes on a date, or that is paused, stands alone. `today`: the date where its customer is.
    """

    item_ids: list[int]
    customer_ids: list[int]
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
    """One due period of each of some items. `amount`: positive, in the customer's currency; negative for a credit.

    `whole_amount`: what a whole period and one piece cost when this one began.
    `occurred_at`: the customer's midnight at which the period began (in advance) or had ended (in arrears), in UTC; of
    an item charged once, that of its date, whatever its timing.
    """

    period: Period
    whole_amount: Decimal
    amount: Decimal
    occurred_at: datetime


class Outcome(NamedTuple):
    """What a run makes of some items that are alike: their charges, oldest first, and when more can be due."""

    items: DueItems
    charges: list[Charge]
    next_due_on: date | None

    @property
    def charged_through(self) -> date | None:
        return self.charges[-1].period.end if self.charges else self.items.charged_through


class LongOverdue(Exception):
    """The item is more than 13 months behind: charged only when a person says so."""


# What `charges_of` raises for one item, and the run notes before it goes on with the others.
NOT_CHARGEABLE = (InvalidSchedule, LongOverdue, ArithmeticError, ValueError, ZoneInfoNotFoundError)


def plan(run: BillingRun, *, items_at_a_time: int = ITEMS_AT_A_TIME) -> int:
    """Cut the customers with due items into chunks, of one partner each; how many chunks.

    Each of about so many items of which one period is due, and fewer where more are.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _PLAN,
            {
                "run": run.pk,
                "partner": run.partner_id,
                "size": items_at_a_time,
                "at": run.business_at,
                "max_periods": run.max_periods,
            },
        )
        return cursor.rowcount


def post(chunk: BillingChunk, worker: BillingWorker) -> tuple[Tally, int]:
    """Charge every due period of the chunk's items; the tally, and how many customers had to be left alone.

    One item that can't be charged is noted with the run and does not stop the others. To be called in a halting chunk.
    """
    run = worker.run
    with connection.cursor() as cursor:
        # Merge joins would put items into another order than that of their table and its indexes, and sort them again.
        cursor.execute(
            "SELECT set_config('work_mem', %s, true), set_config('enable_mergejoin', 'off', true)", [WORK_MEMORY]
        )
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
    due = _due(customers, at=run.business_at, first=chunk.first_record, last=chunk.last_record, is_to_lock=True)
    outcomes: list[Outcome] = []
    for some in _alike(due, at=run.business_at):
        try:
            charges, next_due = charges_of(
                some, max_periods=run.max_periods, charges_long_overdue=run.charges_long_overdue
            )
        except NOT_CHARGEABLE as error:
            for item in BillingItem.objects.filter(pk__in=some.item_ids).order_by("pk"):
                runs.note_error(run, kind="item", key=item.reference, error=str(error))
            continue
        outcomes.append(Outcome(some, charges, next_due))
    if outcomes:
        _charge(outcomes, run_id=run.pk)
    return _tally(outcomes), wanted - len(customers)


def everything_due(*, at: datetime, partner: Partner | None = None) -> Iterator[DueItems]:
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
            yield from _alike(_due(some, at=at), at=at)


def long_overdue(*, at: datetime, at_most: int) -> list[str]:
    """References of items more than 13 months behind at `at`, which wait for a person; the longest due first.

    Looks at so few by the index of due dates that it is quick however many are due; nothing is locked.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, customer_id, reference FROM billing_billingitem
            WHERE next_due_on < (%s::timestamptz AT TIME ZONE 'UTC')::date + 1 - make_interval(months => %s)
            ORDER BY next_due_on LIMIT %s
            """,
            [at, LONG_OVERDUE_MONTHS, at_most],
        )
        found = cursor.fetchall()
    alike = _alike([(item_id, customer_id) for item_id, customer_id, _reference in found], at=at)
    waiting = {item_id for some in alike if _is_long_overdue(some) for item_id in some.item_ids}
    return [reference for item_id, _customer_id, reference in found if item_id in waiting]


def _is_long_overdue(some: DueItems) -> bool:
    try:
        charges_of(some)
    except LongOverdue:
        return True
    except NOT_CHARGEABLE:
        return False
    return False


def charges_of(
    item: DueItems, *, max_periods: int | None = None, charges_long_overdue: bool = False
) -> tuple[list[Charge], date | None]:
    """What is due of each of the items, oldest first, and the earliest day on which more can be due (None: never).

    Pure. Raises LongOverdue for items more than 13 months behind, unless told to charge it.
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
    return [_charge_for(item, period) for period in due], next_due


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


def schedule_of(item: DueItems | BillingItem, *, pauses: Sequence[Pause], ends_on: date | None) -> Schedule:
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


def _due(
    customers: list[int], *, at: datetime, first: int | None = None, last: int | None = None, is_to_lock: bool = False
) -> list[tuple[int, int]]:
    """Those items of the customers (in id order) on which something may be due at `at`, each with its customer.

    Locked until the transaction ends, where asked for; what others have locked is left out then.
    """
    if not customers:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            _DUE + (" FOR UPDATE OF i SKIP LOCKED" if is_to_lock else ""),
            {
                "customers": _array(customers),
                "first_customer": customers[0],
                "last_customer": customers[-1],
                "at": at,
                "first": first,
                "last": last,
            },
        )
        return list(cursor.fetchall())


def _alike(due: Sequence[tuple[int, int]], *, at: datetime) -> list[DueItems]:
    """These items (each with its customer), put together where they are alike.

    With their amounts from a date and their pauses, oldest first. In statements after the one that locked the items: in
    the same one, whatever was changed while it waited for a lock would be read as it was before.
    """
    if not due:
        return []
    item_ids = [item_id for item_id, _customer_id in due]
    customer_ids = [customer_id for _item_id, customer_id in due]
    with connection.cursor() as cursor:
        cursor.execute(_CHANGES, {"items": _array(item_ids)})
        changes = {
            item: (tuple(zip(dates, amounts, strict=True)), tuple(map(Pause, starts, ends)))
            for item, dates, amounts, starts, ends in cursor.fetchall()
        }
        cursor.execute(
            _ALIKE,
            {
                "items": _array(item_ids),
                "first_customer": min(customer_ids),
                "last_customer": max(customer_ids),
                "changing": _array(changes),
                "at": at,
            },
        )
        return [DueItems(*row, *changes.get(row[0][0], ())) for row in cursor.fetchall()]


def _one_off_charge(item: DueItems) -> tuple[list[Charge], date | None]:
    is_cancelled = item.ends_on is not None and item.ends_on <= item.starts_on
    if item.charged_through is not None or is_cancelled:
        return [], None
    if item.starts_on > item.today:
        return [], item.starts_on
    day = Period(item.starts_on, item.starts_on + timedelta(days=1), Kind.WHOLE, item.starts_on, 1, 1)
    return [_charge_for(item, day)], None


def _charge_for(item: DueItems, period: Period) -> Charge:
    amount = amount_on(period.start, first=item.amount, changes=item.amounts)
    return Charge(
        period,
        amount,
        _price(amount, item.quantity, period, item.currency),
        _midnight(period.due_on, item.timezone),
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


def _tally(outcomes: Iterable[Outcome]) -> Tally:
    tally = Tally()
    for outcome in outcomes:
        count = len(outcome.items.item_ids)
        for charge in outcome.charges:
            tally.charge(outcome.items.currency, count * charge.amount)
            if outcome.items.kind == ItemKind.ONE_OFF:
                tally.one_off_charges += count
            else:
                tally.item_charges += count
    return tally


def _charge(outcomes: list[Outcome], *, run_id: int) -> None:
    """Move the items on, keep their periods and post the charges: one statement, however many items.

    What is the same for alike items is handed over once, under the number of their outcome.
    """
    customer_ids = [customer_id for outcome in outcomes for customer_id in outcome.items.customer_ids]
    numbers_of_items = [number for number, outcome in enumerate(outcomes) for _item_id in outcome.items.item_ids]
    charges = [(number, charge) for number, outcome in enumerate(outcomes) for charge in outcome.charges]
    previous_ends = [
        end
        for outcome in outcomes
        for end in [outcome.items.charged_through, *(charge.period.end for charge in outcome.charges)][:-1]
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _CHARGE,
            {
                "run": run_id,
                "first_customer": min(customer_ids),
                "last_customer": max(customer_ids),
                "items": _array(item_id for outcome in outcomes for item_id in outcome.items.item_ids),
                "numbers_of_items": _array(numbers_of_items),
                "charged_through": _array(outcome.charged_through for outcome in outcomes),
                "next_due_on": _array(outcome.next_due_on for outcome in outcomes),
                "numbers_of_charges": _array(number for number, _charge in charges),
                "previous_ends": _array(previous_ends),
                "starts": _array(charge.period.start for _number, charge in charges),
                "ends": _array(charge.period.end for _number, charge in charges),
                "kinds": _array(charge.period.kind.value for _number, charge in charges),
                "days": _array(charge.period.charged_days for _number, charge in charges),
                "whole_days": _array(charge.period.whole_days for _number, charge in charges),
                "whole_amounts": _array(charge.whole_amount for _number, charge in charges),
                "amounts": _array(charge.amount for _number, charge in charges),
                "currencies": _array(outcomes[number].items.currency for number, _charge in charges),
                "occurred_at": _array(charge.occurred_at.isoformat() for _number, charge in charges),
            },
        )


def _array(values: Iterable[object]) -> str:
    """Numbers, dates, kinds, currencies or None as PostgreSQL reads an array: quicker than one by one by the driver."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


_PLAN = """
WITH due AS (
    SELECT cu.partner_id, cu.id AS customer_id, sum(least(
        1 + ((%(at)s::timestamptz AT TIME ZONE cu.timezone)::date - i.next_due_on) / (i.interval_count * CASE i.interval
            WHEN 'day' THEN 1 WHEN 'week' THEN 7 WHEN 'month' THEN 28 WHEN 'quarter' THEN 90 ELSE 365
        END), %(max_periods)s
    )) AS periods
    FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
    WHERE i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date + 1
      AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
      AND (%(partner)s::bigint IS NULL OR cu.partner_id = %(partner)s)
    GROUP BY cu.partner_id, cu.id
), ranked AS (
    SELECT due.*, ceil(sum(periods) OVER (PARTITION BY partner_id ORDER BY customer_id) / %(size)s) AS chunk FROM due
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
      AND i.customer_id BETWEEN %(first)s AND %(last)s
      AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
), locked AS (
    SELECT b.customer_id FROM billing_customerbalance b JOIN wanted USING (customer_id)
    WHERE b.customer_id BETWEEN %(first)s AND %(last)s
    ORDER BY b.customer_id FOR UPDATE OF b SKIP LOCKED
)
SELECT coalesce((SELECT array_agg(customer_id ORDER BY customer_id) FROM locked), '{}'), (SELECT count(*) FROM wanted)
"""

# Below, customers are named twice: as they are wanted, and as the range in which they lie, by which the planner finds
# items and customers without reading all of them.
_DUE = """
SELECT i.id, i.customer_id FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
WHERE i.customer_id = ANY(%(customers)s::bigint[])
  AND i.customer_id BETWEEN %(first_customer)s AND %(last_customer)s
  AND cu.id BETWEEN %(first_customer)s AND %(last_customer)s
  AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
  AND (%(first)s::bigint IS NULL OR i.id BETWEEN %(first)s AND %(last)s)
"""

_ALIKE = """
SELECT array_agg(i.id), array_agg(i.customer_id), i.kind, i.amount, i.quantity, i.interval, i.interval_count,
    i.bill_cycle_day, i.timing, i.proration, i.starts_on, i.ends_on, i.charged_through, cu.currency, cu.timezone,
    (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date AS today
FROM unnest(%(items)s::bigint[]) AS due (id)
JOIN billing_billingitem i ON i.id = due.id
JOIN billing_customer cu ON cu.id = i.customer_id
LEFT JOIN unnest(%(changing)s::bigint[]) AS alone (id) ON alone.id = i.id
WHERE i.customer_id BETWEEN %(first_customer)s AND %(last_customer)s
  AND cu.id BETWEEN %(first_customer)s AND %(last_customer)s
-- What differs most comes first: it is sorted by.
GROUP BY i.starts_on, i.amount, i.quantity, i.charged_through, i.bill_cycle_day, i.interval_count, i.ends_on, alone.id,
    i.kind, i.interval, i.timing, i.proration, cu.currency, cu.timezone
"""

_CHARGE = """
WITH moved AS (
    UPDATE billing_billingitem i SET charged_through = m.charged_through, next_due_on = m.next_due_on
    FROM (
        SELECT m.id, m.number, o.charged_through, o.next_due_on
        FROM unnest(%(items)s::bigint[], %(numbers_of_items)s::integer[]) AS m (id, number)
        JOIN unnest(%(charged_through)s::date[], %(next_due_on)s::date[])
            WITH ORDINALITY AS o (charged_through, next_due_on, ordinal) ON o.ordinal = m.number + 1
        ORDER BY m.id  -- in the order of the table and its indexes
    ) m
    WHERE i.id = m.id AND i.customer_id BETWEEN %(first_customer)s AND %(last_customer)s
    RETURNING i.id, i.customer_id, i.reference, i.description, i.kind, i.quantity, m.number
), charge AS MATERIALIZED (
    SELECT moved.*, item_key(moved.reference, c.start_on) AS key, c.previous_end, c.start_on, c.end_on, c.period_kind,
        c.days, c.whole_days, c.whole_amount, c.amount, c.currency, c.occurred_at
    FROM moved
    JOIN unnest(
        %(numbers_of_charges)s::integer[], %(previous_ends)s::date[], %(starts)s::date[], %(ends)s::date[],
        %(kinds)s::text[], %(days)s::integer[], %(whole_days)s::integer[], %(whole_amounts)s::numeric[],
        %(amounts)s::numeric[], %(currencies)s::text[], %(occurred_at)s::timestamptz[]
    ) AS c (
        number, previous_end, start_on, end_on, period_kind, days, whole_days, whole_amount, amount, currency,
        occurred_at
    )
        USING (number)
    ORDER BY moved.id, c.start_on
), kept AS (
    INSERT INTO billing_itemperiod (
        item_id, is_one_off, previous_end, start_on, end_on, kind, days, whole_days, amount, quantity
    )
    SELECT id, kind = 'one_off', previous_end, start_on, end_on, period_kind, days, whole_days, whole_amount, quantity
    FROM charge
)
INSERT INTO billing_ledgerentry (
    key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number, description,
    period_start, period_end, run_id, reason, entered_by
)
SELECT key, customer_id, kind, -amount, currency, occurred_at,
    date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date, 1, description, start_on, end_on, %(run)s, '', ''
FROM charge
"""

# Few items have any.
_CHANGES = """
SELECT item_id, coalesce(p.dates, '{}'), coalesce(p.amounts, '{}'), coalesce(s.starts, '{}'), coalesce(s.ends, '{}')
FROM (
    SELECT item_id, array_agg(from_date ORDER BY from_date) AS dates, array_agg(amount ORDER BY from_date) AS amounts
    FROM billing_itempricechange WHERE item_id = ANY(%(items)s::bigint[]) GROUP BY item_id
) p
FULL JOIN (
    SELECT item_id, array_agg(starts_on ORDER BY starts_on) AS starts, array_agg(ends_on ORDER BY starts_on) AS ends
    FROM billing_itempause WHERE item_id = ANY(%(items)s::bigint[]) GROUP BY item_id
) s USING (item_id)
"""
