"""How the pages of work lists, prices and items write things, and what leads to them from the admin's own pages."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Model
from django.db.models.options import Options
from django.template import Context, Library
from django.urls import reverse
from django.utils import timezone

from billing.amounts import money
from billing.models import BillingItem, QuarantinedCall, RateDeck
from ivy.staff.empty_lists import WHEN_EMPTY
from ivy.staff.work.exports import may_be_exported

register = Library()


@register.simple_tag
def when_empty(listed: "Options[Any]") -> str:
    """What a list of the admin is for and what to do, for when nothing is in it."""
    return WHEN_EMPTY.get(listed.label_lower, "")


@register.filter
def in_money(amount: Decimal | None, currency: str) -> str:
    """An amount with its currency, as all staff pages have it."""
    return "-" if amount is None else money(amount, currency)


@register.filter
def charged(amount: Decimal, currency: str) -> str:
    """What a ledger entry gives, without its sign's surprise: 12.00 EUR."""
    return money(abs(amount), currency)


@register.filter
def figure(number: Decimal) -> str:
    """A number without needless zeros: 0.09"""
    return f"{number.normalize():f}"


@register.filter
def clock(seconds: int) -> str:
    """1:02:03"""
    return str(timedelta(seconds=int(seconds)))


@register.filter
def utc(at: datetime | None) -> str:
    """2026-11-27 14:30 UTC"""
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


@register.filter
def ago(at: datetime | None) -> str:
    """How long ago, roughly: 3 days, 5 hours."""
    if at is None:
        return ""
    since = timezone.now() - at
    if since.days:
        return f"{since.days} day{'s' * (since.days != 1)}"
    minutes = max(0, int(since.total_seconds() // 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@register.filter
def last_day(end: date) -> date:
    """The last day of a half-open stretch."""
    return end - timedelta(days=1)


@register.simple_tag(takes_context=True)
def export_address(context: Context) -> str:
    """Where the list on the screen leaves as CSV, filtered as it is; empty where it does not."""
    shown, request = context.get("cl"), context.get("request")
    if shown is None or request is None or not may_be_exported(shown.opts.label_lower):
        return ""
    address = reverse("admin:work_export", args=[shown.opts.app_label, shown.opts.model_name])
    return f"{address}?{request.GET.urlencode()}" if request.GET else address


@register.simple_tag
def work_address(thing: Model | None) -> str:
    """The page of the control room about a row of the admin; empty where there is none."""
    match thing:
        case RateDeck():
            return reverse("admin:work_deck", args=[thing.name])
        case BillingItem():
            return reverse("admin:work_item", args=[thing.reference])
        case QuarantinedCall():
            return reverse("admin:work_call", args=[thing.pk])
    return ""


@register.filter
def is_in_force(rate: Any, at: datetime) -> bool:
    return (rate.valid_from is None or rate.valid_from <= at) and (rate.valid_to is None or rate.valid_to > at)
