from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Customer
from billing.models.fields import CurrencyField, KeyField, MoneyField


class CreditState(models.TextChoices):
    WAITING = "waiting"
    APPROVED = "approved"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class CreditKind(models.TextChoices):
    CREDIT = "credit"
    ADJUSTMENT = "adjustment"


class CreditRequest(models.Model):
    """A credit (or an adjustment in the customer's favour) above the limit, which a second person decides about.

    Approving it posts the ledger entry, in the same transaction. What was asked never changes, what was decided
    neither, and no row is deleted: by trigger. Nobody decides about their own, but for withdrawing it.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="credit_requests")
    kind = models.CharField(max_length=10, choices=CreditKind, default=CreditKind.CREDIT)
    amount = MoneyField(help_text="In the customer's favour.")
    currency = CurrencyField()
    reference = KeyField()
    reason = models.TextField()
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    state = models.CharField(max_length=10, choices=CreditState, default=CreditState.WAITING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decided_because = models.TextField(blank=True, default="")
    entry_key = KeyField(blank=True, default="", help_text="Of the ledger entry that approving it has posted.")

    class Meta:
        default_permissions = ("view",)
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("id"), condition=Q(state="waiting"), name="waiting_credits"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(state__in=CreditState.values), name="credit_state_is_known"),
            models.CheckConstraint(condition=Q(kind__in=CreditKind.values), name="credit_kind_is_known"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="requested_credits_are_in_favour_of_the_customer"),
            models.CheckConstraint(
                condition=~Q(reason="") & ~Q(reference=""), name="requested_credits_have_a_reason_and_a_reference"
            ),
            models.CheckConstraint(
                condition=Q(state="waiting", decided_by__isnull=True, decided_at__isnull=True)
                | Q(state="withdrawn", decided_by=F("asked_by"), decided_at__isnull=False)
                | (
                    Q(state__in=["approved", "declined"], decided_by__isnull=False, decided_at__isnull=False)
                    & ~Q(decided_by=F("asked_by"))
                ),
                name="credits_are_decided_by_another_person",
            ),
            models.CheckConstraint(
                condition=Q(state="approved") & ~Q(entry_key="") | ~Q(state="approved") & Q(entry_key=""),
                name="approved_credits_and_only_they_have_an_entry",
            ),
            models.UniqueConstraint(
                fields=["customer", "kind", "reference"],
                condition=Q(state="waiting"),
                name="one_waiting_credit_a_reference",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


class CreditLimit(models.Model):
    """Up to how much one person may give a customer within a day without a second one; more needs approval.

    A currency without a row has the usual limit (`ivy.giving.USUAL_LIMIT`).
    """

    currency = CurrencyField(unique=True)
    amount = MoneyField(help_text="0: every credit needs a second person.")

    class Meta:
        default_permissions = ("view", "add", "change")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="limit_of_credits_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} {self.currency}"
