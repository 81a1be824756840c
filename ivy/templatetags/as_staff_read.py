"""Amounts and times as staff read them."""

from datetime import UTC, datetime
from decimal import Decimal

from django.template import Library

register = Library()


@register.filter
def money(amount: Decimal | None, currency: str) -> str:
    """`1,234.50 GBP`; a dash where there is no amount."""
    from billing.admin import base  # noqa: PLC0415 - Unfold's widgets, which it imports, load these filters

    return "-" if amount is None else base.money(amount, currency)


@register.filter
def utc(at: datetime | None) -> str:
    """`2026-11-27 14:30 UTC`; a dash where there is no time."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@register.filter
def exactly(at: datetime | None) -> str:
    """With seconds."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
