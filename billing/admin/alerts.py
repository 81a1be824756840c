from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from billing.admin.base import BillingInline, ReadOnlyAdmin, ReadOnlyInline, money
from billing.models import AlertKind, AlertRecipient, BalanceAlert, Episode, PartnerAlert

TERMS = ("rearm_margin", "remind_every_days", "remind_at_most", "tells_restored")


class AlertInline(BillingInline):
    """The alerts that staff set: typed in with a newcomer, who hears nothing of them, and to look at from then on.

    A threshold decides who is mailed, and is changed where that is shown. The built-in one follows the credit limit.
    """

    model = BalanceAlert
    fields = ("threshold", *TERMS, "is_active")
    show_change_link = True
    verbose_name_plural = "balance alerts (besides the one at the credit limit)"
    ordering = ("threshold",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BalanceAlert]:
        return super().get_queryset(request).filter(kind=AlertKind.LOW_BALANCE)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DefaultAlertInline(BillingInline):
    """What new customers get who come without an alert of their own."""

    model = PartnerAlert
    fields = ("threshold", *TERMS)
    verbose_name = "default alert"
    verbose_name_plural = "default alerts of new customers, in the partner's currency"
    ordering = ("threshold",)


class RecipientInline(ReadOnlyInline):
    model = AlertRecipient
    fields = ("email",)
    verbose_name = "recipient"
    verbose_name_plural = "recipients (none: the customer's own address)"
    ordering = ("email",)


@admin.register(BalanceAlert)
class BalanceAlertAdmin(ReadOnlyAdmin):
    """To look at: see `AlertInline`."""

    list_display = ("show_threshold", "customer", "kind", "margin", "is_active")
    list_select_related = ("customer",)
    list_filter = (("kind", ChoicesDropdownFilter), "is_active", ("customer", AutocompleteSelectFilter))
    search_fields = ("customer__account__startswith", "customer__name")
    show_facets = admin.ShowFacets.NEVER
    inlines = (RecipientInline,)
    fields: tuple[Any, ...] = (
        ("customer", "kind"),
        ("show_threshold", "margin"),
        ("remind_every_days", "remind_at_most"),
        "tells_restored",
        "is_active",
    )
    readonly_fields: tuple[str, ...] = ("show_threshold", "margin")

    @admin.display(description="threshold", ordering="threshold")
    def show_threshold(self, alert: BalanceAlert) -> str:
        return money(alert.threshold, alert.customer.currency)

    @admin.display(description="re-arm margin", ordering="rearm_margin")
    def margin(self, alert: BalanceAlert) -> str:
        return "usual" if alert.rearm_margin is None else money(alert.rearm_margin, alert.customer.currency)


@admin.register(Episode)
class EpisodeAdmin(ReadOnlyAdmin):
    list_display = ("opened_at", "customer", "threshold", "balance_then", "told", "closed_at")
    list_select_related = ("alert__customer",)
    list_filter = (
        ("closed_at", admin.EmptyFieldListFilter),
        "is_silent",
        ("alert__kind", ChoicesDropdownFilter),
        ("alert__customer", AutocompleteSelectFilter),
    )
    search_fields = ("alert__customer__account__startswith", "alert__customer__name")
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-id",)
    fields = (
        "customer",
        "alert",
        ("threshold", "balance_then"),
        "is_silent",
        ("opened_at", "opened_business_at"),
        "told_at",
        "recovered_at",
        ("closed_at", "balance_at_end"),
    )
    readonly_fields = ("customer", "threshold", "balance_then", "balance_at_end")

    @admin.display(description="customer told", ordering="told_at")
    def told(self, episode: Episode) -> datetime | str | None:
        return "never: silent" if episode.is_silent else episode.told_at

    @admin.display(description="customer", ordering="alert__customer__account")
    def customer(self, episode: Episode) -> str:
        return str(episode.alert.customer)

    @admin.display(description="threshold")
    def threshold(self, episode: Episode) -> str:
        return money(episode.opened_threshold, episode.alert.customer.currency)

    @admin.display(description="balance then")
    def balance_then(self, episode: Episode) -> str:
        return money(episode.opened_balance, episode.alert.customer.currency)

    @admin.display(description="balance when it closed")
    def balance_at_end(self, episode: Episode) -> str:
        if episode.closed_balance is None:
            return "-"
        return money(episode.closed_balance, episode.alert.customer.currency)
