"""Statements: what was posted to a customer's account in a calendar month, and how the month is closed for ever.

A month is the *partner's*, by its time zone: one instant ends it for all customers of a partner, so that the partner's
own statement is the sum of theirs, and the zone is the one in which the partner reads every other time.

A statement holds what was posted in its month, each line with its own date. A month closes after the first billing
cycle that began behind its end, went through everything and was not halted: what that cycle charged, it charged in the
month after, and says of each line which month it belongs to. So do late calls and corrections.

Closing writes one row for a partner (`MonthClosing`), which settles by its snapshot what belongs to the month, whoever
posts at that instant; nobody waits. Statements of all customers are then written from it, some thousand at a time. They
come out the same whenever that is done, so that it may be interrupted and repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from billing import prepared
from billing.models import BillingRun, Customer, EntryKind, MonthClosing, Partner, Process, RunState, Statement

CUSTOMERS_AT_A_TIME = 2_000
ROWS_AT_A_TIME = 2_000
EVER_AFTER = 2**63 - 1
THE_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)

MayGoOn = Callable[[], bool]


@dataclass(frozen=True)
class Month:
    """A calendar month of a partner's: `first` is its first day; from `starts_at` to `ends_at`, half-open.

    `closed_at`: since when it never changes; None while it is open, though it may have ended. `reaches_back`: the first
    one that is open, which also holds what was committed only after the month before was closed. `as_of`: of an open
    one, the snapshot up to which it is told, so that all that is asked for by it (sheets, totals, lines) is of one
    moment and adds up, whoever posts meanwhile.
    """

    first: date
    timezone: str
    starts_at: datetime
    ends_at: datetime
    closed_at: datetime | None = None
    reaches_back: bool = False
    as_of: str | None = None

    @property
    def is_closed(self) -> bool:
        return self.closed_at is not None

    @property
    def has_ended(self) -> bool:
        return self.ends_at <= timezone.now()


@dataclass(frozen=True)
class Sheet:
    """A customer's month: final where the month is closed, up to now where it is open. Sums as in the ledger:
    negative where the customer owes more. `totals`: by ledger kind, those without entries left out.
    """

    customer: Customer
    month: Month
    opening_balance: Decimal
    totals: dict[EntryKind, Decimal]
    closing_balance: Decimal
    entry_count: int

    @property
    def currency(self) -> str:
        return self.customer.currency


@dataclass(frozen=True)
class Line:
    """A ledger entry on a statement. `balance`: after it. `belongs_to`: the first day of the month that it would have
    been in, had it been posted when it occurred; None where that is this month. `committed_late`: posted before this
    month began, by a transaction that was still open when the month before was closed.
    """

    entry_id: int
    customer_id: int
    key: str
    kind: EntryKind
    amount: Decimal
    balance: Decimal
    occurred_at: datetime
    posted_at: datetime
    description: str
    reverses: str | None
    period_start: date | None
    period_end: date | None
    billed_seconds: int | None
    belongs_to: date | None
    committed_late: bool


@dataclass(frozen=True)
class Total:
    """The customers of a partner in one currency, together. Signs as in a sheet."""

    currency: str
    customer_count: int
    opening_balance: Decimal
    totals: dict[EntryKind, Decimal]
    closing_balance: Decimal
    entry_count: int


# Closing


def close_months(run: BillingRun, *, may_go_on: MayGoOn = lambda: True) -> list[MonthClosing]:
    """Close what this run, which has ended, lets be closed, and write the statements. May be repeated, and by several
    at once; costs a millisecond where there is nothing to close. The months that were closed by this call.
    """
    closed: list[MonthClosing] = []
    for partner_id, slug, due in prepared.fetch(_DUE, {}):
        _write(partner_id, may_go_on)
        is_complete, month = _is_complete(run, slug), due
        while may_go_on() and is_complete and month is not None and (closing := _close(partner_id, month, run)):
            closed.append(closing)
            _write(partner_id, may_go_on)
            month = _next_month(month)
    return closed


def _is_complete(run: BillingRun, partner: str) -> bool:
    """Whether the run went through all that was due for this partner.

    A single call or item with an error does not keep a month open: it is charged when it is mended, like a late call.
    """
    return (
        run.state in {RunState.DONE, RunState.PARTIAL}
        and run.partner_id is None
        and run.max_periods is None
        and {Process.CALLS, Process.ITEMS} <= set(run.processes)
        and not any(halt["partner"] in {None, partner} for halt in run.halted)
        and not any(error["kind"] in set(Process) for error in run.errors)
        and run.ended_because != "left undone"
    )


def _close(partner_id: int, month: date, run: BillingRun) -> MonthClosing | None:
    """Close the month, unless the run began before its end, or somebody else has closed it."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"partner": partner_id, "month": month, "run": run.pk})
        row = cursor.fetchone()
    return MonthClosing.objects.get(pk=row[0]) if row else None


def _write(partner_id: int, may_go_on: MayGoOn) -> None:
    """Write the statements of months that are closed, a few customers a transaction; whoever else does so is left to
    it.
    """
    while may_go_on():
        with transaction.atomic(durable=True):
            closing = (
                MonthClosing.objects.select_for_update(skip_locked=True)
                .filter(partner_id=partner_id, written_at=None)
                .order_by("month")
                .first()
            )
            if closing is None:
                return
            customers = list(
                Customer.objects.filter(partner_id=partner_id, pk__gt=closing.written_through)
                .order_by("pk")
                .values_list("pk", flat=True)[:CUSTOMERS_AT_A_TIME]
            )
            if customers:
                _write_statements(closing, customers)
                closing.written_through = customers[-1]
            else:
                closing.written_at = Now()
            closing.save(update_fields=["written_through", "written_at"])


def _write_statements(closing: MonthClosing, customers: Sequence[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _WRITE,
            {
                "closing": closing.pk,
                "month": closing.month,
                "customers": list(customers),
                "until": closing.last_entry_id,
                "as_of": None,
            },
        )


# Reading


def months_of(partner: Partner) -> list[Month]:
    """The partner's months, the latest first: the one under way, those that have ended and wait for a complete cycle,
    and those that are closed.
    """
    closings = list(partner.month_closings.filter(written_at__isnull=False).order_by("month"))
    return [*reversed(_open_months(partner, closings)), *reversed(_closed_months(closings))]


def month_of(partner: Partner, first: date) -> Month | None:
    """That month of the partner's; None where it has not begun or lies before the partner's first."""
    return next((month for month in months_of(partner) if month.first == first), None)


def sheets_of(customer: Customer) -> list[Sheet]:
    """A customer's statements, the latest first; those that are open, up to now."""
    closed = {sheet.month.first: sheet for sheet in _closed_sheets([customer])}
    open_months = [month for month in _months_still_open(customer) if month.first not in closed]
    sheets = [sheet for month in open_months for sheet in _open_sheets([customer], month)]
    return sorted([*sheets, *closed.values()], key=lambda sheet: sheet.month.first, reverse=True)


def sheet_of(customer: Customer, first: date) -> Sheet | None:
    """The customer's statement of that month; None where there is none, because nothing was posted and the customer
    had nothing, or the month has not begun.
    """
    for sheet in _closed_sheets([customer], first):
        return sheet
    for month in _months_still_open(customer):
        if month.first == first:
            return _open_sheets([customer], month)[0]
    return None


def sheets_in(partner: Partner, month: Month, *, after: int = 0, limit: int = 100) -> list[Sheet]:
    """Statements of the partner's customers in that month, by the customer's id, those above `after`."""
    if month.is_closed:
        customers = Customer.objects.filter(
            statements__closing__partner=partner, statements__closing__month=month.first, pk__gt=after
        )
        some = list(customers.order_by("pk")[:limit])
        return _closed_sheets(some, month.first)
    some = list(partner.customers.filter(created_at__lt=month.ends_at, pk__gt=after).order_by("pk")[:limit])
    return _open_sheets(some, month)


def totals_of(partner: Partner, month: Month) -> list[Total]:
    """The partner's statement: its customers together, by currency. Of a closed month quick; of an open one it reads
    all that was posted since the last.
    """
    if month.is_closed:
        query = _TOTALS_OF_CLOSED
        values: dict[str, Any] = {"partner": partner.pk, "month": month.first}
    else:
        query = _TOTALS_OF_OPEN
        values = {"partner": partner.pk, **_window(month)}
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [Total(row[0], row[1], row[2], _by_kind(row[3:-2]), row[-2], row[-1]) for row in cursor.fetchall()]


def lines_of(
    sheets: Sequence[Sheet], *, kind: EntryKind | None = None, after: int = 0, limit: int | None = None
) -> Iterator[Line]:
    """The lines behind these sheets, all of one month, sheet by sheet in their order, as they were posted.

    `after`: only entries with a higher id. Read through a cursor of the server's: constant memory, one transaction.
    """
    if not sheets:
        return
    month = sheets[0].month
    query = _LINES_OF_CLOSED if month.is_closed else _LINES_OF_OPEN
    values: dict[str, Any] = {
        "customers": [sheet.customer.pk for sheet in sheets],
        "openings": [sheet.opening_balance for sheet in sheets],
        "month": month.first,
        "after": after,
        "kind": kind,
        "limit": limit,
        **({} if month.is_closed else _window(month)),
    }
    zone = ZoneInfo(month.timezone)
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(query, values)
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            for row in rows:
                yield _line(row, month, zone)


def _line(row: tuple[Any, ...], month: Month, zone: ZoneInfo) -> Line:
    occurred_at, posted_at = row[6], row[7]
    is_late = occurred_at < month.starts_at
    values = dict(zip(_LINE_FIELDS, row, strict=True)) | {"kind": EntryKind(row[3])}
    return Line(
        **values,
        belongs_to=occurred_at.astimezone(zone).date().replace(day=1) if is_late else None,
        committed_late=posted_at < month.starts_at,
    )


def _closed_months(closings: Sequence[MonthClosing]) -> list[Month]:
    months: list[Month] = []
    for before, closing in pairwise([None, *closings]):
        assert closing is not None
        zone = ZoneInfo(closing.timezone)
        starts_at = before.ends_at if before else _midnight(closing.month, zone)
        months.append(Month(closing.month, closing.timezone, starts_at, closing.ends_at, closing.closed_at))
    return months


def _open_months(partner: Partner, closings: Sequence[MonthClosing]) -> list[Month]:
    """Oldest first: from the one after the last that was closed to the one under way."""
    zone = ZoneInfo(partner.timezone)
    this_month = timezone.now().astimezone(zone).date().replace(day=1)
    if closings:
        first, starts_at = _next_month(closings[-1].month), closings[-1].ends_at
    else:
        first = min(partner.created_at.astimezone(zone).date().replace(day=1), this_month)
        starts_at = _midnight(first, zone)
    months: list[Month] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        (as_of,) = cursor.fetchone()
    while first <= this_month:
        following = _next_month(first)
        ends_at = _midnight(following, zone)
        months.append(Month(first, partner.timezone, starts_at, ends_at, reaches_back=not months, as_of=as_of))
        first, starts_at = following, ends_at
    return months


def _months_still_open(customer: Customer) -> list[Month]:
    """The partner's open months since the customer came; and one that was closed just now, until the customer's
    statement of it is written.
    """
    partner = customer.partner
    written = [
        closing
        for closing in partner.month_closings.order_by("month")
        if closing.written_at is not None or closing.written_through >= customer.pk
    ]
    months = _open_months(partner, written)
    came = min(customer.created_at, timezone.now())
    return [month for month in months if month.ends_at > came]


def _closed_sheets(customers: Sequence[Customer], first: date | None = None) -> list[Sheet]:
    """Statements of these customers: of one month in the order of the customers, or all."""
    by_id = {customer.pk: customer for customer in customers}
    statements = (
        Statement.objects.filter(customer__in=customers).select_related("closing").order_by("customer", "month")
    )
    if first is not None:
        statements = statements.filter(month=first)
    found = list(statements)
    closings = MonthClosing.objects.filter(partner__in={statement.closing.partner_id for statement in found})
    ends = dict(closings.values_list("partner_id", "month").values_list("pk", "ends_at"))
    starts: dict[int, datetime] = {}
    for before, closing in pairwise([None, *closings.order_by("partner", "month")]):
        assert closing is not None
        follows = before is not None and before.partner_id == closing.partner_id
        starts[closing.pk] = (
            ends[before.pk] if before is not None and follows else _midnight(closing.month, ZoneInfo(closing.timezone))
        )
    return [
        Sheet(
            by_id[statement.customer_id],
            Month(
                statement.month,
                statement.closing.timezone,
                starts[statement.closing_id],
                statement.closing.ends_at,
                statement.closing.closed_at,
            ),
            statement.opening_balance,
            _by_kind([getattr(statement, kind) for kind in EntryKind]),
            statement.closing_balance,
            statement.entry_count,
        )
        for statement in found
    ]


def _open_sheets(customers: Sequence[Customer], month: Month) -> list[Sheet]:
    """What has come to these customers since their last statement, as far as it was posted before the month's end, and
    by the moment as of which the month is told.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_SHEETS, {"customers": [customer.pk for customer in customers], **_window(month)})
        rows = {row[0]: row[1:] for row in cursor.fetchall()}
    return [
        Sheet(customer, month, row[0], _by_kind(row[1:-2]), row[-2], row[-1])
        for customer in customers
        for row in [rows[customer.pk]]
    ]


def _window(month: Month) -> dict[str, Any]:
    since = THE_BEGINNING if month.reaches_back else month.starts_at
    return {"month": month.first, "since": since, "ends_at": month.ends_at, "until": EVER_AFTER, "as_of": month.as_of}


def _by_kind(sums: Sequence[Decimal]) -> dict[EntryKind, Decimal]:
    return {kind: total for kind, total in zip(EntryKind, sums, strict=True) if total is not None and total != 0}


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


# Partners that have a month to close, or statements to write. A look at each partner, by index.
_DUE = """
SELECT p.id, p.slug, CASE WHEN due.month < present.month THEN due.month END
FROM billing_partner p
CROSS JOIN LATERAL (SELECT date_trunc('month', statement_timestamp() AT TIME ZONE p.timezone)::date AS month) present
CROSS JOIN LATERAL (
    SELECT coalesce(
        (SELECT (max(k.month) + interval '1 month')::date FROM billing_monthclosing k WHERE k.partner_id = p.id),
        date_trunc('month', p.created_at AT TIME ZONE p.timezone)::date
    ) AS month
) due
WHERE due.month < present.month
   OR EXISTS (SELECT FROM billing_monthclosing k WHERE k.partner_id = p.id AND k.written_at IS NULL)
ORDER BY p.id
"""

# The highest id and the snapshot are of one statement, so that they are of one instant. Whose transaction had no number
# by then takes ids that are higher; whose had is in the snapshot, ended or open.
_CLOSE = """
INSERT INTO billing_monthclosing (
    partner_id, month, timezone, ends_at, run_id, last_entry_id, snapshot, written_through
)
SELECT p.id, %(month)s, p.timezone, ending.at, %(run)s,
    coalesce((SELECT max(id) FROM billing_ledgerentry), 0), pg_current_snapshot(), 0
FROM billing_partner p
JOIN billing_billingrun run ON run.id = %(run)s
CROSS JOIN LATERAL (SELECT (%(month)s::date + interval '1 month') AT TIME ZONE p.timezone AS at) ending
WHERE p.id = %(partner)s AND run.started_at >= ending.at AND run.business_at >= ending.at
ON CONFLICT (partner_id, month) DO NOTHING
RETURNING id
"""

# What this transaction posted itself is seen by it, as everywhere; and so is what was posted by transactions that this
# server has not reached, in a copy that was restored from elsewhere.
_IS_SEEN = """(%(as_of)s::pg_snapshot IS NULL OR pg_visible_in_snapshot(l.posted_in, %(as_of)s::pg_snapshot)
        OR l.posted_in = pg_current_xact_id_if_assigned() OR l.posted_in >= pg_snapshot_xmax(pg_current_snapshot()))"""

# What came to these customers since their last statement before the month: by the customers' index from the first id
# that was left, and what transactions posted that were open when that statement's month was closed.
_SINCE = f"""
WITH before AS MATERIALIZED (
    SELECT cu.id AS customer_id, cu.currency, coalesce(s.closing_balance, 0) AS balance,
        coalesce(s.next_entry_id, 0) AS first_id, k.ends_at, k.last_entry_id, k.snapshot
    FROM billing_customer cu
    LEFT JOIN LATERAL (
        SELECT closing_id, closing_balance, next_entry_id FROM billing_statement
        WHERE customer_id = cu.id AND month < %(month)s ORDER BY month DESC LIMIT 1
    ) s ON true
    LEFT JOIN billing_monthclosing k ON k.id = s.closing_id
    WHERE {{whose}}
), late AS MATERIALIZED (
    SELECT l.* FROM (SELECT DISTINCT pg_snapshot_xip(snapshot) AS id FROM before) open_then
    JOIN billing_ledgerentry l ON l.posted_in = open_then.id
    JOIN before b ON b.customer_id = l.customer_id
    WHERE l.id < b.first_id AND NOT pg_visible_in_snapshot(l.posted_in, b.snapshot) AND {_IS_SEEN}
), line AS (
    SELECT l.* FROM before b
    CROSS JOIN LATERAL (
        SELECT * FROM billing_ledgerentry l
        WHERE l.customer_id = b.customer_id AND l.id >= b.first_id AND l.id <= %(until)s AND {_IS_SEEN}
          AND (b.snapshot IS NULL
               OR NOT is_held(l.posted_at, l.id, l.posted_in, b.ends_at, b.last_entry_id, b.snapshot))
        OFFSET 0
    ) l
    UNION ALL
    SELECT * FROM late
)
"""  # noqa: S608 - texts of ours
_OF_CUSTOMERS = _SINCE.format(whose="cu.id = ANY(%(customers)s::bigint[])")
_OF_PARTNER = _SINCE.format(whose="cu.partner_id = %(partner)s AND cu.created_at < %(ends_at)s")

_KINDS = ", ".join(EntryKind)
_SUMS = ", ".join(f"coalesce(sum(amount) FILTER (WHERE is_in AND kind = '{kind}'), 0) AS {kind}" for kind in EntryKind)

_WRITE = f"""
{_OF_CUSTOMERS}
, posted AS (
    SELECT customer_id, {_SUMS},
        coalesce(sum(amount) FILTER (WHERE is_in), 0) AS total, count(*) FILTER (WHERE is_in) AS entry_count,
        min(id) FILTER (WHERE is_in) AS first_id, min(id) FILTER (WHERE NOT is_in) AS next_id
    FROM (
        SELECT line.*, is_held(line.posted_at, line.id, line.posted_in, k.ends_at, k.last_entry_id, k.snapshot) AS is_in
        FROM line, billing_monthclosing k WHERE k.id = %(closing)s
    ) line GROUP BY customer_id
)
INSERT INTO billing_statement (
    closing_id, customer_id, month, currency, opening_balance, {_KINDS}, closing_balance,
    entry_count, first_entry_id, next_entry_id
)
SELECT %(closing)s, b.customer_id, %(month)s, b.currency, b.balance,
    {", ".join(f"coalesce(p.{kind}, 0)" for kind in EntryKind)}, b.balance + coalesce(p.total, 0),
    coalesce(p.entry_count, 0), p.first_id, coalesce(p.next_id, %(until)s + 1)
FROM before b LEFT JOIN posted p ON p.customer_id = b.customer_id
WHERE b.balance <> 0 OR p.entry_count > 0
ORDER BY b.customer_id
ON CONFLICT (customer_id, month) DO NOTHING
"""  # noqa: S608 - texts of ours

_IN_WINDOW = "line.posted_at >= %(since)s AND line.posted_at < %(ends_at)s"

_OPEN_SHEETS = f"""
{_OF_CUSTOMERS}
SELECT b.customer_id, b.balance + coalesce(sum(amount) FILTER (WHERE line.posted_at < %(since)s), 0), {_SUMS},
    b.balance + coalesce(sum(amount) FILTER (WHERE line.posted_at < %(ends_at)s), 0), count(*) FILTER (WHERE is_in)
FROM before b
LEFT JOIN (SELECT line.*, {_IN_WINDOW} AS is_in FROM line) line ON line.customer_id = b.customer_id
GROUP BY b.customer_id, b.balance
"""  # noqa: S608 - texts of ours

# Sums of the entries of all, and apart from them of the balances before: each customer once.
_TOTALS_OF_OPEN = f"""
{_OF_PARTNER}
, posted AS (
    SELECT cu.currency, {_SUMS},
        coalesce(sum(amount) FILTER (WHERE line.posted_at < %(since)s), 0) AS earlier,
        coalesce(sum(amount) FILTER (WHERE line.posted_at < %(ends_at)s), 0) AS by_the_end,
        count(*) FILTER (WHERE is_in) AS entry_count
    FROM (SELECT line.*, {_IN_WINDOW} AS is_in FROM line) line
    JOIN before cu ON cu.customer_id = line.customer_id GROUP BY cu.currency
), balance AS (
    SELECT currency, count(*) AS customer_count, sum(balance) AS balance FROM before GROUP BY currency
)
SELECT b.currency, b.customer_count, b.balance + coalesce(p.earlier, 0),
    {", ".join(f"coalesce(p.{kind}, 0)" for kind in EntryKind)},
    b.balance + coalesce(p.by_the_end, 0), coalesce(p.entry_count, 0)
FROM balance b LEFT JOIN posted p ON p.currency = b.currency ORDER BY b.currency
"""  # noqa: S608 - texts of ours

_TOTALS_OF_CLOSED = f"""
SELECT s.currency, count(*), sum(s.opening_balance), {", ".join(f"sum(s.{kind})" for kind in EntryKind)},
    sum(s.closing_balance), sum(s.entry_count)::bigint
FROM billing_monthclosing k JOIN billing_statement s ON s.closing_id = k.id
WHERE k.partner_id = %(partner)s AND k.month = %(month)s
GROUP BY s.currency ORDER BY s.currency
"""  # noqa: S608 - texts of ours

_LINE_FIELDS = [field.name for field in fields(Line)][:-2]  # as the ledger calls them; the last two are worked out
_COLUMNS = ", ".join("id AS entry_id" if name == "entry_id" else name for name in _LINE_FIELDS)
_ASKED = """unnest(%(customers)s::bigint[], %(openings)s::numeric[])
    WITH ORDINALITY asked (customer_id, opening_balance, place)"""
_WHICH = "l.id > %(after)s AND (%(kind)s::text IS NULL OR l.kind = %(kind)s) ORDER BY l.place, l.id LIMIT %(limit)s"

_LINES_OF_CLOSED = f"""
SELECT {_COLUMNS} FROM (
    SELECT asked.place, l.*,
        asked.opening_balance + sum(l.amount) OVER (PARTITION BY asked.place ORDER BY l.id ROWS UNBOUNDED PRECEDING)
            AS balance
    FROM {_ASKED}
    JOIN billing_statement s ON s.customer_id = asked.customer_id AND s.month = %(month)s
    JOIN billing_monthclosing k ON k.id = s.closing_id
    LEFT JOIN LATERAL (
        SELECT closing_id FROM billing_statement
        WHERE customer_id = s.customer_id AND month < s.month ORDER BY month DESC LIMIT 1
    ) last ON true
    LEFT JOIN billing_monthclosing b ON b.id = last.closing_id
    CROSS JOIN LATERAL (
        SELECT * FROM billing_ledgerentry l
        WHERE l.customer_id = s.customer_id AND l.id >= s.first_entry_id AND l.id <= k.last_entry_id
          AND is_held(l.posted_at, l.id, l.posted_in, k.ends_at, k.last_entry_id, k.snapshot)
          AND (b.snapshot IS NULL
               OR NOT is_held(l.posted_at, l.id, l.posted_in, b.ends_at, b.last_entry_id, b.snapshot))
        OFFSET 0
    ) l
) l WHERE {_WHICH}
"""  # noqa: S608 - texts of ours

_LINES_OF_OPEN = f"""
{_OF_CUSTOMERS}
SELECT {_COLUMNS} FROM (
    SELECT asked.place, line.*,
        asked.opening_balance + sum(amount) OVER (PARTITION BY asked.place ORDER BY line.id ROWS UNBOUNDED PRECEDING)
            AS balance
    FROM {_ASKED} JOIN line ON line.customer_id = asked.customer_id
    WHERE {_IN_WINDOW}
) l WHERE {_WHICH}
"""  # noqa: S608 - texts of ours
