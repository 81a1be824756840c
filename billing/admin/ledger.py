from decimal import Decimal
from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from billing.admin.base import BookedMonthFilter, MillionsAdmin, ReadOnlyAdmin, change_link, count, money
from billing.models import LedgerEntry, Rerating


@admin.register(LedgerEntry)
class LedgerEntryAdmin(MillionsAdmin):
    """Never changed, never deleted: corrections are entries of their own, made by `reverse`, `adjust` and `rerate`."""

    search_help_text = "Beginning of a key, or an account"
    list_display = ("key", "posted_at", "occurred_at", "customer", "kind", "signed_amount", "description")
    list_select_related = ("customer",)
    list_filter = (("customer", AutocompleteSelectFilter), BookedMonthFilter, ("kind", ChoicesDropdownFilter))
    readonly_fields = ("signed_amount", "takes_back", "taken_back_by")
    fieldsets: ClassVar = (
        (None, {"fields": ("key", ("signed_amount", "kind"), ("customer", "description"))}),
        ("When", {"fields": (("occurred_at", "posted_at"), ("period_start", "period_end"))}),
        ("Corrections", {"fields": (("takes_back", "taken_back_by"), "charge_number", ("reason", "entered_by"))}),
        ("How it was priced", {"fields": (("rate_id", "billed_seconds"), ("run_id", "rerating_id"))}),
    )

    @admin.display(description="amount")
    def signed_amount(self, entry: LedgerEntry) -> str:
        return money(entry.amount, entry.currency)

    @admin.display(description="takes back")
    def takes_back(self, entry: LedgerEntry) -> SafeString | str:
        return _link(LedgerEntry.objects.filter(key=entry.reverses).first() if entry.reverses else None)

    @admin.display(description="taken back by")
    def taken_back_by(self, entry: LedgerEntry) -> SafeString | str:
        return _link(LedgerEntry.objects.filter(reverses=entry.key).first())


@admin.register(Rerating)
class ReratingAdmin(ReadOnlyAdmin):
    """Calls charged again by `rerate`. One without an end was interrupted: run the same command again."""

    list_display = (
        "began_at",
        "ended_at",
        "entered_by",
        "since",
        "until",
        "customer",
        "deck",
        "reversals",
        "charges",
        "difference",
    )
    list_select_related = ("customer", "deck")
    ordering = ("-began_at",)
    readonly_fields = ("difference",)
    fieldsets: ClassVar = (
        (None, {"fields": (("began_at", "ended_at"), ("entered_by", "reason"))}),
        ("Which calls", {"fields": (("since", "until"), ("customer", "deck"))}),
        ("What it did", {"fields": (("reversed_count", "charged_count"), "difference")}),
    )

    reversals = count("reversed_count")
    charges = count("charged_count")

    @admin.display(description="charged more than before")
    def difference(self, rerating: Rerating) -> str:
        return (
            ", ".join(money(Decimal(amount), currency) for currency, amount in sorted(rerating.amount.items())) or "-"
        )


def _link(entry: LedgerEntry | None) -> SafeString | str:
    return change_link(entry.key, "ledgerentry", entry.pk) if entry else "-"
