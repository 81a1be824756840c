from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Collate, Lower, Now

from billing.models.fields import MoneyField


class AlertKind(models.TextChoices):
    LOW_BALANCE = "low_balance"
    EXHAUSTED = "exhausted"


class AlertTerms(models.Model):
    """What is agreed about telling a customer of a fall below a threshold, besides the threshold itself."""

    rearm_margin = MoneyField(
        null=True, blank=True, help_text="Empty: the larger of 5 % of the threshold and one unit of the currency."
    )
    remind_every_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Empty: no reminders. While the balance stays below the threshold."
    )
    remind_at_most = models.PositiveSmallIntegerField(default=3, db_default=3, help_text="Reminders of one fall.")
    tells_restored = models.BooleanField(
        default=False, db_default=False, help_text="Mail once more when the balance has recovered."
    )

    class Meta:
        abstract = True


class BalanceAlert(AlertTerms):
    """A threshold of a customer. `exhausted` is built in, at minus the credit limit.

    Mails go to its recipients; where it has none, to the customer's own address.
    """

    customer = models.ForeignKey("billing.Customer", on_delete=models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=12, choices=AlertKind, default=AlertKind.LOW_BALANCE)
    threshold = MoneyField()
    is_active = models.BooleanField(default=True)

    class Meta:
        indexes = [
            models.Index(F("id"), condition=Q(remind_every_days__isnull=False), name="alerts_with_reminders"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(remind_every_days__isnull=True) | Q(remind_every_days__gte=1),
                name="reminders_are_days_apart",
            ),
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


class AlertRecipient(models.Model):
    """An address that an alert's mails go to, in place of the customer's own."""

    alert = models.ForeignKey(BalanceAlert, on_delete=models.CASCADE, related_name="recipients")
    email = models.EmailField()

    class Meta:
        constraints = [models.UniqueConstraint(F("alert"), Lower("email"), name="one_recipient_once_an_alert")]
        indexes = [models.Index(Collate(Lower("email"), "C"), name="recipients_by_email")]

    def __str__(self) -> str:
        return self.email


class PartnerAlert(AlertTerms):
    """The alert that new customers of a partner get who come without one, where they have the partner's currency."""

    partner = models.ForeignKey("billing.Partner", on_delete=models.CASCADE, related_name="default_alerts")
    threshold = MoneyField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["partner", "threshold"], name="one_default_alert_a_threshold"),
            # What every customer's alert must keep: else no customer of the partner could be made any more.
            models.CheckConstraint(
                condition=Q(remind_every_days__isnull=True) | Q(remind_every_days__gte=1),
                name="default_reminders_are_days_apart",
            ),
            models.CheckConstraint(
                condition=Q(rearm_margin__isnull=True) | Q(rearm_margin__gte=0), name="default_margin_is_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"alert at {self.threshold}"


class Episode(models.Model):
    """One fall below one alert's threshold: opened when balance < threshold, closed when it has recovered.

    Two columns belong to whoever tells customers: `taken_up_at`, when it settled who is to be mailed, and `told_at`,
    when the first mail of it went out; an episode that somebody was told of closes later (see `billing.episodes`). A
    silent one is never told: the customer came into Ivy below the threshold.
    """

    alert = models.ForeignKey(BalanceAlert, on_delete=models.PROTECT, db_index=False, related_name="episodes")
    opened_at = models.DateTimeField(db_default=Now())
    opened_business_at = models.DateTimeField(help_text="The time that the run acted at.")
    opened_threshold = MoneyField()
    opened_balance = MoneyField()
    is_silent = models.BooleanField(default=False)
    taken_up_at = models.DateTimeField(null=True)
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
            ),
            models.Index(
                F("id"),
                condition=Q(closed_at__isnull=True, taken_up_at__isnull=True, is_silent=False),
                name="episodes_to_take_up",
            ),
            models.Index(F("closed_at"), condition=Q(told_at__isnull=False), name="told_episodes_by_closing"),
            # Without those that are open: opening a thousand at once pays nothing for it.
            models.Index(
                F("alert"), F("id").desc(), condition=Q(closed_at__isnull=False), name="closed_episodes_of_an_alert"
            ),
        ]

    def __str__(self) -> str:
        return f"episode {self.pk}"
