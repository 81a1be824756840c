"""Which falls count as told of: those of which a mail went out, or is known to have arrived; and what is still true."""

from collections.abc import Iterable

from django.db import connection

from notifications import kinds

TELLING = [kind.name for kind in kinds.KINDS.values() if kind.tells]


def count_as_told(ids: Iterable[int]) -> int:
    """The falls of these mails, and of those that they cover, are told of from now on; how many were not before."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH arrived AS (
                SELECT id, episode_id FROM notifications_notificationlog WHERE id = ANY(%s) AND kind = ANY(%s)
            ), fall AS (
                SELECT episode_id FROM arrived
                UNION SELECT c.episode_id FROM arrived a
                    JOIN notifications_notificationlog c ON c.covered_by_id = a.id AND c.because = 'covered'
            )
            UPDATE billing_episode e SET told_at = statement_timestamp()
            FROM fall WHERE e.id = fall.episode_id AND e.told_at IS NULL AND e.closed_at IS NULL
            """,
            [list(ids), TELLING],
        )
        return cursor.rowcount


def still_true(ids: Iterable[int]) -> set[int]:
    """Those of the mails that say what is so: the fall goes on, the customer is not closed.

    A suspended customer's goes out once the customer is active again, like any that waits. So does one about a fall
    that another recipient was told of, and that is neither below the threshold nor over: it may fall again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT n.id FROM notifications_notificationlog n
            JOIN billing_customer cu ON cu.id = n.customer_id
            JOIN billing_customerbalance b ON b.customer_id = cu.id
            LEFT JOIN billing_episode e ON e.id = n.episode_id
            LEFT JOIN billing_balancealert a ON a.id = e.alert_id
            WHERE n.id = ANY(%s) AND (
                n.kind = 'apology'
                OR (cu.status <> 'closed' AND (
                    n.kind <> ALL(%s)
                    OR (e.closed_at IS NULL AND (b.balance < a.threshold
                                                 OR (e.told_at IS NOT NULL AND n.kind = ANY(%s))))
                ))
            )
            """,
            [list(ids), [kind.name for kind in kinds.KINDS.values() if kind.needs_the_fall], TELLING],
        )
        return {row[0] for row in cursor.fetchall()}
