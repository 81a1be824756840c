"""What the machinery put right by itself: noted, so that staff hear of it although it is well again by then."""

import socket
from datetime import timedelta

from django.db.models.functions import Now

from ivy.models import Repair

KEPT_FOR = timedelta(days=30)


def note(part: Repair.Part, what: str) -> None:
    """Keep that this was wrong, and put right, just now."""
    Repair.objects.create(part=part, what=what, host=socket.gethostname())


def latest(part: Repair.Part, *, within: timedelta) -> list[Repair]:
    """What was put right of this part of the machinery within that time, the oldest first."""
    return list(Repair.objects.filter(part=part, at__gt=Now() - within).order_by("at", "pk"))


def forget() -> int:
    """Delete what is older than 30 days; how many. May be repeated."""
    return Repair.objects.filter(at__lt=Now() - KEPT_FOR).delete()[0]
