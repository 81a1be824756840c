"""How the control room writes times, money and counts."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.template import Library

from billing import amounts
from billing.periods import currency_digits

register = Library()


@register.filter
def utc(at: datetime | date | None) -> str:
    """`2026-11-27 14:30 UTC`; a date as it is; nothing for none."""
    if at is None:
        return ""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else f"{at:%Y-%m-%d}"


@register.filter
def exactly(at: datetime | None) -> str:
    """With seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


@register.filter
def clock(at: datetime | None) -> str:
    """The time of day alone: `19:38 UTC`."""
    return f"{at.astimezone(UTC):%H:%M} UTC" if at else ""


SHARES = {Decimal("0.1"): "a tenth", Decimal("0.2"): "a fifth", Decimal("0.25"): "a quarter", Decimal("0.5"): "half"}


@register.filter
def share(part: Decimal) -> str:
    """A part of a whole: `a quarter (25 %)`, `30 %`."""
    percent = f"{part * 100:.1f}".removesuffix(".0") + " %"
    return f"{SHARES[part]} ({percent})" if part in SHARES else percent


@register.filter
def ago(at: datetime | None, now: datetime) -> str:
    """How long before `now`: `3 minutes`, `2 hours`, `5 days`; coarse, so that it stays the same for a while."""
    return lasting(now - at) if at else ""


@register.filter
def lasting(span: timedelta | float | None) -> str:
    """A length of time (or seconds) in one unit."""
    if span is None:
        return ""
    seconds = int(span.total_seconds() if isinstance(span, timedelta) else span)
    for length, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a minute"


@register.filter
def thousands(number: float) -> str:
    """`1,234,567`; a median between two numbers with its half."""
    return f"{number:,.1f}".removesuffix(".0") if isinstance(number, float) else f"{number:,}"


@register.filter
def counted(number: int, most: int) -> str:
    """`1,234`, or `more than 10,000` where nobody counted on."""
    return f"more than {most:,}" if number > most else f"{number:,}"


@register.filter
def money(amount: Decimal, currency: str) -> str:
    """`1,234.50 GBP`."""
    return amounts.money(amount, currency)


@register.filter
def rounded(amount: Decimal, currency: str) -> str:
    """The same in whole minor units, for sums that are looked at and not added up."""
    return f"{amount:,.{currency_digits(currency)}f} {currency}"


@register.filter
def unlocalized(number: float) -> str:
    """As pictures want it."""
    return f"{number:g}"
