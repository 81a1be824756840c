"""What was done to mails besides sending them, line by line: by staff, by evidence, by the breaker."""

from collections.abc import Iterable

from django.db import connection

from notifications.models import StaffOrder, State


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
