"""Charging calls: which customers have pending ones, and posting the outcome of all calls of a range at once."""

from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing import decks
from billing.batches import open_batches
from billing.models import BillingChunk, BillingRun, BillingWorker
from billing.rating import rated
from billing.runs import Tally

CALLS_AT_A_TIME = 50_000
WORK_MEMORY = "64MB"  # a chunk is sorted and kept in memory, not on disk


def plan(run: BillingRun, *, calls_at_a_time: int = CALLS_AT_A_TIME) -> int:
    """Cut the customers with calls in open batches into chunks of about so many calls; how many chunks.

    A chunk holds customers of one partner, so that a partner can be halted by itself, and no customer is in two
    chunks, so that workers never wait for each other; one with very many calls is cut by calls.
    """
    batches = open_batches()
    with connection.cursor() as cursor:
        cursor.execute(_PLAN, {"run": run.pk, "partner": run.partner_id, "size": calls_at_a_time, "batches": batches})
        return cursor.rowcount


def post(chunk: BillingChunk, worker: BillingWorker) -> tuple[Tally, int]:
    """Give every pending call of the chunk its outcome; the tally, and how many customers had to be left alone.

    Left alone are customers whose balance somebody else is changing just now, and calls whose deck is. To be called in
    a halting chunk. Each call gets one outcome, however often this is repeated.
    """
    limits: dict[str, Any] = {
        "batches": open_batches(),
        "run": worker.run_id,
        "first_customer": chunk.first_customer,
        "last_customer": chunk.last_customer,
        "first_record": chunk.first_record,
        "last_record": chunk.last_record,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('work_mem', %s, true)", [WORK_MEMORY])
        if chunk.partner_id is None:
            whose = "p.batch_id = ANY(%(batches)s::bigint[]) AND p.customer_id IS NULL"
            busy = calls = 0
        else:
            whose = (
                "p.batch_id = ANY(%(batches)s::bigint[])"
                " AND p.customer_id BETWEEN %(first_customer)s AND %(last_customer)s"
                " AND p.customer_id = ANY(%(customers)s::bigint[])"
            )
            cursor.execute(_LOCK_CUSTOMERS, {**limits, "partner": chunk.partner_id})
            limits["customers"], wanted, calls = cursor.fetchone()
            busy = wanted - len(limits["customers"])
        if chunk.first_record is not None:
            whose += " AND p.id BETWEEN %(first_record)s AND %(last_record)s"
        text = rated(whose, slices=decks.current_slices(), calls=calls)
        cursor.execute(_POST.format(rated=text), limits)
        return _tally(cursor.fetchall(), busy)


def prepare() -> None:
    """Flatten the decks that pending calls need. To be called before posting; quick when nothing is missing."""
    decks.slice_for_pending_calls()


def close_batches() -> int:
    """Close the arrival batches in which every call has its outcome; how many. Safe to repeat."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_arrivalbatch b SET closed_at = now()
            WHERE b.closed_at IS NULL
              AND b.call_count <= (SELECT sum(outcome_count) FROM billing_batchprogress p WHERE p.batch_id = b.id)
            """
        )
        closed = cursor.rowcount
        cursor.execute(
            """
            DELETE FROM billing_batchprogress p USING billing_arrivalbatch b
            WHERE b.id = p.batch_id AND b.closed_at IS NOT NULL
            """
        )
        return closed


def bounds(chunk: BillingChunk) -> tuple[int, int] | None:
    """The first and the last pending call record of the chunk; None when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(id), max(id) FROM billing_pendingcall"
            " WHERE CASE WHEN %(first)s = 0 THEN customer_id IS NULL"
            " ELSE customer_id BETWEEN %(first)s AND %(last)s END",
            {"first": chunk.first_customer, "last": chunk.last_customer},
        )
        first, last = cursor.fetchone()
    return None if first is None else (first, last)


def key_of(record_id: int) -> str:
    """The key of a call record, for people to find it by."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT call_key(s.name, c.call_id) FROM billing_callrecord c JOIN billing_source s ON s.id = c.source_id"
            " WHERE c.id = %s",
            [record_id],
        )
        row = cursor.fetchone()
    return row[0] if row else f"call record {record_id}"


def _tally(outcomes: list[tuple[str | None, str | None, int, Decimal | None]], busy: int) -> tuple[Tally, int]:
    tally = Tally()
    for outcome, currency, count, price in outcomes:
        if outcome == "charge" and currency is not None and price is not None:
            tally.calls_billed += count
            tally.charge(currency, price)
        elif outcome == "free":
            tally.calls_free += count
        elif outcome == "quarantine":
            tally.calls_quarantined += count
        else:
            busy += count
    return tally, busy


# Goes by the open batches alone; calls in them that have their outcome already only make a chunk a little smaller.
_PLAN = """
WITH waiting AS (
    SELECT customer_id, sum(calls) AS calls FROM (
        SELECT customer_id, count(*) AS calls FROM billing_callrecord
        WHERE batch_id = ANY(%(batches)s::bigint[]) GROUP BY customer_id
        UNION ALL
        SELECT customer_id, count(*) FROM billing_quarantinedcall
        WHERE release_batch_id = ANY(%(batches)s::bigint[]) AND state = 'released' GROUP BY customer_id
    ) both_kinds GROUP BY customer_id
), ranked AS (
    SELECT cu.partner_id, cu.id AS customer_id, w.calls,
        ceil(sum(w.calls) OVER (PARTITION BY cu.partner_id ORDER BY cu.id) / %(size)s) AS chunk
    FROM waiting w JOIN billing_customer cu ON cu.id = w.customer_id
    WHERE %(partner)s::bigint IS NULL OR cu.partner_id = %(partner)s
), chunk AS (
    SELECT partner_id, min(customer_id) AS first_customer, max(customer_id) AS last_customer,
        NULL::bigint AS first_record, NULL::bigint AS last_record
    FROM ranked WHERE calls <= %(size)s GROUP BY partner_id, chunk
    UNION ALL
    SELECT partner_id, customer_id, customer_id, min(id), max(id)
    FROM (
        SELECT r.partner_id, r.customer_id, p.id,
            (row_number() OVER (PARTITION BY r.customer_id ORDER BY p.id) - 1) / %(size)s AS part
        FROM ranked r JOIN billing_pendingcall p ON p.customer_id = r.customer_id
        WHERE r.calls > %(size)s
    ) heavy GROUP BY partner_id, customer_id, part
    UNION ALL
    SELECT NULL, 0, 0, NULL, NULL FROM waiting WHERE customer_id IS NULL AND %(partner)s::bigint IS NULL
)
INSERT INTO billing_billingchunk (
    run_id, process, partner_id, first_customer, last_customer, first_record, last_record, state, tries
)
SELECT %(run)s, 'calls', partner_id, first_customer, last_customer, first_record, last_record, 'open', 0
FROM chunk ORDER BY first_customer, first_record
"""

# In id order, as everybody locks balances; skipping those that somebody else is changing.
_LOCK_CUSTOMERS = """
WITH wanted AS MATERIALIZED (
    SELECT customer_id, count(*) AS calls FROM (
        SELECT customer_id FROM billing_callrecord
        WHERE batch_id = ANY(%(batches)s::bigint[])
          AND customer_id BETWEEN %(first_customer)s AND %(last_customer)s
        UNION ALL
        SELECT customer_id FROM billing_quarantinedcall
        WHERE release_batch_id = ANY(%(batches)s::bigint[]) AND state = 'released'
          AND customer_id BETWEEN %(first_customer)s AND %(last_customer)s
    ) both_kinds GROUP BY customer_id
), partners AS MATERIALIZED (
    SELECT w.customer_id, w.calls FROM wanted w JOIN billing_customer cu ON cu.id = w.customer_id
    WHERE cu.partner_id = %(partner)s
), locked AS (
    SELECT b.customer_id FROM billing_customerbalance b JOIN partners USING (customer_id)
    ORDER BY b.customer_id FOR UPDATE OF b SKIP LOCKED
)
SELECT coalesce((SELECT array_agg(customer_id) FROM locked), '{}'),
    (SELECT count(*) FROM partners), (SELECT coalesce(sum(calls), 0)::bigint FROM partners)
"""

# A call that is quarantined again keeps its row; one that was released and is settled now says so there.
_POST = """
WITH {rated}
, charged AS (
    INSERT INTO billing_ledgerentry (
        key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
        description, rate_id, billed_seconds, run_id, reason, entered_by
    )
    SELECT call_key, customer_id, 'call', -price, currency, started_at, booked_month, 1,
        direction || ' call, ' || CASE direction WHEN 'inbound' THEN from_number ELSE to_number END
            || CASE destination WHEN '' THEN '' ELSE ', ' || destination END,
        rate_id, billed_seconds, %(run)s, '', ''
    FROM rated WHERE outcome = 'charge' ORDER BY customer_id
), freed AS (
    INSERT INTO billing_freecall (call_key, customer_id, reason, rate_id, billed_seconds, run_id)
    SELECT call_key, customer_id, reason, rate_id, billed_seconds, %(run)s FROM rated WHERE outcome = 'free'
), quarantined AS (
    INSERT INTO billing_quarantinedcall (
        call_key, content_hash, reason, detail, raw, state, customer_id, dismissed_by, dismissed_because
    )
    SELECT call_key, content_hash, reason, '', '', 'waiting', customer_id, '', ''
    FROM rated WHERE outcome = 'quarantine'
    ON CONFLICT (call_key, content_hash) DO UPDATE SET state = 'waiting', reason = excluded.reason, detail = ''
), settled AS (
    UPDATE billing_quarantinedcall q SET state = 'settled'
    FROM rated r
    WHERE r.outcome IN ('charge', 'free')
      AND q.call_key = r.call_key AND q.content_hash = r.content_hash AND q.state = 'released'
), progress AS (
    INSERT INTO billing_batchprogress (batch_id, outcome_count)
    SELECT batch_id, count(*) FROM rated WHERE outcome IS NOT NULL GROUP BY batch_id
)
SELECT outcome, currency, count(*), sum(price) FILTER (WHERE outcome = 'charge')
FROM rated GROUP BY outcome, currency
"""
