"""Fields and validators that several nouns share."""

import re
import zoneinfo
from typing import Any

from babel.numbers import list_currencies
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

name_of_a_thing = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z",
    "Use letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
)


# To PostgreSQL, which finds what is due, these are the hours of winter, all the year; to Python zones with summer time.
AMBIGUOUS_ZONES = {"CET", "EET", "MET", "WET"}


def validate_time_zone(name: str) -> None:
    """Raise ValidationError unless `name` is a zone of the IANA time zone database, and the same to all who ask."""
    if name in AMBIGUOUS_ZONES:
        raise ValidationError(f"“{name}” may have summer time or not; write a place, like Europe/Berlin.")
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"“{name}” is not a time zone; write it like Europe/Berlin.")


def validate_currency(code: str) -> None:
    """Raise ValidationError unless `code` is a currency of ISO 4217."""
    if not re.fullmatch(r"[A-Z]{3}", code) or code not in list_currencies():
        raise ValidationError(f"“{code}” is not a currency; write its three letters, like EUR.")


class MoneyField(models.DecimalField):
    """An amount of money, exact: numeric(18,6). The currency stands beside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 18)
        kwargs.setdefault("decimal_places", 6)
        super().__init__(*args, **kwargs)


class KeyField(models.TextField):
    """Text that identifies something: compared byte by byte, whatever the locale of the database."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("db_collation", "C")
        super().__init__(*args, **kwargs)


class CurrencyField(models.CharField):
    """Three letters of ISO 4217."""

    default_validators = [validate_currency]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 3)
        super().__init__(*args, **kwargs)


class TimeZoneField(models.CharField):
    """A zone of the IANA time zone database, such as Europe/Berlin."""

    default_validators = [validate_time_zone]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 64)
        super().__init__(*args, **kwargs)


class SnapshotField(models.TextField):
    """PostgreSQL's pg_snapshot: which transactions had ended at an instant. Written by `pg_current_snapshot()`."""

    def db_type(self, connection: Any) -> str:
        return "pg_snapshot"
