"""Who may hand over which mail: claims with a lease and a fencing token, and what becomes of those that expire.

A claim is also what reserves a place within the breaker's hourly limit. So claimers come one at a time; what they do
takes some milliseconds, for fifty mails.
"""

from dataclasses import dataclass

from django.db import connection, transaction

from billing import prepared
from notifications import breaker
from notifications.models import Because, State

LOCK = 1_230_011
MAILS_AT_A_TIME = 50  # what is done once a claim is a good part of the work for a mail
CLAIM_SECONDS = 120
SENDING_MARGIN_SECONDS = 60


@dataclass(frozen=True)
class Claim:
    """A mail that this worker may hand over while the lease lasts and the token is the row's."""

    log_id: int
    partner_id: int
    token: int


def claim(*, limit: int = MAILS_AT_A_TIME, partners_halted: list[int] | None = None) -> list[Claim]:
    """Claim the mails that have waited longest; none are left, or none may go just now, when the answer is empty.

    Raises LimitReached when mails wait and the hour is full.
    """
    with transaction.atomic(durable=True):
        # A claim that a crash takes back would give its token out a second time, and fence nobody off.
        prepared.fetch(_ENTER, {"lock": LOCK})
        allowed = breaker.mails_allowed_now(limit)
        which = {"halted": partners_halted or []}
        rows = prepared.fetch(_CLAIM, {**which, "limit": limit, "allowed": allowed, "seconds": CLAIM_SECONDS})
        is_waiting = not rows and not allowed and prepared.fetch(_WAITING, which)[0][0]
    if is_waiting:
        raise LimitReached(breaker.hour_is_full())
    return [Claim(*row) for row in rows]


_ENTER = "SELECT set_config('synchronous_commit', 'on', true), pg_advisory_xact_lock(%(lock)s::integer, 0)"

_CLAIM = """
WITH waiting AS MATERIALIZED (
    SELECT id, order_id, row_number() OVER (PARTITION BY order_id IS NULL ORDER BY next_try_at, id) AS place
    FROM (
        SELECT n.id, n.order_id, n.next_try_at
        FROM notifications_notificationlog n JOIN billing_customer cu ON cu.id = n.customer_id
        WHERE n.state = 'pending' AND n.next_try_at <= statement_timestamp()
          AND NOT n.partner_id = ANY(%(halted)s::bigint[])
          AND (cu.status <> 'suspended' OR n.kind = 'apology')
        ORDER BY n.next_try_at, n.id LIMIT %(limit)s FOR UPDATE OF n SKIP LOCKED
    ) oldest
)
UPDATE notifications_notificationlog n SET
    state = 'claimed', token = nextval('notifications_claim_token'),
    lease_until = statement_timestamp() + make_interval(secs => %(seconds)s)
FROM waiting w
WHERE n.id = w.id AND (w.order_id IS NOT NULL OR w.place <= %(allowed)s)
RETURNING n.id, n.partner_id, n.token
"""

_WAITING = """
SELECT EXISTS (
    SELECT FROM notifications_notificationlog n JOIN billing_customer cu ON cu.id = n.customer_id
    WHERE n.state = 'pending' AND n.next_try_at <= statement_timestamp() AND n.order_id IS NULL
      AND NOT n.partner_id = ANY(%(halted)s::bigint[]) AND (cu.status <> 'suspended' OR n.kind = 'apology')
)
"""


class LimitReached(Exception):
    """Mails wait, and as many went out within the hour as are allowed."""

    def __init__(self, reached: breaker.Reached) -> None:
        self.reached = reached
        super().__init__(reached.reason)


def give_back(claims: list[Claim], *, detail: str = "", delay_seconds: int = 0) -> int:
    """Put claimed mails back untried, in their old places; how many. Those with a newer token are somebody else's."""
    if not claims:
        return 0
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE notifications_notificationlog n SET
                state = 'pending', token = NULL, lease_until = NULL,
                detail = CASE WHEN %(detail)s = '' THEN n.detail ELSE %(detail)s END,
                next_try_at = greatest(next_try_at, statement_timestamp() + make_interval(secs => %(delay)s))
            FROM unnest(%(ids)s::bigint[], %(tokens)s::bigint[]) AS mine (id, token)
            WHERE n.id = mine.id AND n.token = mine.token AND n.state = 'claimed'
            """,
            {
                "ids": [claim.log_id for claim in claims],
                "tokens": [claim.token for claim in claims],
                "detail": detail,
                "delay": delay_seconds,
            },
        )
        return cursor.rowcount


def expire() -> int:
    """Leases that ran out: a claimed mail is owed again, one being handed over is uncertain. How many are uncertain."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH expired AS MATERIALIZED (
                SELECT id, state FROM notifications_notificationlog
                WHERE state IN ('claimed', 'sending') AND lease_until < statement_timestamp()
                ORDER BY id FOR UPDATE SKIP LOCKED
            ), changed AS (
                UPDATE notifications_notificationlog n SET
                    state = CASE e.state WHEN 'claimed' THEN %(pending)s ELSE %(uncertain)s END,
                    because = CASE e.state WHEN 'claimed' THEN n.because ELSE %(because)s END,
                    detail = CASE e.state WHEN 'claimed' THEN 'its worker was not heard of again, before the hand-over'
                        ELSE 'its worker was not heard of again, in the middle of the hand-over' END,
                    -- The token stays with one that is uncertain: a late answer of its worker still counts.
                    token = CASE e.state WHEN 'claimed' THEN NULL ELSE n.token END, lease_until = NULL
                FROM expired e WHERE n.id = e.id RETURNING n.state
            )
            SELECT count(*) FILTER (WHERE state = %(uncertain)s) FROM changed
            """,
            {"pending": State.PENDING, "uncertain": State.UNCERTAIN, "because": Because.LEASE_EXPIRED},
        )
        return int(cursor.fetchone()[0])
