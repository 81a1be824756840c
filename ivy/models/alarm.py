from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Alarm(models.Model):
    """Something that staff were alarmed of: what, since when, and when it was well again. Written by `ivy.alarms`."""

    key = models.CharField(max_length=60)
    words = models.TextField(help_text="What is wrong, whom it affects, what to do.")
    raised_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now(), help_text="When it was found so last.")
    cleared_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)
    all_clear_mailed_at = models.DateTimeField(null=True)
    mail_tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(cleared_at__isnull=True), name="one_standing_alarm_per_key"
            )
        ]

    def __str__(self) -> str:
        return self.key
