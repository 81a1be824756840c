"""How the portal writes money, days and times: as the reader's language does, in the reader's zone, which it names.

The reader is set once a request, by `ivy.portal.access`; outside of one it is an English reader in Django's zone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_decimal
from django.utils import timezone

from notifications import formats

_reader: ContextVar[Locale] = ContextVar("reader", default=formats.ENGLISH_DATES)


@contextmanager
def written_for(language: str, zone: str) -> Iterator[None]:
    """Within it, amounts and times are written for a reader of this language tag, in this IANA zone."""
    token = _reader.set(locale_of(language))
    try:
        with timezone.override(ZoneInfo(zone)):
            yield
    finally:
        _reader.reset(token)


def locale_of(language: str) -> Locale:
    """The locale of a language tag; plain English has the day before the month and 24 hours."""
    locale = formats.locale_of(language)
    return formats.ENGLISH_DATES if locale == formats.ENGLISH else locale


def money(amount: Decimal, currency: str) -> str:
    """All decimals of the amount, at least those of the currency: `£1,234.50`, `-0,0345 €`."""
    return formats.money(amount, currency, _reader.get())


def number(count: int | Decimal) -> str:
    """`20,000`, or `20.000`."""
    return format_decimal(count, locale=_reader.get())


def day(on: date) -> str:
    """`2 Mar 2026`. A datetime gives its day in the reader's zone."""
    return format_date(_local(on), "medium", locale=_reader.get())


def short_day(on: date) -> str:
    """Day and month: `2 Mar`."""
    return format_skeleton("MMMd", _midnight(_local(on)), locale=_reader.get())


def month(on: date) -> str:
    """`March 2026`."""
    return format_skeleton("yMMMM", _midnight(_local(on)), locale=_reader.get())


def moment(at: datetime) -> str:
    """Day, minute and zone: `2 Mar 2026, 10:30 CET`."""
    return f"{day(at)}, {time(at)}"


def time(at: datetime) -> str:
    """Minute and zone, in the reader's zone: `10:30 CET`."""
    local = timezone.localtime(at)
    return f"{format_time(local, 'short', tzinfo=local.tzinfo, locale=_reader.get())} {zone_of(local)}"


def zone_of(local: datetime) -> str:
    """The letters of its zone at that moment, or `UTC+05:45` where it has none."""
    name = local.tzname() or ""
    return name if name[:1].isalpha() else f"UTC{local.isoformat()[-6:]}"


def midnight(day: date) -> datetime:
    """When this day begins in the reader's zone."""
    return datetime(day.year, day.month, day.day, tzinfo=timezone.get_current_timezone())


def _local(on: date) -> date:
    return timezone.localtime(on).date() if isinstance(on, datetime) else on


def _midnight(on: date) -> datetime:
    return datetime(on.year, on.month, on.day)  # noqa: DTZ001 - only its day is written


@cache
def languages() -> list[tuple[str, str]]:
    """Language tags that people can choose to read money and dates in, with their names in English."""
    tags = ("en-GB", "en-US", "en-IE", "da", "de", "de-AT", "de-CH", "es", "fi", "fr", "fr-CH", "it", "nb", "nl", "pl",
            "pt", "pt-BR", "sv")  # fmt: skip
    named = [(tag, formats.locale_of(tag).get_display_name("en") or tag) for tag in tags]
    return sorted(named, key=lambda one: one[1])


@cache
def zones() -> list[str]:
    """The zones of the IANA database that stand for places, and UTC."""
    return sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/")))
