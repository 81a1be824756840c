from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.fields import MoneyField


class AlertKind(models.TextChoices):
    LOW_BALANCE = "low_balance"
    EXHAUSTED = "exhausted"


class BalanceAlert(models.Model):
    """A threshold of a customer. `exhausted` is built in, at minus the credit limit."""

    customer = models.ForeignKey("billing.Customer", on_delete=models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=12, choices=AlertKind, default=AlertKind.LOW_BALANCE)
    threshold = MoneyField()
    rearm_margin = MoneyField(
        null=True, blank=True, help_text="Empty: the larger of 5 % of the threshold and one unit of the currency."
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                F("customer"), condition=Q(kind="exhausted"), name="one_exhausted_alert_per_customer"
            ),
            models.UniqueConstraint(
                fields=["customer", "threshold"],
                condition=Q(kind="low_balance"),
                name="one_alert_per_customer_and_threshold",
            ),
            models.CheckConstraint(condition=Q(kind__in=AlertKind.values), name="alert_kind_is_known"),
            models.CheckConstraint(
                condition=Q(rearm_margin__isnull=True) | Q(rearm_margin__gte=0), name="margin_is_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} at {self.threshold}"


class Episode(models.Model):
    """One fall below one alert's threshold: opened when balance < threshold, closed when it has recovered.

    `told_at` is set by whoever told the customer; an episode that somebody was told of closes later (see
    `billing.episodes`). A silent one is never told: the customer came into Ivy below the threshold.
    """

    alert = models.ForeignKey(BalanceAlert, on_delete=models.PROTECT, related_name="episodes")
    opened_at = models.DateTimeField(db_default=Now())
    opened_business_at = models.DateTimeField(help_text="The time that the run acted at.")
    opened_threshold = MoneyField()
    opened_balance = MoneyField()
    is_silent = models.BooleanField(default=False)
    told_at = models.DateTimeField(null=True)
    recovered_at = models.DateTimeField(null=True, help_text="At or above the threshold since.")
    closed_at = models.DateTimeField(null=True)
    closed_balance = MoneyField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(F("alert"), condition=Q(closed_at__isnull=True), name="one_open_episode_per_alert"),
            models.CheckConstraint(
                condition=Q(opened_balance__lt=F("opened_threshold")), name="episodes_open_strictly_below"
            ),
        ]
        indexes = [
            models.Index(
                F("recovered_at"),
                condition=Q(closed_at__isnull=True, recovered_at__isnull=False),
                name="recovering_episodes",
            )
        ]

    def __str__(self) -> str:
        return f"episode {self.pk}"
