"""`{% load portal %}`: amounts and times in the reader's words, and what every page of the portal is framed by."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django import template

from ivy.portal import navigation, status, words
from ivy.portal.charts import Chart

register = template.Library()


@register.filter
def money(amount: Decimal | None, currency: str) -> str:
    """`{{ entry.amount|money:entry.currency }}`; nothing for nothing."""
    return "" if amount is None else words.money(amount, currency)


@register.filter
def number(count: int | Decimal | None) -> str:
    return "" if count is None else words.number(count)


@register.filter
def day(on: date | None) -> str:
    return "" if on is None else words.day(on)


@register.filter
def month(on: date | None) -> str:
    return "" if on is None else words.month(on)


@register.filter
def moment(at: datetime | None) -> str:
    """`{{ call.started_at|moment }}`, with its zone."""
    return "" if at is None else words.moment(at)


@register.filter
def clock(at: datetime | None) -> str:
    """The minute alone, with its zone, beside a day that is told already."""
    return "" if at is None else words.time(at)


@register.simple_tag(takes_context=True)
def portal_navigation(context: dict[str, Any]) -> list[navigation.Line]:
    """The lines of the menu that the reader may open, the current one marked."""
    request = context["request"]
    match = request.resolver_match
    return navigation.lines(request.scope, current=match.view_name if match else "")


@register.inclusion_tag("portal/parts/banners.html", takes_context=True)
def portal_banners(context: dict[str, Any]) -> dict[str, Any]:
    """What is halted or wrong just now; the page then asks again every few seconds."""
    found = status.banners(context["request"].scope.partner)
    return {"banners": found, "seen": status.fingerprint(found)}


@register.inclusion_tag("portal/parts/chart.html")
def chart(picture: Chart) -> dict[str, Any]:
    """A picture with its title, and the same figures as a table."""
    return {"chart": picture}


@register.filter
def mail_kind(kind: str) -> str:
    """`low_balance` as people read it: Low balance."""
    return kind.replace("_", " ").capitalize()
