from enum import StrEnum

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.keys import item_key
from billing.models.fields import KeyField, MoneyField, name_of_a_thing
from billing.periods import Interval, Kind, Proration, Timing


class ItemKind(models.TextChoices):
    RECURRING = "recurring"
    ONE_OFF = "one_off"


def _choices(members: type[StrEnum]) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ")) for member in members]


class BillingItem(models.Model):
    """Something charged besides calls: every interval, or once on its date. A negative amount is a credit.

    Dates are the customer's. Once anything was charged, a trigger keeps account, start, interval, count, day, timing
    and proration as they are. `next_due_on` is the earliest date on which anything can be due: triggers set it back
    whenever the item's dates or pauses change, and the run moves it on.

    `amount` holds from the start until the first `ItemPriceChange`. Once there is one, a trigger keeps it as it is.
    """

    reference = KeyField(unique=True, max_length=64, validators=[name_of_a_thing])
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="items")
    description = models.CharField(max_length=200)
    kind = models.CharField(max_length=16, choices=ItemKind)
    amount = MoneyField(help_text="For one whole interval and one piece, in the customer's currency.")
    quantity = MoneyField(default=1)
    interval = models.CharField(max_length=8, choices=_choices(Interval), blank=True)
    interval_count = models.PositiveSmallIntegerField(default=1)
    bill_cycle_day = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(31)]
    )
    timing = models.CharField(max_length=8, choices=_choices(Timing), default=Timing.ADVANCE.value)
    proration = models.CharField(max_length=8, choices=_choices(Proration), default=Proration.DAYS.value)
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True, help_text="The first day that is not charged any more.")
    charged_through = models.DateField(null=True, editable=False, help_text="End of the last period charged.")
    next_due_on = models.DateField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["reference"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ItemKind.values), name="item_kind_is_known"),
            models.CheckConstraint(
                condition=Q(kind=ItemKind.ONE_OFF, interval="")
                | Q(kind=ItemKind.RECURRING, interval__in=[interval.value for interval in Interval]),
                name="recurring_items_and_only_they_have_an_interval",
            ),
            models.CheckConstraint(condition=Q(timing__in=[timing.value for timing in Timing]), name="timing_is_known"),
            models.CheckConstraint(
                condition=Q(proration__in=[proration.value for proration in Proration]), name="proration_is_known"
            ),
            models.CheckConstraint(condition=Q(interval_count__gte=1), name="intervals_have_a_length"),
            models.CheckConstraint(
                condition=Q(bill_cycle_day__isnull=True)
                | Q(bill_cycle_day__gte=1, bill_cycle_day__lte=31, interval__in=["month", "quarter", "year"]),
                name="bill_cycle_day_is_a_day_of_a_month",
            ),
            models.CheckConstraint(
                condition=~Q(proration="fixed_30") | Q(interval__in=["", "month", "quarter", "year"]),
                name="fixed_30_needs_months",
            ),
            models.CheckConstraint(
                condition=Q(ends_on__isnull=True) | Q(ends_on__gte=F("starts_on")),
                name="item_does_not_end_before_it_starts",
            ),
            models.CheckConstraint(condition=Q(quantity__gte=0), name="quantity_is_not_negative"),
        ]
        indexes = [models.Index(F("next_due_on"), condition=Q(next_due_on__isnull=False), name="items_by_due_date")]

    def __str__(self) -> str:
        return self.reference


class ItemPeriod(models.Model):
    """A stretch of days that was charged for an item: `[start_on, end_on)`, and how its price was made.

    Periods of an item never overlap, whatever was edited: each names the end of the one before it, which a trigger
    looks for (`periods_follow_one_that_is_there`), begins then or later, and is the only one that follows there. A
    one-off item has one period, of its one day.

    No foreign key in the database, which would look up the item for each period: `periods_are_of_an_item` does so once
    a statement, and `charged_items_are_never_deleted` keeps the item.
    """

    item = models.ForeignKey(
        BillingItem, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="periods"
    )
    is_one_off = models.BooleanField(default=False)
    previous_end = models.DateField(null=True, help_text="End of the item's period before this one; none of its first.")
    start_on = models.DateField()
    end_on = models.DateField()
    kind = models.CharField(max_length=16, choices=_choices(Kind))
    days = models.PositiveIntegerField(help_text="Days charged, as the item counts them.")
    whole_days = models.PositiveIntegerField(help_text="Days of a whole interval; as many as `days`: charged in full.")
    amount = MoneyField(help_text="The item's amount for a whole interval at that time.")
    quantity = MoneyField()
    charged_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(start_on__lt=F("end_on")), name="period_has_days"),
            models.CheckConstraint(
                condition=Q(whole_days__gte=1, days__lte=F("whole_days")), name="never_more_than_a_whole_amount"
            ),
            # Also the index by which periods of an item are found, in their order.
            models.UniqueConstraint(
                F("item"),
                F("previous_end").asc(nulls_first=True),
                nulls_distinct=False,
                name="charged_periods_of_an_item_never_overlap",
            ),
            models.CheckConstraint(
                condition=Q(previous_end__lte=F("start_on")), name="periods_begin_after_those_before"
            ),
            models.CheckConstraint(
                condition=Q(is_one_off=False) | Q(previous_end__isnull=True), name="one_charge_per_one_off_item"
            ),
        ]

    def __str__(self) -> str:
        return self.entry_key

    @property
    def entry_key(self) -> str:
        """The key of the period's entry in the ledger. A charged item keeps its reference, so that this stays."""
        return item_key(self.item.reference, self.start_on)


class ItemPriceChange(models.Model):
    """A new amount of an item for the periods that begin on the date or later, until the next change.

    What was charged keeps its amount: triggers refuse changes from a date before the end of the last charged period.
    """

    item = models.ForeignKey(BillingItem, on_delete=models.CASCADE, related_name="price_changes")
    from_date = models.DateField(help_text="Periods that begin on this day or later cost the new amount.")
    amount = MoneyField(help_text="For one whole interval and one piece, in the customer's currency.")
    changed_by = models.TextField()
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "from_date"], name="one_amount_of_an_item_from_a_date"),
        ]

    def __str__(self) -> str:
        return f"{self.item}: {self.amount} from {self.from_date}"


class ItemPause(models.Model):
    """Days on which an item is not charged: `[starts_on, ends_on)`; without an end until further notice.

    `pauses_of_an_item_never_overlap` (an exclusion constraint) holds what it says. Days that were charged are neither
    paused nor resumed afterwards: triggers refuse.
    """

    item = models.ForeignKey(BillingItem, on_delete=models.CASCADE, related_name="pauses")
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True, help_text="The first day that is charged again.")
    changed_by = models.TextField()
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_on__isnull=True) | Q(ends_on__gt=F("starts_on")), name="pause_has_days"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.item}: paused from {self.starts_on}"
