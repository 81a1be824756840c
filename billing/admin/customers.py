from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.alerts import AlertInline
from billing.admin.base import (
    BillingAdmin,
    BillingInline,
    ReadOnlyAdmin,
    change_link,
    changelist_link,
    label,
    money,
    side_by_side,
)
from billing.alerts import give_defaults
from billing.episodes import open_silently
from billing.models import (
    CallIdentity,
    Customer,
    CustomerBalance,
    CustomerStatus,
)


class IdentityInline(BillingInline):
    model = CallIdentity
    fields = ("kind", "value", "source", "valid_from", "valid_to")
    verbose_name_plural = "call identities"
    ordering = ("kind", "value", "id")
    per_page = 20

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Read the sources once, not for every line."""
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "source":
            field.choices = list(field.choices)
        return field


@admin.register(Customer)
class CustomerAdmin(BillingAdmin):
    list_display = ("account", "name", "partner", "show_status", "balance", "credit", "email")
    list_display_links = ("account", "name")
    list_select_related = ("partner", "balance_row")
    list_filter = (("status", ChoicesDropdownFilter), ("partner", RelatedDropdownFilter), "currency")
    search_fields = ("account__startswith", "name", "email")
    search_help_text = "Account, name, e-mail or phone number"
    show_facets = admin.ShowFacets.NEVER
    autocomplete_fields = ("partner", "rate_deck", "inbound_deck")
    fixed_fields = ("account", "currency")
    readonly_fields = ("balance", "look_at", "closed_at", "created_at")
    inlines = (IdentityInline, AlertInline)
    fieldsets: ClassVar = (
        (None, {"fields": (("account", "name"), ("balance", "look_at"), "partner")}),
        ("Status", {"fields": (("status", "closed_at"), "email")}),
        ("Money", {"fields": (("currency", "credit_limit"), ("rate_deck", "inbound_deck"))}),
        ("Dates", {"fields": (("timezone", "created_at"),)}),
    )
    add_fieldsets: ClassVar = (
        (None, {"fields": (("account", "name"), "partner", "email")}),
        ("Money", {"fields": (("currency", "credit_limit"), ("rate_deck", "inbound_deck"))}),
        ("Dates", {"fields": ("timezone",)}),
    )

    show_status = label("status", {CustomerStatus.ACTIVE: "success", CustomerStatus.SUSPENDED: "warning"})

    def save_related(self, request: HttpRequest, form: forms.ModelForm, formsets: Any, change: bool) -> None:
        """A newcomer without an alert gets those of its partner, and hears nothing of what it is below already."""
        super().save_related(request, form, formsets, change)
        if not change:
            give_defaults([form.instance.pk])
            open_silently([form.instance.pk])

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Customer], search_term: str
    ) -> tuple[QuerySet[Customer], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        value = search_term.strip().removeprefix("+")
        if value:
            named = CallIdentity.objects.filter(value__startswith=value).values("customer")
            found |= queryset.filter(pk__in=named)
        return found, may_repeat

    @admin.display(description="balance", ordering="balance_row__balance")
    def balance(self, customer: Customer) -> str:
        return money(customer.balance_row.balance, customer.currency)

    @admin.display(description="credit limit", ordering="credit_limit")
    def credit(self, customer: Customer) -> str:
        return money(customer.credit_limit, customer.currency) if customer.credit_limit else "-"

    @admin.display(description="look at")
    def look_at(self, customer: Customer) -> SafeString:
        return side_by_side(
            [
                changelist_link("ledger", "ledgerentry", customer__id__exact=customer.pk),
                changelist_link("calls", "callrecord", customer__id__exact=customer.pk),
                changelist_link("items", "billingitem", customer__id__exact=customer.pk),
                changelist_link("alerts", "balancealert", customer__id__exact=customer.pk),
                changelist_link("episodes", "episode", alert__customer__id__exact=customer.pk),
            ]
        )


@admin.register(CustomerBalance)
class CustomerBalanceAdmin(ReadOnlyAdmin):
    """Moved by the ledger and by nothing else."""

    list_display = ("customer", "amount")
    list_select_related = ("customer",)
    search_fields = ("customer__account__startswith", "customer__name")
    list_filter = ("currency",)
    show_facets = admin.ShowFacets.NEVER
    fields = ("whose", "amount")
    readonly_fields = ("whose", "amount")

    @admin.display(description="balance", ordering="balance")
    def amount(self, row: CustomerBalance) -> str:
        return money(row.balance, row.currency)

    @admin.display(description="customer")
    def whose(self, row: CustomerBalance) -> SafeString:
        return change_link(f"{row.customer.account}, {row.customer.name}", "customer", row.customer_id)


@admin.register(CallIdentity)
class CallIdentityAdmin(BillingAdmin):
    list_display = ("value", "kind", "customer", "name_of_customer", "source", "valid_from", "valid_to")
    list_select_related = ("customer", "source")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("source", RelatedDropdownFilter),
        ("customer", AutocompleteSelectFilter),
    )
    search_fields = ("value__startswith", "customer__account__startswith", "customer__name")
    show_facets = admin.ShowFacets.NEVER
    autocomplete_fields = ("customer",)
    fields = ("customer", ("kind", "value"), "source", "valid_from", "valid_to")

    @admin.display(description="name", ordering="customer__name")
    def name_of_customer(self, identity: CallIdentity) -> str:
        return identity.customer.name

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and super(BillingAdmin, self).has_delete_permission(request, obj)
