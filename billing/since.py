"""What has come since a moment, found without an index of times: rows get their ids in the order in which they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet, Sum

from billing.models import ArrivalBatch, BatchKind, BillingRun, LedgerEntry, Partner

# Chunks that were written side by side share a stretch of ids, in no order of their times.
SIDE_BY_SIDE = timedelta(seconds=30)
MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Movements:
    """Entries of one kind and currency that were posted since: how many, and their sum, negative where charged."""

    kind: str
    currency: str
    count: int
    amount: Decimal

    @property
    def charged(self) -> Decimal:
        """Positive where customers were charged."""
        return -self.amount


def first_ids(table: str, column: str, moments: Sequence[datetime]) -> list[int]:
    """For each moment the id from which on rows came no earlier; one beyond the last where none did.

    `column` is when a row came. One query of some twenty look-ups for each moment, however large the table is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE search (place, since, low, high) AS (
                SELECT place, since, bounds.low, bounds.high
                FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS asked (since, place),
                    (SELECT coalesce(min(id), 1) AS low, coalesce(max(id), 0) + 1 AS high FROM {table}) bounds
                UNION ALL
                SELECT s.place, s.since,
                    CASE WHEN probe.came_at < s.since THEN probe.id + 1 ELSE s.low END,
                    CASE WHEN probe.came_at < s.since THEN s.high ELSE (s.low + s.high) / 2 END
                FROM search s LEFT JOIN LATERAL (
                    SELECT id, {column} AS came_at FROM {table}
                    WHERE id >= (s.low + s.high) / 2 ORDER BY id LIMIT 1
                ) probe ON true
                WHERE s.low < s.high
            )
            SELECT low FROM search WHERE low >= high ORDER BY place
            """,  # noqa: S608 - names of ours
            [list(moments)],
        )
        return [row[0] for row in cursor.fetchall()]


def calls_since(moment: datetime) -> int:
    """How many calls that await an outcome were taken in since then, whosever they are."""
    arrived = ArrivalBatch.objects.filter(arrived_at__gte=moment, kind=BatchKind.ARRIVAL)
    return arrived.aggregate(calls=Sum("call_count"))["calls"] or 0


def movements_since(moment: datetime, *, partner: Partner | None = None) -> tuple[list[Movements], bool]:
    """What was posted since then (of the partner's customers); and whether all was looked at, or 100,000 only."""
    (first,) = first_ids("billing_ledgerentry", "posted_at", [moment - SIDE_BY_SIDE])
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH looked_at AS MATERIALIZED (
                SELECT customer_id, kind, currency, amount, posted_at FROM billing_ledgerentry
                WHERE id >= %(first)s ORDER BY id LIMIT %(most)s
            )
            SELECT kind, currency, count(*), sum(amount), (SELECT count(*) FROM looked_at)
            FROM looked_at
            WHERE posted_at >= %(moment)s AND (
                %(partner)s::bigint IS NULL
                OR customer_id IN (SELECT id FROM billing_customer WHERE partner_id = %(partner)s)
            )
            GROUP BY kind, currency ORDER BY kind, currency
            """,
            {"first": first, "moment": moment, "most": MOST_ENTRIES, "partner": partner.pk if partner else None},
        )
        rows = cursor.fetchall()
    is_all = not rows or rows[0][4] < MOST_ENTRIES
    return [Movements(*row[:4]) for row in rows], is_all


def charged_by_run(run: BillingRun) -> list[Movements]:
    """What a run has charged, by kind and currency. Reads what was posted while it ran: a second for a million."""
    first, beyond = _stretch(run)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, currency, count(*), sum(amount) FROM billing_ledgerentry
            WHERE id >= %s AND id < %s AND run_id = %s GROUP BY kind, currency ORDER BY kind, currency
            """,
            [first, beyond, run.pk],
        )
        return [Movements(*row) for row in cursor.fetchall()]


def entries_of_run(run: BillingRun) -> QuerySet[LedgerEntry]:
    """The entries that a run has posted, in the order in which they were."""
    first, beyond = _stretch(run)
    return LedgerEntry.objects.filter(pk__gte=first, pk__lt=beyond, run_id=run.pk).order_by("pk")


def _stretch(run: BillingRun) -> tuple[int, int]:
    """The ids between which all that the run has posted lies: the first, and the first beyond."""
    until = run.ended_at + SIDE_BY_SIDE if run.ended_at else datetime.max.replace(tzinfo=UTC)
    first, beyond = first_ids("billing_ledgerentry", "posted_at", [run.started_at - SIDE_BY_SIDE, until])
    return first, beyond
