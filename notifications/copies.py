"""How often mails were handed over, and whether an errant one was only too much: what it says is right all the same."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

# Of the mail `n`. Only an order lets a mail be handed over a second time.
HANDED_OVER = """
LEFT JOIN LATERAL (
    SELECT count(*) AS times, min(t.began_at) AS first_at, max(t.began_at) AS last_at
    FROM notifications_deliveryattempt t
    WHERE n.order_id IS NOT NULL AND t.notification_id = n.id AND t.outcome IN ('open', 'accepted', 'unknown')
) handed ON true
"""


@dataclass(frozen=True)
class Copies:
    """How often a mail was handed over, perhaps in vain; `is_told_elsewhere`: another mail says the same, and stays.

    That is one of the same kind about the same fall to the same recipient, taken or perhaps taken, and not errant.
    """

    times: int = 1
    is_told_elsewhere: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the mail was one too many, rather than wrong."""
        return self.times > 1 or self.is_told_elsewhere


def copies_of(ids: Iterable[int]) -> dict[int, Copies]:
    """By the id of the mail. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_COPIES, [list(ids)])
        return {pk: Copies(times, elsewhere) for pk, times, elsewhere in cursor.fetchall()}


_COPIES = f"""
SELECT n.id, greatest(1, handed.times), EXISTS (
    SELECT FROM notifications_notificationlog o
    WHERE o.customer_id = n.customer_id AND o.kind = n.kind AND o.recipient_hash = n.recipient_hash
      AND o.episode_id = n.episode_id AND o.id <> n.id AND o.state IN ('sent', 'uncertain') AND NOT o.is_errant
)
FROM notifications_notificationlog n {HANDED_OVER} WHERE n.id = ANY(%s)
"""  # noqa: S608 - words of ours
