"""What was done to mails besides sending them, line by line: by staff, by evidence, by the breaker."""

from collections.abc import Iterable

from django.db import connection

from notifications.models import StaffOrder, State, Verb

PAST = {
    **dict.fromkeys(["approve", "release"], "let go"),
    "retry": "tried again",
    "resend": "sent again",
    "delivered": "marked as delivered",
    "suppress": "suppressed",
    "errant": "marked as errant",
    "apologise": "apologised for",
    "hold": "held back",
}
"""What was done to mails, by the verb that their history has."""


def note(ids: Iterable[int], *, by: str, verb: str, reason: str, to: State, order: StaffOrder | None = None) -> None:
    """Keep, in the transaction of the change, what is done to these mails. To be called before their state changes."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO notifications_notificationhistory
                (notification_id, by, verb, reason, from_state, to_state, order_id)
            SELECT id, %s, %s, %s, state, %s, %s FROM notifications_notificationlog WHERE id = ANY(%s) ORDER BY id
            """,
            [by, verb, reason, to, order.pk if order else None, list(ids)],
        )


def in_words(verb: str, by: str, reason: str) -> str:
    """What was done, by whom and why: `sent again by Bob: they say that nothing came`."""
    return f"{PAST.get(verb, verb)} by {by}: {reason}"


def of_order(order: StaffOrder | None, kind: str) -> str:
    """By which order a mail of this kind went out, or will; empty: by none."""
    if order is None:
        return ""
    if order.verb == Verb.APOLOGISE and kind == "apology":
        return f"ordered by {order.by}: {order.reason}"
    return in_words(order.verb, order.by, order.reason)
