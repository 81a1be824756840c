from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Rerating(models.Model):
    """Charging calls again after a price list was wrong: what was asked for, by whom, and what came of it.

    Entries that it posts name it in `rerating_id`. Without an end it was interrupted: the same command goes on with it.
    """

    since = models.DateTimeField(help_text="Calls answered from here on ...")
    until = models.DateTimeField(help_text="... and before here.")
    customer = models.ForeignKey("billing.Customer", models.PROTECT, null=True, help_text="Empty: everyone's calls.")
    deck = models.ForeignKey(
        "billing.RateDeck", models.PROTECT, null=True, help_text="Calls that it charged, or would charge now."
    )
    reason = models.TextField(blank=True)
    entered_by = models.TextField()
    began_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    reversed_count = models.BigIntegerField(default=0)
    charged_count = models.BigIntegerField(default=0)
    amount = models.JSONField(default=dict, help_text="How much more was charged than before, by currency.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(until__gt=F("since")), name="rerating_has_a_range"),
        ]

    def __str__(self) -> str:
        return f"re-rating {self.pk}"
