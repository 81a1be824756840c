from django.db import models
from django.db.models import Q

from billing.models.fields import CurrencyField, MoneyField
from billing.models.ledger import EntryKind


class LedgerSum(models.Model):
    """What a partner's customers were charged, or paid, within a quarter of an hour, by kind; signed as in the ledger.

    Kept so that a page need not add up a million entries; see `billing.sums`. Quarters, because every time zone in use
    begins its days on one. A reversal is counted under the kind of what it takes back.
    """

    partner = models.ForeignKey("billing.Partner", on_delete=models.CASCADE, db_index=False, related_name="+")
    begins_at = models.DateTimeField(help_text="Of the quarter of an hour in which the entries occurred.")
    currency = CurrencyField()
    kind = models.CharField(max_length=12, choices=EntryKind)
    amount = MoneyField()
    entry_count = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["partner", "begins_at", "currency", "kind"], name="one_sum_per_quarter_and_kind"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.begins_at:%Y-%m-%d %H:%M}: {self.amount} {self.currency}"


class LedgerSumMark(models.Model):
    """Up to where a partner's entries are summed: all that were posted before `through`, and no others.

    Every entry posted from `through` on has an id above `after_id`, and one posted from `sampled_at` on above
    `sampled_id`.
    """

    partner = models.OneToOneField("billing.Partner", on_delete=models.CASCADE, primary_key=True, related_name="+")
    through = models.DateTimeField()
    after_id = models.BigIntegerField()
    sampled_at = models.DateTimeField()
    sampled_id = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(after_id__lte=models.F("sampled_id"), after_id__gte=0), name="sum_marks_move_forward"
            )
        ]

    def __str__(self) -> str:
        return f"summed through {self.through:%Y-%m-%d %H:%M:%S} UTC"
