from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class BreakerLimits(models.Model):
    """The limits beyond which the breaker stops all mail; one row, for staff to set.

    Mails by order of staff do not count: their budget is the count that was previewed.
    """

    mails_a_recipient_a_day = models.PositiveIntegerField(
        default=3, help_text="Of one customer and kind; more are held."
    )
    held_customers_an_hour = models.PositiveIntegerField(
        default=10, help_text="So many customers with mails held by the limit above trip the whole."
    )
    mails_an_hour = models.PositiveIntegerField(default=500, help_text="Or the busiest hour times the factor, if more.")
    busiest_hour_factor = models.DecimalField(
        default=Decimal(3), max_digits=6, decimal_places=2, help_text="Of the busiest hour of 35 days."
    )
    customers_a_pass = models.PositiveIntegerField(default=50, help_text="Or the share below, if more.")
    share_of_customers_a_pass = models.DecimalField(
        default=Decimal("0.25"), max_digits=4, decimal_places=3, help_text="Of the customers charged in 30 days."
    )
    released_a_minute = models.PositiveIntegerField(
        default=60, help_text="How fast what was held goes out after a reset."
    )

    class Meta:
        verbose_name_plural = "breaker limits"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="one_row_of_breaker_limits"),
            models.CheckConstraint(condition=Q(released_a_minute__gte=1), name="held_mails_can_be_released"),
        ]

    def __str__(self) -> str:
        return "breaker limits"


class BreakerTrip(models.Model):
    """The breaker tripped: why, and when and by whom it was reset. One at a time is open."""

    at = models.DateTimeField(db_default=Now())
    limit = models.CharField(max_length=32)
    reason = models.TextField()
    reset_at = models.DateTimeField(null=True)
    reset_by = models.TextField(blank=True, default="")
    reset_because = models.TextField(blank=True, default="")

    class Meta:
        permissions = [("reset_breaker", "Can reset the breaker")]
        constraints = [
            models.UniqueConstraint(
                F("reset_at"), condition=Q(reset_at__isnull=True), nulls_distinct=False, name="one_open_trip"
            )
        ]

    def __str__(self) -> str:
        return f"{self.limit} at {self.at:%Y-%m-%d %H:%M:%S}"
