"""How mails write amounts, times and names: money as the reader's language does, dates in the language of the words."""

import copy
import re
import unicodedata
from datetime import datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from babel import Locale
from babel.core import UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import NumberPattern

from billing.periods import currency_digits
from notifications import languages

ENGLISH = Locale("en")
# Plain English, from no country in particular, has the day before the month and 24 hours.
ENGLISH_DATES = Locale("en", "GB")

# What turns the direction of the text around it.
TURNING = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
# CLDR keeps symbols that are letters off the digits, CHF 5.00; babel does not.
LETTER_BY_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
RIGHT_TO_LEFT = {"R", "AL", "AN"}


@cache
def locale_of(language: str) -> Locale:
    """The locale of a language tag such as `de`, `pt-BR` or `en_GB`; English for what is none."""
    try:
        return Locale.parse(language.strip().replace("-", "_"))
    except (ValueError, TypeError, UnknownLocaleError):
        return ENGLISH


def money(amount: Decimal, currency: str, locale: Locale) -> str:
    """All decimals of the amount, at least those of the currency: `£1,234.50`, `1.234,50 €`, `¥1,200`."""
    exponent = amount.normalize().as_tuple().exponent
    return _written(
        amount, currency, locale, max(currency_digits(currency), -exponent if isinstance(exponent, int) else 0)
    )


def money_left(amount: Decimal, currency: str, locale: Locale) -> str:
    """To the currency's own decimals, and never more than there is: 9.9987 is below 10.00 in writing, too."""
    digits = currency_digits(currency)
    return _written(amount.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR), currency, locale, digits)


def about(amount: Decimal, currency: str, locale: Locale) -> str:
    """Rounded to the currency's own decimals."""
    digits = currency_digits(currency)
    return _written(amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP), currency, locale, digits)


@lru_cache(maxsize=512)
def _written(amount: Decimal, currency: str, locale: Locale, digits: int) -> str:
    amount = amount or abs(amount)  # no minus before nothing; the cache takes both for the same
    # Not `format_currency`: it goes by the decimals of daily use, where the law and our prices go by ISO 4217.
    pattern: NumberPattern = copy.copy(locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    text: str = pattern.apply(amount, locale, currency=currency, currency_digits=False)
    return _apart(LETTER_BY_DIGIT.sub("\N{NO-BREAK SPACE}", text))


@lru_cache(maxsize=512)  # the falls of one billing run have one moment
def moment(when: datetime, zone: ZoneInfo, locale: Locale) -> str:
    """Day, minute and zone of a time, as the clocks of that zone show it: `2 March 2026, 10:30 CET`."""
    at = when.astimezone(zone)
    name = at.tzname() or ""
    letters = name if name[:1].isalpha() else f"UTC{at.isoformat()[-6:]}"  # many zones have no letters: UTC+05:45
    return f"{day(at, locale)}, {format_time(at, 'short', tzinfo=at.tzinfo, locale=_dates(locale))} {letters}"


def day(at: datetime, locale: Locale) -> str:
    """The day of a time that is in the customer's zone: `2 March 2026`."""
    return format_date(at.date(), "long", locale=_dates(locale))


def _dates(locale: Locale) -> Locale:
    """As the words around: plain English, too, where mails are not written in that language."""
    is_english = locale.language == ENGLISH.language
    return locale if (locale.territory if is_english else languages.is_written(locale)) else ENGLISH_DATES


def straight(name: str) -> str:
    """The name without marks that would turn what stands after it."""
    return TURNING.sub("", name)


def set_apart(name: str) -> str:
    """The same within a sentence: one written from right to left keeps its direction to itself."""
    return _apart(straight(name))


def _apart(text: str) -> str:
    turns = any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in text)
    return f"\u2068{text}\u2069" if turns else text
