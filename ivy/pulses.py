"""Signs of life, kept in PostgreSQL because caches forget, and dated by its clock because machines disagree."""

import os
import socket
from datetime import datetime, timedelta

from django.db import connection
from django.db.models.functions import Now

from ivy.models import Pulse

# What beats. Work has a pulse per poker: with one for both, tick's own pokes would hide that the queue is dead.
# Notifications have one more, for a pass that came to its end.
BILLING_CYCLE = "billing-cycle"
BILLING_CYCLE_BY_TICK = "billing-cycle-by-tick"
QUEUE_CANARY = "queue-canary"
NOTIFICATIONS = "notifications"
NOTIFICATIONS_BY_TICK = "notifications-by-tick"
NOTIFICATIONS_DONE = "notifications-done"
HOUSEKEEPING = "housekeeping"
TICK = "tick"
ALARMS = "alarms"  # somebody looked at everything, and noted it
WATCH_BEGAN = "watch-began"  # when somebody began to look for alarms, after a time in which nobody did


def beat(name: str) -> None:
    """Note that `name` is alive now, in this process."""
    Pulse.objects.bulk_create(
        [Pulse(name=name, beaten_at=Now(), host=socket.gethostname(), pid=os.getpid())],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["beaten_at", "host", "pid"],
    )


def last_beats(*names: str) -> dict[str, datetime]:
    """When each of `names` beat last; those that never did are left out."""
    return dict(Pulse.objects.filter(name__in=names).values_list("name", "beaten_at"))


def database_now() -> datetime:
    """The time that beats are dated by."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone()
    return now


def silent_since(
    *names: str, longer_than: timedelta, watched_since: datetime | None = None
) -> dict[str, datetime | None]:
    """Those of `names` that have not beaten for `longer_than`, with their last beat (None: never).

    Nobody is called silent before they were watched that long: give `watched_since` when the watcher has only just
    started, and all that it watches with it.
    """
    deadline = database_now() - longer_than
    if watched_since is not None and watched_since > deadline:
        return {}
    beats = last_beats(*names)
    return {name: beats.get(name) for name in names if name not in beats or beats[name] < deadline}
