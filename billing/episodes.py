"""Episodes: one fall below one alert's threshold. Judged on final balances, for exactly those customers who were noted.

Whatever changes a balance, an alert or a status notes the customer in `CustomerToJudge` (by trigger, in the same
transaction). Closing always runs. Opening waits, and the note stays, while the customer has pending calls or due items,
or while its calls or items are halted: a customer hears about the final balance, not about every step.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from billing.batches import open_batches
from billing.models import Episode, Partner, Process

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
            # Memory of what was looked up is of no use: each customer is looked up once.
            cursor.execute(
                "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_memoize', 'off', true)"
            )
            # In id order, and skipping: posting may hold some of them.
            cursor.execute(
                """
                SELECT array_agg(customer_id)::text, array_agg(balance)::text, count(*), max(customer_id) FROM (
                    SELECT j.customer_id, b.balance
                    FROM billing_customertojudge j JOIN billing_customerbalance b USING (customer_id)
                    WHERE j.customer_id > %(after)s AND (%(only)s::bigint[] IS NULL OR j.customer_id = ANY(%(only)s))
                    ORDER BY j.customer_id LIMIT %(limit)s FOR UPDATE OF j, b SKIP LOCKED
                ) noted
                """,
                {"after": after, "limit": CUSTOMERS_AT_A_TIME, "only": only},
            )
            # The arrays as PostgreSQL writes them: they only go back to it.
            customers, balances, count, last = cursor.fetchone()
            if not count:
                return Judged(opened, closed, waiting)
            judged = _judge(cursor, customers, balances, at)
            closed += judged.closed
            opened += judged.opened
            waiting += judged.waiting
        if count < CUSTOMERS_AT_A_TIME:
            return Judged(opened, closed, waiting)
        after = last


def judge_here(customer_id: int, *, at: datetime) -> Judged:
    """Judge one customer within the caller's transaction, which has the balance locked.

    For whoever does something only to see what would follow of it, and takes it all back.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT balance FROM billing_customerbalance WHERE customer_id = %s", [customer_id])
        (balance,) = cursor.fetchone()
        return _judge(cursor, f"{{{customer_id}}}", f"{{{balance}}}", at)


def _judge(cursor: CursorWrapper, customers: str, balances: str, at: datetime) -> Judged:
    """Judge customers, whose balances are locked. Both arrays are written as PostgreSQL writes them."""
    batches = open_batches()
    # Where no batch is open nothing is pending, and planning to look for it would take longer than all else.
    pending = HAS_PENDING_CALLS if batches else "false"
    cursor.execute(
        _JUDGE.replace("__PENDING__", pending),
        {
            "customers": customers,
            "balances": balances,
            "at": at,
            "settle_days": SETTLE_DAYS,
            "open_batches": batches,
        },
    )
    closed, opened, waiting = cursor.fetchone()
    return Judged(opened, closed, waiting)


def judge_settling(*, at: datetime) -> int:
    """Close episodes that have been at or above their threshold for seven days; how many.

    Customers whose balance another transaction is changing just now are left for the next time: whoever judges a
    balance that falls must not take an episode that is being closed for one that goes on.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT e.id {_SETTLED} ORDER BY b.customer_id FOR UPDATE OF b SKIP LOCKED",
            {"at": at, "settle_days": SETTLE_DAYS},
        )
        settled = [pk for (pk,) in cursor.fetchall()]
        if not settled:
            return 0
        cursor.execute(
            f"""
            UPDATE billing_episode SET closed_at = statement_timestamp(), closed_balance = settled.balance
            FROM (SELECT e.id, b.balance {_SETTLED} AND e.id = ANY(%(settled)s)) settled
            WHERE billing_episode.id = settled.id AND closed_at IS NULL
            """,  # noqa: S608 - words of ours
            {"at": at, "settle_days": SETTLE_DAYS, "settled": settled},
        )
        return cursor.rowcount


_SETTLED = """
FROM billing_episode e
JOIN billing_balancealert a ON a.id = e.alert_id
JOIN billing_customerbalance b USING (customer_id)
WHERE e.closed_at IS NULL AND b.balance >= a.threshold
  AND e.recovered_at <= %(at)s::timestamptz - make_interval(days => %(settle_days)s)
"""


def close_recovered(episode_id: int) -> bool:
    """Close an episode that nobody was told of if its balance has recovered by now; whether it is closed.

    For whoever finds so just before telling the customer, in the transaction that gives that up. May be repeated.
    """
    with connection.cursor() as cursor:
        # The balance is not locked, and may fall meanwhile. The note keeps whoever judges it away until this is
        # committed, and lets the customer be judged then: else the fall would be taken for this one, and never be told
        # of. Before the episode, as judging locks them.
        note(cursor, episode_id)
        cursor.execute("SELECT FROM billing_episode WHERE id = %s FOR UPDATE", [episode_id])
        cursor.execute(
            """
            UPDATE billing_episode e SET closed_at = statement_timestamp(), closed_balance = b.balance
            FROM billing_balancealert a JOIN billing_customerbalance b USING (customer_id)
            WHERE e.id = %s AND a.id = e.alert_id AND e.closed_at IS NULL AND e.told_at IS NULL
              AND b.balance >= a.threshold
            """,
            [episode_id],
        )
        return Episode.objects.filter(pk=episode_id, closed_at__isnull=False).exists()


def note(cursor: CursorWrapper, episode_id: int) -> None:
    """Let the customer of this episode be judged once the transaction is committed, and not before."""
    cursor.execute(
        """
        INSERT INTO billing_customertojudge (customer_id)
        SELECT a.customer_id FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id WHERE e.id = %s
        ON CONFLICT (customer_id) DO UPDATE SET since = now()
        """,
        [episode_id],
    )


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


def falls_to_come(
    charges: Mapping[int, Decimal],
    unsettled: Collection[int] = (),
    *,
    at: datetime,
    processes: Collection[Process] = (),
    partner: Partner | None = None,
) -> list[int]:
    """The alerts whose episodes would open once these charges (by customer), and what was noted before, are judged.

    `processes`: what the charges are all of that is due, of everybody or of one partner. Customers of whom more is due,
    and the `unsettled`, have no final balance then and are left out. Writes nothing.
    """
    stays_due = ["a.customer_id = ANY(%(unsettled)s)"]
    for process, is_due in ((Process.CALLS, HAS_PENDING_CALLS), (Process.ITEMS, HAS_DUE_ITEMS)):
        if process not in processes:
            stays_due.append(is_due)
        elif partner is not None:
            stays_due.append(f"cu.partner_id <> %(partner)s AND {is_due}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT a.id
            FROM billing_balancealert a
            JOIN billing_customer cu ON cu.id = a.customer_id
            JOIN billing_customerbalance b ON b.customer_id = a.customer_id
            LEFT JOIN unnest(%(customers)s::bigint[], %(amounts)s::numeric[]) AS charged (customer_id, amount)
                ON charged.customer_id = a.customer_id
            WHERE a.is_active AND cu.status = 'active' AND b.balance - coalesce(charged.amount, 0) < a.threshold
              AND (charged.customer_id IS NOT NULL
                   OR a.customer_id IN (SELECT customer_id FROM billing_customertojudge))
              AND NOT EXISTS (SELECT FROM billing_episode e WHERE e.alert_id = a.id AND e.closed_at IS NULL)
              AND NOT ({" OR ".join(stays_due)})
            ORDER BY a.id
            """,  # noqa: S608 - conditions of ours
            {
                "customers": list(charges),
                "amounts": list(charges.values()),
                "unsettled": list(unsettled),
                "at": at,
                "partner": partner.pk if partner else None,
                "open_batches": open_batches(),
            },
        )
        return [alert_id for (alert_id,) in cursor.fetchall()]


# A customer is unsettled while something that is due may still change its balance. Items so far behind that no run
# charges them unasked do not count: the customer would never be told of anything.
HAS_PENDING_CALLS = """
    EXISTS (
        SELECT FROM billing_pendingcall pc
        WHERE pc.batch_id = ANY(%(open_batches)s::bigint[]) AND pc.customer_id = cu.id
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

# The open fall of each alert of the customers noted, if there is one. OFFSET 0 makes each look-up one by index: joined
# freely, the planner takes a table that was empty a moment ago for small, and reads all of it for every customer.
#
# Nobody told: closed at the threshold. Told: at threshold plus margin, or after some days at or above the threshold.
# An alert that was switched off has no fall to speak of any more. What is asked of the episode itself is asked in the
# UPDATE, of the row as it is once its lock is had: a sender may have told the customer in this very moment.
#
# Whether a balance is final is asked only of those who would be told; of anybody else the next charge makes a new note.
# NOT IN, not NOT EXISTS: the planner hashes it; the other it joins by nested loops, customers times customers.
_JUDGE = """
WITH noted AS MATERIALIZED (
    SELECT * FROM unnest(%(customers)s::bigint[], %(balances)s::numeric[]) AS n (customer_id, balance)
), fall AS MATERIALIZED (
    SELECT noted.customer_id, noted.balance, a.id AS alert_id, a.threshold, a.is_active, e.id AS episode_id,
        a.threshold + coalesce(a.rearm_margin, greatest(abs(a.threshold) * 0.05, 1)) AS rearmed
    FROM noted
    CROSS JOIN LATERAL (SELECT * FROM billing_balancealert WHERE customer_id = noted.customer_id OFFSET 0) a
    LEFT JOIN LATERAL (
        SELECT id FROM billing_episode WHERE alert_id = a.id AND closed_at IS NULL OFFSET 0
    ) e ON true
), changed AS (
    UPDATE billing_episode e SET
        closed_at = CASE WHEN __IS_OVER__ THEN statement_timestamp() END,
        closed_balance = CASE WHEN __IS_OVER__ THEN f.balance END,
        recovered_at = CASE WHEN f.balance >= f.threshold THEN coalesce(e.recovered_at, %(at)s) END
    FROM fall f
    WHERE e.id = f.episode_id AND e.closed_at IS NULL
      AND (__IS_OVER__ OR (f.balance >= f.threshold) <> (e.recovered_at IS NOT NULL))
    RETURNING e.closed_at
), opening AS MATERIALIZED (
    SELECT f.customer_id, f.alert_id, f.threshold, f.balance, (__UNSETTLED__) AS is_unsettled
    FROM fall f CROSS JOIN LATERAL (SELECT * FROM billing_customer WHERE id = f.customer_id OFFSET 0) cu
    WHERE f.episode_id IS NULL AND f.is_active AND f.balance < f.threshold AND cu.status = 'active'
), opened AS (
    INSERT INTO billing_episode (alert_id, opened_business_at, opened_threshold, opened_balance, is_silent)
    SELECT alert_id, %(at)s, threshold, balance, false FROM opening WHERE NOT is_unsettled
    RETURNING id
), settled AS (
    DELETE FROM billing_customertojudge j USING noted n
    WHERE j.customer_id = n.customer_id
      AND n.customer_id NOT IN (SELECT customer_id FROM opening WHERE is_unsettled)
)
SELECT (SELECT count(*) FROM changed WHERE closed_at IS NOT NULL), (SELECT count(*) FROM opened),
    (SELECT count(DISTINCT customer_id) FROM opening WHERE is_unsettled)
""".replace("__UNSETTLED__", f"{_IS_HALTED} OR {HAS_DUE_ITEMS} OR __PENDING__").replace(
    "__IS_OVER__",
    """(
        NOT f.is_active
        OR (e.told_at IS NULL AND f.balance >= f.threshold)
        OR (e.told_at IS NOT NULL AND f.balance >= f.rearmed)
        OR (f.balance >= f.threshold
            AND e.recovered_at <= %(at)s::timestamptz - make_interval(days => %(settle_days)s))
    )""",
)
