from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.base import BillingAdmin, DatabaseRulesForm, changelist_link, money, side_by_side
from billing.models import Rate, RateDeck

WHAT_A_RATE_SAYS = (
    "deck",
    "prefix",
    "destination",
    "price_per_minute",
    "connect_fee",
    "minimum_charge",
    "first_increment",
    "increment",
    "valid_from",
)


@admin.register(RateDeck)
class RateDeckAdmin(BillingAdmin):
    list_display = ("name", "currency", "decimals", "rounding", "timezone")
    list_filter = ("currency", ("rounding", ChoicesDropdownFilter))
    search_fields = ("name",)
    fixed_fields = ("currency",)
    readonly_fields = ("look_at",)
    fieldsets: ClassVar = (
        (None, {"fields": (("name", "currency"), "look_at")}),
        ("How prices are rounded", {"fields": (("decimals", "rounding"),)}),
        ("When rates begin", {"fields": ("timezone",)}),
    )
    add_fieldsets: ClassVar = (
        (None, {"fields": (("name", "currency"),)}),
        ("How prices are rounded", {"fields": (("decimals", "rounding"),)}),
        ("When rates begin", {"fields": ("timezone",)}),
    )

    @admin.display(description="look at")
    def look_at(self, deck: RateDeck) -> SafeString:
        return side_by_side(
            [
                changelist_link("rates", "rate", deck__id__exact=deck.pk),
                changelist_link("customers of their own choice", "customer", rate_deck__id__exact=deck.pk),
            ]
        )


class RateForm(DatabaseRulesForm):
    """A rate that is in force may be ended, from now on; what was true stays true."""

    def clean_valid_to(self) -> datetime | None:
        valid_to: datetime | None = self.cleaned_data["valid_to"]
        is_new_end = "valid_to" in self.changed_data
        if self.instance.pk and is_in_force(self.instance) and is_new_end and valid_to and valid_to < timezone.now():
            raise ValidationError("A rate that is in force can end now at the earliest.")
        return valid_to


def is_in_force(rate: Rate) -> bool:
    """Whether the rate has begun, so that calls may have been charged by it."""
    return rate.valid_from is None or rate.valid_from <= timezone.now()


def has_ended(rate: Rate) -> bool:
    return rate.valid_to is not None and rate.valid_to <= timezone.now()


@admin.register(Rate)
class RateAdmin(BillingAdmin):
    form = RateForm
    list_display = ("prefix", "destination", "deck", "per_minute", "connect", "increments", "valid_from", "valid_to")
    list_select_related = ("deck",)
    list_filter = (("deck", RelatedDropdownFilter), ("valid_to", admin.EmptyFieldListFilter))
    search_fields = ("prefix__startswith", "destination")
    search_help_text = "Beginning of a prefix, or destination"
    show_facets = admin.ShowFacets.NEVER
    autocomplete_fields = ("deck",)
    fieldsets: ClassVar = (
        (None, {"fields": ("deck", ("prefix", "destination"))}),
        ("Prices", {"fields": ("price_per_minute", ("connect_fee", "minimum_charge"))}),
        ("Seconds", {"fields": (("first_increment", "increment"),)}),
        ("Validity", {"fields": ("valid_from", "valid_to")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Iterable[str]:
        if obj is None or not is_in_force(obj):
            return ()
        return (*WHAT_A_RATE_SAYS, "valid_to") if has_ended(obj) else WHAT_A_RATE_SAYS

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super(BillingAdmin, self).has_delete_permission(request, obj)
        return may and obj is not None and not is_in_force(obj)

    @admin.display(description="per minute", ordering="price_per_minute")
    def per_minute(self, rate: Rate) -> str:
        return money(rate.price_per_minute, rate.deck.currency)

    @admin.display(description="connect fee", ordering="connect_fee")
    def connect(self, rate: Rate) -> str:
        return money(rate.connect_fee, rate.deck.currency) if rate.connect_fee else "-"

    @admin.display(description="increments, s")
    def increments(self, rate: Rate) -> str:
        return f"{rate.first_increment}/{rate.increment}"
