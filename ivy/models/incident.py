from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper


class IncidentState(models.TextChoices):
    """How far staff are. In any order; resolved ends it, until it is reopened."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


class Part(models.TextChoices):
    """What an incident affects, in the words that partners read."""

    CALLS = "calls", "billing of calls"
    ITEMS = "items", "billing of items"
    NOTIFICATIONS = "notifications", "mails to customers"
    DELIVERIES = "deliveries", "deliveries of call records"
    PORTAL = "portal", "portal"
    ADMIN = "admin", "staff pages"


class Audience(models.TextChoices):
    STAFF = "staff", "staff only"
    PARTNERS = "partners", "partners"
    EVERYBODY = "everybody", "everybody"


class Incident(models.Model):
    """Something went wrong, told from its beginning to its end. Written by the verbs of `ivy.incidents` alone.

    `state`, `affects` and `shown_to` are those of its last update.
    """

    title = models.CharField(
        max_length=200, help_text="What is wrong, in a few words. Partners read it if it is shown to them."
    )
    state = models.CharField(max_length=16, choices=IncidentState, default=IncidentState.INVESTIGATING)
    affects = ArrayField(models.CharField(max_length=16, choices=Part), help_text="Which parts of Ivy.")
    shown_to = models.CharField(max_length=16, choices=Audience, default=Audience.STAFF)
    began_at = models.DateTimeField("since", db_default=Now(), help_text="When the trouble began, as far as is known.")
    opened_at = models.DateTimeField(db_default=Now())
    opened_by = models.TextField()
    resolved_at = models.DateTimeField(null=True)
    post_mortem = models.TextField(
        blank=True, default="", help_text="What happened, why, and what keeps it from happening again."
    )
    post_mortem_is_shown = models.BooleanField(
        default=False, db_default=False, help_text="Whether those to whom the incident is shown read it, too."
    )
    post_mortem_at = models.DateTimeField(null=True)
    post_mortem_by = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                Upper("title"), condition=Q(resolved_at__isnull=True), name="one_open_incident_of_a_title"
            ),
            models.CheckConstraint(condition=Q(state__in=IncidentState.values), name="incident_state_is_known"),
            models.CheckConstraint(condition=Q(shown_to__in=Audience.values), name="incident_audience_is_known"),
            models.CheckConstraint(
                condition=Q(affects__contained_by=Part.values, affects__len__gte=1), name="incident_affects_known_parts"
            ),
            models.CheckConstraint(condition=~Q(title=""), name="incident_has_a_title"),
            models.CheckConstraint(
                condition=Q(state="resolved", resolved_at__isnull=False)
                | (~Q(state="resolved") & Q(resolved_at__isnull=True)),
                name="incidents_have_ended_once_resolved",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class IncidentUpdate(models.Model):
    """What was found or done, by whom, and how things stood from then on. Append-only, by trigger."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="updates")
    at = models.DateTimeField(db_default=Now())
    by = models.TextField()
    state = models.CharField(max_length=16, choices=IncidentState)
    text = models.TextField()
    is_shown = models.BooleanField(help_text="Whether those to whom the incident is shown read it, too.")
    is_reopening = models.BooleanField(default=False)
    affects = ArrayField(models.CharField(max_length=16, choices=Part))
    shown_to = models.CharField(max_length=16, choices=Audience)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(state__in=IncidentState.values), name="update_state_is_known"),
            models.CheckConstraint(condition=~Q(text=""), name="update_says_something"),
        ]

    def __str__(self) -> str:
        return f"{self.state} at {self.at:%Y-%m-%d %H:%M:%S}"
