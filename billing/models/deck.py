from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import F, Q

from billing.models.fields import CurrencyField, KeyField, MoneyField, TimeZoneField, name_of_a_thing

LONGEST_PREFIX = 15
DEAREST_PRICE = 1_000_000


class Rounding(models.TextChoices):
    HALF_UP = "half-up"
    UP = "up"
    HALF_EVEN = "half-even"


class RateDeck(models.Model):
    """A price list for calls, in one currency. `rates_version` is raised by a trigger whenever its rates change."""

    name = KeyField(unique=True, max_length=64, validators=[name_of_a_thing])
    currency = CurrencyField(help_text="Fixed once somebody uses the deck.")
    decimals = models.PositiveSmallIntegerField(
        default=4, validators=[MaxValueValidator(6)], help_text="A call's price is rounded to so many decimals, once."
    )
    rounding = models.CharField(max_length=16, choices=Rounding, default=Rounding.HALF_UP)
    timezone = TimeZoneField(default="UTC", help_text="Dates from which rates hold begin at midnight in this zone.")
    rates_version = models.BigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(decimals__lte=6), name="prices_have_at_most_six_decimals"),
            models.CheckConstraint(condition=Q(rounding__in=Rounding.values), name="rounding_is_known"),
        ]

    def __str__(self) -> str:
        return self.name


class Rate(models.Model):
    """One prefix of a deck with its prices and validity. Prices are per minute, in the deck's currency.

    `rates_of_a_prefix_never_overlap` (an exclusion constraint over deck, prefix and validity) holds what it says.
    """

    deck = models.ForeignKey(RateDeck, on_delete=models.PROTECT, related_name="rates")
    prefix = KeyField(max_length=LONGEST_PREFIX)
    destination = models.CharField(max_length=200, blank=True)
    price_per_minute = MoneyField()
    connect_fee = MoneyField(default=0)
    minimum_charge = MoneyField(default=0)
    first_increment = models.PositiveIntegerField(default=1, help_text="Seconds charged at least.")
    increment = models.PositiveIntegerField(default=1, help_text="Further seconds are charged in steps of so many.")
    valid_from = models.DateTimeField(null=True, blank=True, help_text="Empty: from the beginning.")
    valid_to = models.DateTimeField(null=True, blank=True, help_text="The first instant it no longer holds.")

    class Meta:
        ordering = ["deck", "prefix", F("valid_from").asc(nulls_first=True)]
        indexes = [models.Index(F("deck"), F("prefix"), name="rates_of_a_deck_by_prefix")]
        constraints = [
            models.CheckConstraint(condition=Q(prefix__regex=r"^[0-9]{1,15}$"), name="prefix_is_one_to_fifteen_digits"),
            models.CheckConstraint(
                condition=Q(price_per_minute__gte=0, connect_fee__gte=0, minimum_charge__gte=0),
                name="prices_are_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(
                    price_per_minute__lte=DEAREST_PRICE,
                    connect_fee__lte=DEAREST_PRICE,
                    minimum_charge__lte=DEAREST_PRICE,
                ),
                name="prices_are_at_most_a_million",
            ),
            models.CheckConstraint(
                condition=Q(first_increment__gte=1, increment__gte=1, first_increment__lte=86400, increment__lte=86400),
                name="increments_are_between_a_second_and_a_day",
            ),
            models.CheckConstraint(
                condition=Q(valid_from__isnull=True) | Q(valid_to__isnull=True) | Q(valid_from__lt=F("valid_to")),
                name="rate_ends_after_it_begins",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deck}: {self.prefix}"


class DeckSlice(models.Model):
    """A deck flattened for a stretch of time in which none of its rates begins or ends.

    Made by `billing.decks` when calls need it. A slice whose `rates_version` is not the deck's is stale and never used.
    `[since, until)`; empty: unbounded on that side.
    """

    deck = models.ForeignKey(RateDeck, on_delete=models.CASCADE, related_name="slices")
    rates_version = models.BigIntegerField()
    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(F("deck"), F("rates_version"), name="slices_of_a_deck")]

    def __str__(self) -> str:
        return f"slice {self.pk} of deck {self.deck_id}"


class DeckRange(models.Model):
    """From position `lower` up to the next row's, this rate is the longest match; no rate: a gap of the deck.

    Positions are those of the SQL function `number_position`.
    """

    pk = models.CompositePrimaryKey("slice_id", "lower")
    slice = models.ForeignKey(DeckSlice, on_delete=models.CASCADE, related_name="ranges", db_index=False)
    lower = models.BigIntegerField()
    rate_id = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.slice_id}: {self.lower:x}"
