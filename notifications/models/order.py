from django.db import models
from django.db.models.functions import Now


class Verb(models.TextChoices):
    """What is done to a mail by order of staff or upon evidence."""

    APPROVE = "approve"
    RETRY = "retry"
    RESEND = "resend"
    DELIVERED = "delivered"
    SUPPRESS = "suppress"
    ERRANT = "errant"
    APOLOGISE = "apologise"
    RELEASE = "release", "release after a reset of the breaker"


class StaffOrder(models.Model):
    """A named member of staff ordered something of so many mails. Append-only.

    Mails that go out by an order do not count towards the breaker's limits: their budget is `count`.
    """

    verb = models.CharField(max_length=12, choices=Verb)
    by = models.TextField()
    reason = models.TextField()
    count = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=~models.Q(reason=""), name="orders_need_a_reason")]
        indexes = [models.Index(models.F("by"), models.F("id").desc(), name="orders_of_a_person")]

    def __str__(self) -> str:
        return f"{self.verb} by {self.by}"


class NotificationHistory(models.Model):
    """What was done to a mail besides sending it: by staff, by evidence, by the breaker. Append-only."""

    notification = models.ForeignKey("notifications.NotificationLog", models.PROTECT, related_name="history")
    at = models.DateTimeField(db_default=Now())
    by = models.TextField(help_text="A person, or the part of Ivy that found the evidence.")
    verb = models.CharField(max_length=32)
    reason = models.TextField()
    from_state = models.CharField(max_length=10)
    to_state = models.CharField(max_length=10)
    order = models.ForeignKey(StaffOrder, models.PROTECT, null=True, related_name="history")

    class Meta:
        verbose_name_plural = "notification history"

    def __str__(self) -> str:
        return f"{self.verb} by {self.by}"
