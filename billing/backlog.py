"""What waits: calls without an outcome, items with something due, quarantine, customers to judge."""

from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection
from django.db.models import Count, Min

from billing.batches import open_batches
from billing.models import QuarantinedCall, QuarantineState


@dataclass(frozen=True)
class Backlog:
    """Counts, and since when the oldest waits. `pending_calls` counts calls of open batches."""

    pending_calls: int
    oldest_call_started_at: datetime | None
    oldest_batch_arrived_at: datetime | None
    due_items: int
    oldest_due_on: str | None
    customers_to_judge: int


def backlog(*, at: datetime) -> Backlog:
    """What is waiting at `at`. Goes by open batches, so that it is quick whatever the history."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT
                (SELECT (coalesce(sum(b.call_count), 0) - coalesce(sum(done.calls), 0))::bigint
                 FROM billing_arrivalbatch b
                 LEFT JOIN LATERAL (
                     SELECT sum(p.outcome_count) AS calls FROM billing_batchprogress p WHERE p.batch_id = b.id
                 ) done ON true
                 WHERE b.closed_at IS NULL),
                (SELECT min(started_at) FROM billing_callrecord WHERE batch_id = ANY(%(batches)s::bigint[])),
                (SELECT min(arrived_at) FROM billing_arrivalbatch WHERE closed_at IS NULL),
                due.items, due.oldest,
                (SELECT count(*) FROM billing_customertojudge)
            FROM (
                SELECT count(*) AS items, min(i.next_due_on) AS oldest
                FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
                WHERE i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date + 1
                  AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
            ) due
            """,
            {"at": at, "batches": open_batches()},
        )
        return Backlog(*cursor.fetchone())


@dataclass(frozen=True)
class Glance:
    """The same without looking at a single call: items and customers are counted up to a bound, and one beyond it."""

    pending_calls: int
    oldest_batch_arrived_at: datetime | None
    due_items: int
    oldest_due_on: date | None
    customers_to_judge: int


def at_a_glance(*, at: datetime, counted_to: int) -> Glance:
    """What is waiting at `at`, in milliseconds, however much it is."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT
                (SELECT coalesce(sum(b.call_count - coalesce(
                    (SELECT sum(p.outcome_count) FROM billing_batchprogress p WHERE p.batch_id = b.id), 0
                 )), 0)::bigint
                 FROM billing_arrivalbatch b WHERE b.closed_at IS NULL),
                (SELECT min(arrived_at) FROM billing_arrivalbatch WHERE closed_at IS NULL),
                due.items, due.oldest,
                (SELECT count(*) FROM (SELECT FROM billing_customertojudge LIMIT %(most)s) counted)
            FROM (
                SELECT count(*) AS items, min(next_due_on) AS oldest FROM (
                    SELECT i.next_due_on FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
                    WHERE i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date + 1
                      AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
                    ORDER BY i.next_due_on LIMIT %(most)s
                ) counted
            ) due
            """,
            {"at": at, "most": counted_to + 1},
        )
        return Glance(*cursor.fetchone())


def quarantine() -> dict[str, tuple[int, datetime]]:
    """Calls waiting in quarantine by reason: how many, and since when the oldest."""
    rows = (
        QuarantinedCall.objects.filter(state=QuarantineState.WAITING)
        .values("reason")
        .annotate(calls=Count("pk"), oldest=Min("since"))
        .order_by("reason")
    )
    return {row["reason"]: (row["calls"], row["oldest"]) for row in rows}
