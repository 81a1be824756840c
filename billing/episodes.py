"""Episodes: one fall below one alert's threshold. Judged on final balances, for exactly those customers who were noted.

Whatever changes a balance, an alert or a status notes the customer in `CustomerToJudge` (by trigger, in the same
transaction). Closing always runs. Opening waits, and the note stays, while the customer has pending calls or due items,
or while its calls or items are halted: a customer hears about the final balance, not about every step.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

SETTLE_DAYS = 7
CUSTOMERS_AT_A_TIME = 20_000


@dataclass(frozen=True)
class Judged:
    opened: int
    closed: int
    waiting: int


def judge(*, at: datetime, customer_ids: Iterable[int] | None = None) -> Judged:
    """Open and close episodes of the customers noted (or of those given); at business time `at`. Safe to repeat.

    Customers whose balance another transaction is changing just now are left for the next time.
    """
    opened = closed = waiting = 0
    after = 0
    only = None if customer_ids is None else list(customer_ids)
    while True:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            # In id order, and skipping: posting may hold some of them.
            cursor.execute(
                """
                SELECT j.customer_id FROM billing_customertojudge j JOIN billing_customerbalance b USING (customer_id)
                WHERE j.customer_id > %(after)s AND (%(only)s::bigint[] IS NULL OR j.customer_id = ANY(%(only)s))
                ORDER BY j.customer_id LIMIT %(limit)s FOR UPDATE OF j, b SKIP LOCKED
                """,
                {"after": after, "limit": CUSTOMERS_AT_A_TIME, "only": only},
            )
            customers = [row[0] for row in cursor.fetchall()]
            if not customers:
                return Judged(opened, closed, waiting)
            cursor.execute(_CLOSE, {"customers": customers, "at": at, "settle_days": SETTLE_DAYS})
            closed += cursor.fetchone()[0]
            cursor.execute(_OPEN, {"customers": customers, "at": at})
            opened_now, waiting_now = cursor.fetchone()
            opened += opened_now
            waiting += waiting_now
        after = customers[-1]


def judge_settling(*, at: datetime) -> int:
    """Close episodes that have been at or above their threshold for seven days; how many."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_episode e SET closed_at = statement_timestamp(), closed_balance = b.balance
            FROM billing_balancealert a JOIN billing_customerbalance b USING (customer_id)
            WHERE e.alert_id = a.id AND e.closed_at IS NULL AND b.balance >= a.threshold
              AND e.recovered_at <= %s::timestamptz - make_interval(days => %s)
            """,
            [at, SETTLE_DAYS],
        )
        return cursor.rowcount


def open_silently(customer_ids: Iterable[int]) -> int:
    """Give customers who come into Ivy below a threshold a silent episode; how many. They are never told of it.

    To be called in the transaction that creates the customers, after their alerts and opening balances.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_episode (alert_id, opened_business_at, opened_threshold, opened_balance, is_silent)
            SELECT a.id, now(), a.threshold, b.balance, true
            FROM unnest(%s::bigint[]) AS newcomer (customer_id)
            JOIN billing_balancealert a USING (customer_id) JOIN billing_customerbalance b USING (customer_id)
            WHERE a.is_active AND b.balance < a.threshold
            ON CONFLICT DO NOTHING
            """,
            [list(customer_ids)],
        )
        return cursor.rowcount


# Nobody told: closed at the threshold. Told: at threshold plus margin, or after some days at or above the threshold.
# An alert that was switched off has no fall to speak of any more.
_CLOSE = """
WITH judged AS (
    SELECT e.id, b.balance, a.threshold, a.is_active, e.told_at, e.recovered_at,
        a.threshold + coalesce(a.rearm_margin, greatest(abs(a.threshold) * 0.05, 1)) AS rearmed
    FROM billing_episode e
    JOIN billing_balancealert a ON a.id = e.alert_id
    JOIN billing_customerbalance b ON b.customer_id = a.customer_id
    WHERE e.closed_at IS NULL AND a.customer_id = ANY(%(customers)s)
), closed AS (
    UPDATE billing_episode e SET closed_at = statement_timestamp(), closed_balance = j.balance
    FROM judged j
    WHERE e.id = j.id AND (
        NOT j.is_active
        OR (j.told_at IS NULL AND j.balance >= j.threshold)
        OR (j.told_at IS NOT NULL AND j.balance >= j.rearmed)
        OR (j.balance >= j.threshold
            AND j.recovered_at <= %(at)s::timestamptz - make_interval(days => %(settle_days)s))
    )
    RETURNING e.id
), recovering AS (
    UPDATE billing_episode e
    SET recovered_at = CASE WHEN j.balance >= j.threshold THEN coalesce(j.recovered_at, %(at)s) END
    FROM judged j
    WHERE e.id = j.id AND e.id NOT IN (SELECT id FROM closed)
      AND (j.balance >= j.threshold) <> (j.recovered_at IS NOT NULL)
)
SELECT count(*) FROM closed
"""

# A customer is unsettled while something that is due may still change its balance. Items so far behind that no run
# charges them unasked do not count: the customer would never be told of anything.
HAS_PENDING_CALLS = """
    EXISTS (
        SELECT FROM billing_arrivalbatch ab JOIN billing_pendingcall pc ON pc.batch_id = ab.id
        WHERE ab.closed_at IS NULL AND pc.customer_id = cu.id
    )
"""

HAS_DUE_ITEMS = """
    EXISTS (
        SELECT FROM billing_billingitem i
        WHERE i.customer_id = cu.id AND i.next_due_on <= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date
          AND (i.kind = 'one_off'
               OR i.next_due_on >= (%(at)s::timestamptz AT TIME ZONE cu.timezone)::date - interval '13 months')
    )
"""

_IS_HALTED = """
    EXISTS (
        SELECT FROM billing_processswitch w
        WHERE w.is_halted AND w.process IN ('calls', 'items')
          AND (w.partner_id IS NULL OR w.partner_id = cu.partner_id)
    )
"""

_OPEN = """
WITH noted AS (
    SELECT cu.id, cu.status, b.balance, (__UNSETTLED__) AS is_unsettled
    FROM billing_customer cu JOIN billing_customerbalance b ON b.customer_id = cu.id
    WHERE cu.id = ANY(%(customers)s)
), opened AS (
    INSERT INTO billing_episode (alert_id, opened_business_at, opened_threshold, opened_balance, is_silent)
    SELECT a.id, %(at)s, a.threshold, n.balance, false
    FROM noted n JOIN billing_balancealert a ON a.customer_id = n.id
    WHERE a.is_active AND n.balance < a.threshold AND n.status = 'active' AND NOT n.is_unsettled
      AND NOT EXISTS (SELECT FROM billing_episode e WHERE e.alert_id = a.id AND e.closed_at IS NULL)
    RETURNING id
), settled AS (
    DELETE FROM billing_customertojudge j USING noted n WHERE j.customer_id = n.id AND NOT n.is_unsettled
)
SELECT (SELECT count(*) FROM opened), (SELECT count(*) FROM noted WHERE is_unsettled)
""".replace("__UNSETTLED__", f"{_IS_HALTED} OR {HAS_DUE_ITEMS} OR {HAS_PENDING_CALLS}")
