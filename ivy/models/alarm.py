from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class AlarmQuerySet(models.QuerySet["Alarm"]):
    """Questions to the alarms."""

    def standing(self) -> "AlarmQuerySet":
        """Those that were not cleared: first what is wrong now, the longest first, then what is only just well."""
        return self.filter(cleared_at=None).order_by(models.F("well_since").desc(nulls_first=True), "since", "pk")


class Alarm(models.Model):
    """A trouble that staff were alarmed of, from the look that found it to the all-clear. Written by `ivy.alarms`.

    Well since `well_since`, it still stands until it was well for a calm time: what comes back by then is the same
    alarm. `flap_count`: how often it came back within an hour, also from the alarm before.
    """

    key = models.CharField(max_length=200, help_text="Names the trouble.")
    wrong = models.TextField(help_text="What is wrong, as it was found last.")
    affects = models.TextField(blank=True, db_default="", help_text="Whom it affects.")
    todo = models.TextField("what to do", blank=True, db_default="")
    since = models.DateTimeField(db_default=Now(), help_text="When the trouble began, as far as the data tell.")
    raised_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField("last seen at", db_default=Now(), help_text="When it was found so last.")
    well_since = models.DateTimeField(null=True, help_text="When it was found well; empty while it is wrong.")
    flap_count = models.PositiveIntegerField("came back", db_default=0, help_text="How often, within an hour each.")
    came_back_at = models.DateTimeField(null=True)
    reminder_count = models.PositiveIntegerField("reminders", db_default=0)
    next_reminder_at = models.DateTimeField(db_default=Now() + timedelta(hours=4))
    cleared_at = models.DateTimeField(null=True)

    objects = AlarmQuerySet.as_manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(cleared_at__isnull=True), name="one_standing_alarm_per_key"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["key", "-cleared_at"], name="alarms_by_key"),
            models.Index(fields=["since"], condition=models.Q(cleared_at__isnull=True), name="standing_alarms"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def words(self) -> str:
        """All of it in one paragraph."""
        return " ".join(filter(None, [self.wrong, self.affects, self.todo]))

    @property
    def page(self) -> str:
        """The heading in docs/runbook.md that tells of it."""
        return self.key.partition(":")[0]

    @property
    def link(self) -> str:
        """The address of that page."""
        return f"{settings.SITE_URL}/admin/runbook/#{self.page}"
