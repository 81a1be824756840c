"""What every page of the admin says while an alarm stands."""

from typing import Any

from django.db.models import Count, Window
from django.template import Context, Library
from django.utils import timezone

from ivy.alarms import clears_at
from ivy.models import Alarm

register = Library()


@register.inclusion_tag("admin/alarm_banner.html", takes_context=True)
def alarm_banner(context: Context) -> dict[str, Any]:
    """The alarm that has stood longest, in words, and how many more there are. One query, and none for strangers."""
    user = getattr(context.get("request"), "user", None)
    if user is None or not (user.is_active and user.is_staff):
        return {}
    alarm = Alarm.objects.standing().annotate(standing_count=Window(Count("pk"))).first()
    if alarm is None:
        return {}
    return {
        "alarm": alarm,
        "over_at": clears_at(alarm, now=timezone.now()),
        "more": alarm.standing_count - 1,
        "may_see_all": user.has_perm("ivy.view_alarm"),
    }
