from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class AuditEntry(models.Model):
    """Something a member of staff did: who, to what, why, and how it was before and after. Append-only, by trigger.

    `once` is drawn with the form that was filled in, so that a form sent twice is done once.
    """

    at = models.DateTimeField(db_default=Now(), editable=False)
    by = models.TextField(help_text="The e-mail address of who did it.")
    verb = models.TextField(help_text="What was done, in one word or two: halt, take payment, resend.")
    noun = models.TextField(help_text="To what kind of thing: customer, process, entry, mail.")
    name = models.TextField(help_text="To which: its account, key, name.")
    summary = models.TextField(help_text="What came of it, in a sentence.")
    reason = models.TextField(blank=True, default="")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    once = models.UUIDField(null=True)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("noun"), F("name"), F("id").desc(), name="audit_of_a_thing"),
            models.Index(F("by"), F("id").desc(), name="audit_of_a_person"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["once"], condition=Q(once__isnull=False), name="a_form_is_done_once"),
            models.CheckConstraint(
                condition=~Q(by="") & ~Q(verb="") & ~Q(noun="") & ~Q(name="") & ~Q(summary=""),
                name="audit_says_who_did_what_to_what",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.summary} ({self.by}, {self.at:%Y-%m-%d %H:%M:%S} UTC)"
