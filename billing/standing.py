"""Where a partner's customers stand: who has enough, who is low, whose balance is used up."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from billing.batches import open_batches

LISTED = 10


@dataclass(frozen=True)
class Standing:
    """A customer that is low or exhausted. `name` is theirs, `balance` in their currency."""

    account: str
    name: str
    balance: Decimal
    currency: str


@dataclass(frozen=True)
class Standings:
    """How many customers of a partner are in which state, closed ones apart, and those who are worst off.

    Low: below an active threshold of theirs. Exhausted: below minus their credit limit, however low their thresholds.
    """

    fine: int
    low: int
    exhausted: int
    closed: int
    lowest: tuple[Standing, ...]
    most_exhausted: tuple[Standing, ...]


def of_customers(partner_id: int, *, listed: int = LISTED) -> Standings:
    """Judge every customer of the partner by the balance it has now; one query, about 3 µs a customer."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDINGS, {"partner": partner_id, "listed": listed})
        rows = cursor.fetchall()
    counts = {state: count for what, state, count, *_ in rows if what == "count"}
    worst = [(state, Standing(*row)) for what, state, _, *row in rows if what == "one"]
    return Standings(
        fine=counts.get("fine", 0),
        low=counts.get("low", 0),
        exhausted=counts.get("exhausted", 0),
        closed=counts.get("closed", 0),
        lowest=tuple(one for state, one in worst if state == "low"),
        most_exhausted=tuple(one for state, one in worst if state == "exhausted"),
    )


_STANDINGS = """
WITH customer AS MATERIALIZED (
    SELECT cu.id, cu.credit_limit, b.balance, CASE
        WHEN cu.status = 'closed' THEN 'closed'
        WHEN b.balance < -cu.credit_limit THEN 'exhausted'
        WHEN EXISTS (
            SELECT FROM billing_balancealert a
            WHERE a.customer_id = cu.id AND a.kind = 'low_balance' AND a.is_active AND b.balance < a.threshold
        ) THEN 'low'
        ELSE 'fine' END AS state
    FROM billing_customer cu JOIN billing_customerbalance b ON b.customer_id = cu.id
    WHERE cu.partner_id = %(partner)s
), worst AS (
    (SELECT * FROM customer WHERE state = 'low' ORDER BY balance + credit_limit, id LIMIT %(listed)s)
    UNION ALL
    (SELECT * FROM customer WHERE state = 'exhausted' ORDER BY balance + credit_limit, id LIMIT %(listed)s)
)
SELECT 'count', state, count(*), NULL, NULL, NULL, NULL FROM customer GROUP BY state
UNION ALL
(SELECT 'one', w.state, 0, cu.account, cu.name, w.balance, cu.currency
 FROM worst w JOIN billing_customer cu ON cu.id = w.id ORDER BY w.balance + w.credit_limit, w.id)
"""


# Billed through ------------------------------------------------------------------------------------------------------

COUNTED_CALLS = 20_000
"""Of so many pending calls the oldest is looked for one by one; of more, by the hour in which it began."""


@dataclass(frozen=True)
class BilledThrough:
    """Up to when a partner's calls are billed: what began later may still be missing.

    `at` is None while nothing was ever delivered. `is_waiting`: calls of theirs lie here unbilled since then; else it
    is the last delivery of `source`, the one of theirs that delivered longest ago.
    """

    at: datetime | None
    is_waiting: bool = False
    source: str = ""


def sources_of(partner_id: int) -> list[int]:
    """The sources, retired ones apart, that delivered the last call of any of the partner's customers.

    One step in an index for each customer: 20,000 take some 60 ms, and the answer hardly ever changes.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SOURCES, [partner_id])
        return [source for (source,) in cursor.fetchall()]


def billed_through(partner_id: int, *, sources: list[int], counted: int = COUNTED_CALLS) -> BilledThrough:
    """The least over these sources of their last delivery, or the start of the oldest call that is still pending.

    Where more than `counted` calls are pending it may be an hour earlier than it need, and never later.
    """
    batches = open_batches()
    with connection.cursor() as cursor:
        cursor.execute(_LAST_DELIVERY, {"sources": sources})
        delivered = cursor.fetchone()
        oldest = None
        if batches:
            cursor.execute("SELECT sum(call_count) FROM billing_arrivalbatch WHERE id = ANY(%s)", [batches])
            is_exact = cursor.fetchone()[0] <= counted
            cursor.execute(
                _OLDEST_CALL if is_exact else _OLDEST_HOUR,
                {"partner": partner_id, "batches": batches, "sources": sources},
            )
            (oldest,) = cursor.fetchone()
    if oldest is not None and (delivered is None or oldest < delivered[0]):
        return BilledThrough(oldest, is_waiting=True)
    return BilledThrough(delivered[0], source=delivered[1]) if delivered else BilledThrough(None)


_SOURCES = """
SELECT DISTINCT last.source_id
FROM billing_customer cu
CROSS JOIN LATERAL (
    SELECT c.source_id FROM billing_callrecord c WHERE c.customer_id = cu.id ORDER BY c.started_at DESC LIMIT 1
) last
JOIN billing_source s ON s.id = last.source_id AND NOT s.is_retired
WHERE cu.partner_id = %s
"""
# A delivery that broke off counts up to what was stored of it.
_LAST_DELIVERY = """
SELECT last.at, s.name
FROM billing_source s
CROSS JOIN LATERAL (
    SELECT max(coalesce(d.finished_at, d.last_stored_at)) AS at
    FROM (SELECT * FROM billing_delivery WHERE source_id = s.id ORDER BY started_at DESC LIMIT 20) d
) last
WHERE s.id = ANY(%(sources)s::bigint[]) AND last.at IS NOT NULL
ORDER BY last.at, s.name LIMIT 1
"""
_OLDEST_CALL = """
SELECT min(p.started_at)
FROM billing_pendingcall p JOIN billing_customer cu ON cu.id = p.customer_id
WHERE p.batch_id = ANY(%(batches)s::bigint[]) AND cu.partner_id = %(partner)s
"""
# Those of other partners and those that are billed already are among them: it may be earlier than it need, never later.
_OLDEST_HOUR = """
SELECT least(
    (SELECT min(hour) FROM billing_callsbyhour
     WHERE source_id = ANY(%(sources)s::bigint[]) AND batch_id = ANY(%(batches)s::bigint[])),
    (SELECT min(c.started_at)
     FROM billing_quarantinedcall q JOIN billing_customer cu ON cu.id = q.customer_id
     JOIN billing_callrecord c ON c.content_hash = q.content_hash
     WHERE q.release_batch_id = ANY(%(batches)s::bigint[]) AND q.state = 'released' AND cu.partner_id = %(partner)s)
)
"""
