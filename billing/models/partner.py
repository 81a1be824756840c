from django.db import models
from django.db.models.functions import Now

from billing.models.fields import CurrencyField, KeyField, TimeZoneField, name_of_a_thing


class Partner(models.Model):
    """A reseller, or the carrier itself for its direct customers."""

    slug = KeyField(unique=True, max_length=64, validators=[name_of_a_thing])
    name = models.CharField(max_length=200)
    sender = models.EmailField(blank=True, help_text="The address that mails to this partner's customers come from.")
    sender_name = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="Beside that address; empty: the name above."
    )
    reply_to = models.EmailField(blank=True)
    timezone = TimeZoneField(default="UTC")
    currency = CurrencyField()
    language = models.CharField(max_length=16, default="en")
    rate_deck = models.ForeignKey(
        "billing.RateDeck",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="partners",
        help_text="Prices the calls of customers who have no deck of their own and the deck's currency.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name
