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
    `was_no_fall`: without the charges that were corrected since, the balance would not have been below the threshold.
    """

    times: int = 1
    is_told_elsewhere: bool = False
    was_no_fall: bool = False

    @property
    def is_right(self) -> bool:
        """Whether the mail was one too many, rather than wrong. Where it was both, that it was wrong is graver."""
        return (self.times > 1 or self.is_told_elsewhere) and not self.was_no_fall


def copies_of(ids: Iterable[int]) -> dict[int, Copies]:
    """By the id of the mail. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_COPIES, [list(ids)])
        return {pk: Copies(*found) for pk, *found in cursor.fetchall()}


# Falls by the set: each mail for itself would ask all mails of its customer.
_COPIES = f"""
WITH asked AS MATERIALIZED (
    SELECT id, kind, customer_id, recipient_hash, episode_id, order_id
    FROM notifications_notificationlog WHERE id = ANY(%s)
), stays AS (
    SELECT episode_id, kind, recipient_hash, min(id) AS first_id, max(id) AS last_id
    FROM notifications_notificationlog
    WHERE episode_id IN (SELECT episode_id FROM asked) AND state IN ('sent', 'uncertain') AND NOT is_errant
    GROUP BY 1, 2, 3
)
SELECT n.id, greatest(1, handed.times), coalesce(stays.first_id <> n.id OR stays.last_id <> n.id, false),
    coalesce(e.opened_balance + corrected.amount >= e.opened_threshold, false)
FROM asked n {HANDED_OVER} LEFT JOIN stays USING (episode_id, kind, recipient_hash)
LEFT JOIN billing_episode e ON e.id = n.episode_id
LEFT JOIN LATERAL (
    -- Taken back since, and what was charged in its place. By the index that has no charges.
    SELECT sum(reversal.amount + coalesce(instead.amount, 0)) AS amount
    FROM billing_ledgerentry reversal
    JOIN billing_ledgerentry charge ON charge.key = reversal.reverses
    LEFT JOIN billing_ledgerentry instead ON instead.key =
        regexp_replace(charge.key, '#[0-9]+$', '') || '#' || (charge.charge_number + 1)
    WHERE reversal.customer_id = n.customer_id AND reversal.kind = 'reversal'
      AND NOT reversal.kind IN ('call', 'recurring', 'one_off')
      AND reversal.posted_at > e.opened_at AND charge.posted_at <= e.opened_at
) corrected ON true
"""  # noqa: S608 - words of ours
