"""Which falls count as told of: those of which a mail went out, or is known to have arrived."""

from collections.abc import Iterable

from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Episode
from notifications import kinds
from notifications.models import Because, NotificationLog

TELLING = [kind.name for kind in kinds.KINDS.values() if kind.tells]


def count_as_told(logs: Iterable[NotificationLog]) -> int:
    """The falls of these mails, and of those that they cover, are told of from now on; how many were not before."""
    arrived = [log.pk for log in logs if log.kind in TELLING]
    falls = NotificationLog.objects.filter(
        Q(pk__in=arrived) | Q(covered_by__in=arrived, because=Because.COVERED)
    ).values("episode")
    return Episode.objects.filter(pk__in=falls, told_at__isnull=True, closed_at__isnull=True).update(told_at=Now())
