from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from billing.admin.base import BookedMonthFilter, MillionsAdmin, change_link, money
from billing.models import LedgerEntry


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
        ("How it was priced", {"fields": (("rate_id", "billed_seconds"), "run_id")}),
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


def _link(entry: LedgerEntry | None) -> SafeString | str:
    return change_link(entry.key, "ledgerentry", entry.pk) if entry else "-"
