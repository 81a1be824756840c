"""What was done to mails besides sending them, line by line: by staff, by evidence, by the breaker."""

from collections.abc import Iterable

from notifications.models import NotificationHistory, NotificationLog, StaffOrder, State


def note(
    logs: Iterable[NotificationLog], *, by: str, verb: str, reason: str, to: State, order: StaffOrder | None = None
) -> None:
    """Keep, in the transaction of the change, what is done to these mails. To be called before their state changes."""
    NotificationHistory.objects.bulk_create(
        NotificationHistory(
            notification=log, by=by, verb=verb, reason=reason, from_state=log.state, to_state=to, order=order
        )
        for log in logs
    )
