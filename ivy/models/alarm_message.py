from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from ivy.models.alarm import Alarm


class Event(models.TextChoices):
    """What staff are told of an alarm, in the order in which one mail tells them."""

    RAISED = "raised", "ALARM"
    REMINDER = "reminder", "STILL WRONG"
    CLEARED = "cleared", "ALL CLEAR"


class Channel(models.TextChoices):
    """The ways to tell them that may fail, and are tried again."""

    MAIL = "mail"
    WEBHOOK = "webhook"


class AlarmMessage(models.Model):
    """What staff are owed to hear of an alarm, by one channel; written with the change that it tells of.

    Owed while `sent_at` is empty and `next_try_at` is not; with neither, it was given up.
    """

    alarm = models.ForeignKey(Alarm, on_delete=models.PROTECT, related_name="messages")
    event = models.CharField(max_length=8, choices=Event)
    number = models.PositiveIntegerField(db_default=0, help_text="Which reminder; 0 for what there is only one of.")
    channel = models.CharField(max_length=7, choices=Channel)
    created_at = models.DateTimeField(db_default=Now())
    tries = models.PositiveIntegerField(db_default=0, help_text="Counted before each try.")
    tried_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True, db_default=Now())
    sent_at = models.DateTimeField(null=True)
    answer = models.TextField(blank=True, db_default="", help_text="What came of the last try.")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["alarm", "event", "number", "channel"], name="one_message_per_alarm_event_and_channel"
            )
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["channel", "next_try_at"], condition=models.Q(sent_at__isnull=True), name="messages_owed"
            ),
            models.Index(fields=["channel", "sent_at"], name="messages_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.alarm} {self.event}{f' {self.number}' if self.number else ''} by {self.channel}"
