"""The lists of customers, their alerts, of requested credits and of their limits.

What decides who is mailed (status, credit limit, alerts) is not changed here, but on pages that show what would follow.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

import billing.admin
from billing.admin.base import DatabaseRulesForm, ReadOnlyAdmin, StaffAdmin, money, side_by_side
from billing.models import AlertKind, BalanceAlert, Customer
from ivy.models import CreditLimit, CreditRequest
from ivy.staff.acts import act
from ivy.staff.customers import links

admin.site.unregister([Customer, BalanceAlert])


@admin.register(Customer)
class CustomerAdmin(billing.admin.customers.CustomerAdmin):
    """A customer's fields. Its status and credit limit are changed where one is told before what follows of it."""

    def get_list_display(self, request: HttpRequest) -> list[str]:
        account, *others = super().get_list_display(request)
        return [account, "all_of_it", *others]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Iterable[str]:
        return (*super().get_readonly_fields(request, obj), "status", "change_it", *(("credit_limit",) if obj else ()))

    @admin.display(description="look at")
    def all_of_it(self, customer: Customer) -> SafeString:
        return _link(links.customer(customer.account), "everything")

    @admin.display(description="look at")
    def look_at(self, customer: Customer) -> SafeString:
        return side_by_side([_link(links.customer(customer.account), "everything"), super().look_at(customer)])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """To those who may change it, where that is done."""
        fieldsets = super().get_fieldsets(request, obj)
        ways = [("To change", {"fields": ("change_it",)})] if obj and self.has_change_permission(request, obj) else []
        return [*fieldsets, *ways]

    @admin.display(description="with a preview")
    def change_it(self, customer: Customer) -> SafeString:
        ways = (("status", "the status"), ("credit_limit", "the credit limit"), ("alert_add", "a new alert"))
        return side_by_side(
            [_link(reverse(f"admin:customer_{what}", args=[customer.account]), words) for what, words in ways]
        )


@admin.register(BalanceAlert)
class BalanceAlertAdmin(billing.admin.alerts.BalanceAlertAdmin):
    readonly_fields = ("change_it", *billing.admin.alerts.BalanceAlertAdmin.readonly_fields)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """To those who may change it, where that is done."""
        may = request.user.has_perm("billing.change_balancealert")
        return (*(("change_it",) if may else ()), *super().get_fields(request, obj))

    @admin.display(description="to change it")
    def change_it(self, alert: BalanceAlert) -> SafeString:
        account = alert.customer.account
        change = _link(reverse("admin:customer_alert", args=[account, alert.pk]), "change it, with a preview")
        ended = (
            []
            if alert.kind == AlertKind.EXHAUSTED or not alert.is_active
            else [_link(reverse("admin:customer_alert_end", args=[account, alert.pk]), "end it")]
        )
        return side_by_side([change, *ended, _link(links.customer(account), "everything about the customer")])


@admin.register(CreditRequest)
class CreditRequestAdmin(ReadOnlyAdmin):
    """All that were ever asked for; those that wait have a page of their own."""

    list_display = ("asked_at", "customer", "in_words", "kind", "reference", "asked_by", "state", "decided_by")
    list_select_related = ("customer", "asked_by", "decided_by")
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("customer__account", "reference")
    ordering = ("-id",)
    fields: ClassVar = (
        ("customer", "in_words"),
        ("kind", "reference"),
        "reason",
        ("asked_by", "asked_at"),
        "state",
        ("decided_by", "decided_at"),
        "decided_because",
        "entry_key",
    )
    readonly_fields = ("in_words",)

    @admin.display(description="amount")
    def in_words(self, asked: CreditRequest) -> str:
        return money(asked.amount, asked.currency)


class LimitForm(DatabaseRulesForm):
    class Meta:
        model = CreditLimit
        fields = ("currency", "amount")


@admin.register(CreditLimit)
class CreditLimitAdmin(StaffAdmin):
    """Up to how much one person may give a customer within a day. A currency without a row: 100 units of it."""

    form = LimitForm
    list_display = ("currency", "in_words")
    ordering = ("currency",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Iterable[str]:
        return ("currency",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: CreditLimit, form: Any, change: bool) -> None:
        with act(by=request.user.get_username(), verb="change limit", noun="credit limit", name=obj.currency) as doing:
            before = CreditLimit.objects.filter(pk=obj.pk).first()
            doing.before = {"amount": f"{before.amount.normalize():f}"} if before else {}
            super().save_model(request, obj, form, change)
            doing.after = {"amount": f"{obj.amount.normalize():f}"}
            doing.summary = f"One person may give a customer up to {money(obj.amount, obj.currency)} a day."

    @admin.display(description="up to, for one customer within a day", ordering="amount")
    def in_words(self, limit: CreditLimit) -> str:
        return money(limit.amount, limit.currency)


def _link(url: str, text: str) -> SafeString:
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)
