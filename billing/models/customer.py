from datetime import date
from zoneinfo import ZoneInfo

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Collate, Lower, Now

from billing.models.fields import CurrencyField, KeyField, MoneyField, TimeZoneField, name_of_a_thing


class CustomerStatus(models.TextChoices):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class Customer(models.Model):
    """An account with one currency, one time zone, one balance.

    A database trigger gives every new customer its balance row and the built-in `exhausted` alert, and keeps that
    alert at minus the credit limit.
    """

    account = KeyField(unique=True, max_length=64, validators=[name_of_a_thing])
    partner = models.ForeignKey("billing.Partner", on_delete=models.PROTECT, related_name="customers")
    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True)
    currency = CurrencyField(help_text="Fixed once the customer exists.")
    timezone = TimeZoneField()
    language = models.CharField(
        max_length=16, blank=True, default="", db_default="", help_text="Of mails; empty: the partner's."
    )
    status = models.CharField(max_length=16, choices=CustomerStatus, default=CustomerStatus.ACTIVE)
    closed_at = models.DateTimeField(
        null=True, blank=True, help_text="Items end on this day of the customer's; later calls are not charged."
    )
    rate_deck = models.ForeignKey(
        "billing.RateDeck", on_delete=models.PROTECT, null=True, blank=True, related_name="customers"
    )
    inbound_deck = models.ForeignKey(
        "billing.RateDeck", on_delete=models.PROTECT, null=True, blank=True, related_name="inbound_customers"
    )
    credit_limit = MoneyField(default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["account"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=CustomerStatus.values), name="customer_status_is_known"),
            models.CheckConstraint(condition=Q(credit_limit__gte=0), name="credit_limit_is_not_negative"),
            models.CheckConstraint(
                condition=Q(status=CustomerStatus.CLOSED, closed_at__isnull=False)
                | (~Q(status=CustomerStatus.CLOSED) & Q(closed_at__isnull=True)),
                name="closed_customers_and_only_they_have_a_closing_time",
            ),
        ]
        indexes = [
            models.Index(F("partner"), F("id"), name="customers_of_a_partner"),
            # What staff look for: any word of the name, and how the address begins.
            GinIndex(SearchVector("name", config="simple"), name="customers_by_words_of_name"),
            models.Index(Collate(Lower("email"), "C"), name="customers_by_email"),
        ]

    def __str__(self) -> str:
        return self.account

    @property
    def closing_day(self) -> date | None:
        """The customer's day on which it was closed: no item is charged from it on. None: it is not closed."""
        return self.closed_at.astimezone(ZoneInfo(self.timezone)).date() if self.closed_at else None


class CustomerBalance(models.Model):
    """What a customer has; negative: what it owes. Written by the ledger's trigger and by nothing else.

    A slim table of its own, without indexes on the balance or history triggers, so that updates stay in place.
    """

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, primary_key=True, related_name="balance_row")
    currency = CurrencyField()
    balance = MoneyField(default=0, db_default=0)

    class Meta:
        verbose_name = "balance"

    def __str__(self) -> str:
        return f"{self.balance} {self.currency}"


class CustomerToJudge(models.Model):
    """A customer whose balance, alerts or status changed since its episodes were last judged.

    Noted by triggers in the transaction of the change; removed by the episode stage. No foreign key in the database,
    which would look up a customer for each entry: customers have a balance row, and so are never deleted.
    """

    customer = models.OneToOneField(
        Customer, on_delete=models.CASCADE, db_constraint=False, primary_key=True, related_name="+"
    )
    since = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "customer to judge"
        verbose_name_plural = "customers to judge"

    def __str__(self) -> str:
        return f"customer {self.customer_id}"
