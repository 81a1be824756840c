from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from billing.models.fields import CurrencyField, KeyField, MoneyField


class EntryKind(models.TextChoices):
    RECURRING = "recurring"
    ONE_OFF = "one_off"
    CALL = "call"
    PAYMENT = "payment"
    REFUND = "refund"
    CREDIT = "credit"
    ADJUSTMENT = "adjustment"
    REVERSAL = "reversal"
    OPENING = "opening"


CHARGE_KINDS = [EntryKind.CALL, EntryKind.RECURRING, EntryKind.ONE_OFF]
ITEM_KINDS = [EntryKind.RECURRING, EntryKind.ONE_OFF]
PAYMENT_KINDS = [EntryKind.PAYMENT, EntryKind.REFUND]


def reference_of_payment() -> Func:
    """The reference in a payment's key, as its source wrote it, for looking it up without knowing the source."""
    return Func(F("key"), Value("^payment:[^:]*:(.*)$"), function="substring", output_field=models.TextField())


class LedgerEntry(models.Model):
    """One signed movement of a customer's balance. Negative: the customer owes more. Never changed, never deleted.

    Triggers refuse UPDATE, DELETE and TRUNCATE; on INSERT they move the balance, note the customer to be judged, and
    check currency, reversals and the numbering of charges, once a statement. No foreign key points here (others refer
    by key) and none leads out (a customer with a balance row can't be deleted, and an entry needs that row).

    Key: `call:source:call-id`, `item:reference:period-start`, `payment:source:reference`, `opening:account`,
    `adjustment:account:reference`, `credit:staff:account:reference`, `credit:item:reference:end`, `reversal:key`; the
    second and later charges of a cause end in `#2`, `#3`, ...
    """

    key = KeyField()
    customer = models.ForeignKey(
        "billing.Customer", on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="entries"
    )
    kind = models.CharField(max_length=12, choices=EntryKind)
    amount = MoneyField()
    currency = CurrencyField()
    occurred_at = models.DateTimeField(help_text="When what caused it happened; the customer's midnight for items.")
    posted_at = models.DateTimeField(db_default=Now(), editable=False)
    booked_month = models.DateField(help_text="First day of the month (UTC) of `occurred_at`.")
    charge_number = models.PositiveSmallIntegerField(default=1)
    reverses = KeyField(null=True, help_text="The key of the entry that this one takes back.")
    description = models.TextField(blank=True)
    period_start = models.DateField(null=True)
    period_end = models.DateField(null=True)
    rate_id = models.BigIntegerField(null=True)
    billed_seconds = models.IntegerField(null=True)
    run_id = models.BigIntegerField(null=True)
    rerating_id = models.BigIntegerField(null=True)
    reason = models.TextField(blank=True)
    entered_by = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "ledger entries"
        permissions = [
            ("take_payment", "Can take payments and give refunds"),
            ("give_credit", "Can give credit"),
            ("approve_credit", "Can approve credits above the limit"),
            ("adjust_balance", "Can adjust balances"),
            ("reverse_entry", "Can reverse entries"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["key"], name="one_entry_per_key"),
            models.UniqueConstraint(
                fields=["reverses"], condition=Q(reverses__isnull=False), name="one_reversal_per_entry"
            ),
            models.CheckConstraint(condition=Q(kind__in=EntryKind.values), name="entry_kind_is_known"),
            models.CheckConstraint(
                condition=~Q(amount=0) | Q(kind__in=[*ITEM_KINDS, "reversal"]), name="only_items_may_cost_nothing"
            ),
            models.CheckConstraint(
                condition=Q(kind="reversal", reverses__isnull=False) | (~Q(kind="reversal") & Q(reverses__isnull=True)),
                name="reversals_and_only_they_reverse",
            ),
            models.CheckConstraint(
                condition=~Q(kind="call") | Q(amount__lt=0, rate_id__isnull=False, billed_seconds__gt=0),
                name="call_charges_have_a_rate_and_seconds",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=["adjustment", "reversal"]) | (~Q(reason="") & ~Q(entered_by="")),
                name="corrections_have_a_reason_and_a_name",
            ),
            models.CheckConstraint(condition=Q(charge_number__gte=1), name="charges_are_numbered_from_one"),
        ]
        indexes = [
            models.Index(F("customer"), F("id"), name="entries_of_a_customer"),
            # Few among many calls: payments and corrections. Charges, of which there are millions, are not in these.
            models.Index(
                F("customer"), F("id").desc(), condition=~Q(kind__in=CHARGE_KINDS), name="movements_of_a_customer"
            ),
            # What somebody posted by hand, for what a person did. Not what re-ratings post, a million at a time.
            models.Index(
                F("entered_by"),
                F("id").desc(),
                condition=~Q(entered_by="") & Q(rerating_id__isnull=True),
                name="entries_by_person",
            ),
            models.Index(reference_of_payment(), condition=Q(kind__in=PAYMENT_KINDS), name="payments_by_reference"),
        ]

    def __str__(self) -> str:
        return self.key
