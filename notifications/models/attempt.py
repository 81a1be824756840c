from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from notifications.models.log import NotificationLog


class Phase(models.TextChoices):
    """How far a hand-over came. Up to DATA a failure is provably no delivery; from BODY on nobody knows."""

    CONNECT = "connect"
    GREETING = "greeting"
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    COMMIT = "commit", "before the point of no return"
    BODY = "body"
    REPLY = "reply"


class Outcome(models.TextChoices):
    OPEN = "open", "under way, or its worker was not heard of again"
    ACCEPTED = "accepted"
    DEFERRED = "deferred", "not handed over; tried again later"
    REFUSED = "refused"
    UNKNOWN = "unknown", "broke off after the body"


class DeliveryAttempt(models.Model):
    """One try to hand a mail to the server: how far it came, and what the server said. Ended, it never changes.

    `outcome` is OPEN from the point of no return until the answer is committed. `host`, `pid` and `process_started`
    name the worker, so that another can find out that it is dead.
    """

    notification = models.ForeignKey(NotificationLog, models.PROTECT, related_name="attempts", db_index=False)
    number = models.PositiveSmallIntegerField()
    token = models.BigIntegerField()
    host = models.TextField()
    pid = models.PositiveIntegerField()
    process_started = models.TextField()
    server = models.TextField(help_text="Host and port, or the backend.")
    began_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    phase = models.CharField(max_length=8, choices=Phase)
    outcome = models.CharField(max_length=8, choices=Outcome)
    code = models.PositiveSmallIntegerField(null=True, help_text="The server's reply code.")
    words = models.TextField(blank=True, default="", help_text="What the server said, or what broke.")
    has_journal = models.BooleanField(default=False, help_text="The journal was accepted as second recipient.")
    provider_id = models.TextField(blank=True, default="", help_text="A mail provider's own number of the message.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["notification", "number"], name="attempts_of_a_mail_are_numbered"),
            models.CheckConstraint(condition=Q(phase__in=Phase.values), name="attempt_phase_is_known"),
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="attempt_outcome_is_known"),
        ]
        indexes = [
            models.Index(F("provider_id"), condition=~Q(provider_id=""), name="attempts_by_provider_id"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.outcome}"
