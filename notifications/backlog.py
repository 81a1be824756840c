"""What waits on the notification side: mails by state, since when the oldest is owed, what staff must look at."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min

from notifications import breaker
from notifications.models import NotificationLog, State

OPEN_STATES = (State.PENDING, State.CLAIMED, State.SENDING, State.UNCERTAIN, State.HELD, State.FAILED)


@dataclass(frozen=True)
class Backlog:
    """Mails in each unsettled state, and since when the oldest is owed. `tripped`: why the breaker tripped."""

    counts: dict[str, int]
    oldest_owed_at: datetime | None
    tripped: str


def backlog() -> Backlog:
    """What is waiting now. Goes by the states that are not settled, so that it is quick whatever the history."""
    rows = NotificationLog.objects.filter(state__in=OPEN_STATES).values("state").annotate(count=Count("pk"))
    counts = {row["state"]: row["count"] for row in rows}
    oldest = NotificationLog.objects.filter(state=State.PENDING).aggregate(at=Min("created_at"))["at"]
    trip = breaker.open_trip()
    return Backlog(
        {state.value: counts.get(state.value, 0) for state in OPEN_STATES}, oldest, trip.reason if trip else ""
    )
