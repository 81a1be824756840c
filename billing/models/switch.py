from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Process(models.TextChoices):
    """What can be halted. "Billing" is calls and items together."""

    CALLS = "calls"
    ITEMS = "items"
    NOTIFICATIONS = "notifications"


class HaltCause(models.TextChoices):
    STAFF = "staff"
    BREAKER = "breaker"


class ProcessSwitch(models.Model):
    """Whether a process is halted for everyone (no partner) or for one partner, by one cause.

    A process works when no cause is left, for everyone or for its partner. No row: never halted.
    """

    process = models.CharField(max_length=16, choices=Process)
    partner = models.ForeignKey("billing.Partner", on_delete=models.PROTECT, null=True, related_name="switches")
    cause = models.CharField(max_length=8, choices=HaltCause, default=HaltCause.STAFF)
    is_halted = models.BooleanField()
    since = models.DateTimeField(db_default=Now())
    reason = models.TextField()
    changed_by = models.TextField()

    class Meta:
        verbose_name_plural = "process switches"
        permissions = [("halt_process", "Can halt processes"), ("resume_process", "Can resume processes")]
        constraints = [
            models.UniqueConstraint(
                fields=["process", "partner", "cause"],
                nulls_distinct=False,
                name="one_switch_per_process_partner_and_cause",
            ),
            models.CheckConstraint(condition=Q(process__in=Process.values), name="process_is_known"),
            models.CheckConstraint(condition=Q(cause__in=HaltCause.values), name="halt_cause_is_known"),
            models.CheckConstraint(condition=~Q(reason=""), name="switching_needs_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.process} {'halted' if self.is_halted else 'working'}"


class SwitchHistory(models.Model):
    """Who halted or resumed what, when and why. Written by the switch's trigger; append-only."""

    process = models.CharField(max_length=16, choices=Process)
    partner = models.ForeignKey("billing.Partner", on_delete=models.PROTECT, null=True, related_name="+")
    cause = models.CharField(max_length=8, choices=HaltCause)
    is_halted = models.BooleanField()
    changed_at = models.DateTimeField(db_default=Now())
    reason = models.TextField()
    changed_by = models.TextField()

    class Meta:
        verbose_name = "change of a switch"
        verbose_name_plural = "changes of switches"
        indexes = [
            models.Index(F("changed_at").desc(), name="latest_switch_changes"),
            models.Index(F("changed_by"), F("id").desc(), name="switch_changes_by_person"),
        ]

    def __str__(self) -> str:
        return f"{self.process} {'halted' if self.is_halted else 'resumed'} by {self.changed_by}"
