from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.fields import CurrencyField, MoneyField, SnapshotField, TimeZoneField


class MonthClosing(models.Model):
    """A calendar month of a partner's, closed: from here on it is settled for ever which entries belong to it.

    An entry belongs to the first month of its customer's whose closing holds it: posted before `ends_at`, its id not
    above `last_entry_id`, and committed when `snapshot` was taken (the SQL function `is_held`). All three never change,
    so that the month can be worked out anew at any time. What commits later belongs to a later month, whatever its
    `posted_at` says.
    """

    partner = models.ForeignKey("billing.Partner", on_delete=models.PROTECT, related_name="month_closings")
    month = models.DateField(help_text="Its first day.")
    timezone = TimeZoneField(help_text="The partner's at that time, by which the month ended.")
    ends_at = models.DateTimeField(help_text="Midnight at its end.")
    closed_at = models.DateTimeField(db_default=Now())
    run_id = models.BigIntegerField(help_text="The billing run after which it was closed.")
    last_entry_id = models.BigIntegerField(help_text="The latest ledger entry there was, anybody's.")
    snapshot = SnapshotField(help_text="Which transactions had ended.")
    written_through = models.BigIntegerField(default=0, help_text="Statements are written up to this customer.")
    written_at = models.DateTimeField(null=True, help_text="When all of them were.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["partner", "month"], name="a_month_closes_once"),
            models.CheckConstraint(condition=Q(month__day=1), name="months_are_named_by_their_first_day"),
            models.CheckConstraint(condition=Q(closed_at__gte=F("ends_at")), name="months_close_behind_their_end"),
        ]
        indexes = [
            models.Index(F("partner"), F("month"), condition=Q(written_at__isnull=True), name="statements_to_write"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.partner}"


class Statement(models.Model):
    """What a closed month was for one customer: sums of ledger entries by their kind, signed as in the ledger.

    Written from the closing, once; never changed. Nobody has one for a month without entries that began with nothing.
    """

    closing = models.ForeignKey(MonthClosing, on_delete=models.PROTECT, db_index=False, related_name="statements")
    customer = models.ForeignKey(
        "billing.Customer", on_delete=models.PROTECT, db_index=False, related_name="statements"
    )
    month = models.DateField()
    currency = CurrencyField()
    opening_balance = MoneyField()
    recurring = MoneyField()
    one_off = MoneyField()
    call = MoneyField()
    payment = MoneyField()
    refund = MoneyField()
    credit = MoneyField()
    adjustment = MoneyField()
    reversal = MoneyField()
    opening = MoneyField()
    closing_balance = MoneyField()
    entry_count = models.BigIntegerField()
    first_entry_id = models.BigIntegerField(null=True, help_text="The lowest of its entries' ids.")
    next_entry_id = models.BigIntegerField(
        help_text="Later entries have this id or a higher one, but for those whose transaction was still open."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "month"], name="one_statement_per_customer_and_month"),
            models.UniqueConstraint(fields=["closing", "customer"], name="one_statement_per_customer_and_closing"),
            models.CheckConstraint(
                condition=Q(
                    closing_balance=F("opening_balance")
                    + F("recurring")
                    + F("one_off")
                    + F("call")
                    + F("payment")
                    + F("refund")
                    + F("credit")
                    + F("adjustment")
                    + F("reversal")
                    + F("opening")
                ),
                name="statements_add_up",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.customer}"
