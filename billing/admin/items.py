from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from billing.admin.base import BillingAdmin, DatabaseRulesForm, ReadOnlyAdmin, ReadOnlyInline, money
from billing.models import BillingItem, ItemKind, ItemPause, ItemPeriod, ItemPriceChange
from billing.periods import InvalidSchedule, Schedule

FIXED_ONCE_CHARGED = (
    "customer",
    "reference",
    "kind",
    "starts_on",
    "interval",
    "interval_count",
    "bill_cycle_day",
    "timing",
    "proration",
)


class ItemForm(DatabaseRulesForm):
    def clean(self) -> dict[str, Any]:
        """Refuse, in its own words, what `billing.periods` could not charge."""
        cleaned = super().clean()
        item = {**{field: getattr(self.instance, field) for field in FIXED_ONCE_CHARGED[2:]}, **cleaned}
        if not self.errors and item["kind"] == ItemKind.RECURRING and item["interval"]:
            try:
                Schedule(
                    starts_on=item["starts_on"],
                    ends_on=item["ends_on"],
                    interval=item["interval"],
                    interval_count=item["interval_count"],
                    bill_cycle_day=item["bill_cycle_day"],
                    timing=item["timing"],
                    proration=item["proration"],
                )
            except InvalidSchedule as problem:
                self.add_error(None, str(problem))
        return cleaned


class PeriodInline(ReadOnlyInline):
    model = ItemPeriod
    fields = ("start_on", "end_on", "kind", "part", "charged_at", "entry_key")
    readonly_fields = ("part", "entry_key")
    ordering = ("-start_on",)
    verbose_name_plural = "charged periods"
    per_page = 12

    @admin.display(description="days")
    def part(self, period: ItemPeriod) -> str:
        return f"{period.days} of {period.whole_days}"


class PriceChangeInline(ReadOnlyInline):
    model = ItemPriceChange
    fields = ("from_date", "amount", "changed_by", "changed_at")
    ordering = ("-from_date",)
    verbose_name_plural = "amounts from a date"


class PauseInline(ReadOnlyInline):
    model = ItemPause
    fields = ("starts_on", "ends_on", "changed_by", "changed_at")
    ordering = ("-starts_on",)
    verbose_name_plural = "pauses"


@admin.register(BillingItem)
class BillingItemAdmin(BillingAdmin):
    form = ItemForm
    list_display = (
        "reference",
        "customer",
        "description",
        "price",
        "every",
        "starts_on",
        "ends_on",
        "charged_through",
        "next_due_on",
    )
    list_select_related = ("customer",)
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("interval", ChoicesDropdownFilter),
        ("customer", AutocompleteSelectFilter),
    )
    search_fields = ("reference__startswith", "customer__account__startswith", "description")
    show_facets = admin.ShowFacets.NEVER
    autocomplete_fields = ("customer",)
    inlines = (PriceChangeInline, PauseInline, PeriodInline)
    readonly_fields = ("charged_through", "next_due_on")
    fieldsets: ClassVar = (
        (None, {"fields": ("customer", ("reference", "description"), "kind", ("amount", "quantity"))}),
        ("Days", {"fields": (("starts_on", "ends_on"), ("charged_through", "next_due_on"))}),
        (
            "Recurring items",
            {"fields": (("interval", "interval_count"), ("bill_cycle_day", "timing"), "proration")},
        ),
    )
    add_fieldsets: ClassVar = (
        (None, {"fields": ("customer", ("reference", "description"), "kind", ("amount", "quantity"))}),
        ("Days", {"fields": (("starts_on", "ends_on"),)}),
        (
            "Recurring items",
            {"fields": (("interval", "interval_count"), ("bill_cycle_day", "timing"), "proration")},
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Iterable[str]:
        return (*self.readonly_fields, *(FIXED_ONCE_CHARGED if _was_charged(obj) else ()))

    def get_inlines(self, request: HttpRequest, obj: BillingItem | None = None) -> Iterable[Any]:
        return self.inlines if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super(BillingAdmin, self).has_delete_permission(request, obj)
        return may and obj is not None and not _was_charged(obj)

    @admin.display(description="amount", ordering="amount")
    def price(self, item: BillingItem) -> str:
        amount = money(item.amount, item.customer.currency)
        return amount if item.quantity == 1 else f"{item.quantity.normalize():f} at {amount}"

    @admin.display(description="every", ordering="interval")
    def every(self, item: BillingItem) -> str:
        if item.kind == ItemKind.ONE_OFF:
            return "once"
        return item.interval if item.interval_count == 1 else f"{item.interval_count} {item.interval}s"


def _was_charged(item: BillingItem | None) -> bool:
    return item is not None and item.charged_through is not None


@admin.register(ItemPeriod)
class ItemPeriodAdmin(ReadOnlyAdmin):
    list_display = ("entry_key", "item", "start_on", "end_on", "kind", "part", "price", "charged_at")
    list_filter = (("kind", ChoicesDropdownFilter), "is_one_off")
    search_fields = ("item__reference__startswith",)
    search_help_text = "Beginning of an item's reference"
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    fields = ("item", "entry_key", ("start_on", "end_on"), ("kind", "part"), "price", "charged_at")
    readonly_fields = ("entry_key", "part", "price")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ItemPeriod]:
        return super().get_queryset(request).select_related("item__customer")

    @admin.display(description="days")
    def part(self, period: ItemPeriod) -> str:
        return f"{period.days} of {period.whole_days}"

    @admin.display(description="amount for a whole period")
    def price(self, period: ItemPeriod) -> str:
        amount = money(period.amount, period.item.customer.currency)
        return amount if period.quantity == 1 else f"{period.quantity.normalize():f} at {amount}"
