"""Registering the switches that deliver call records, once each."""

from django.core.exceptions import ValidationError

from billing.imports.call_formats import FORMATS
from billing.imports.numbers import UnknownRegion, numbers_of
from billing.models import Source
from billing.models.fields import name_of_a_thing, validate_time_zone

LONGEST_NAME = 64


class UnknownSource(LookupError):
    """No source of this name is registered."""


class BadSource(ValueError):
    """A source can't be as it was described; the message is a sentence."""


class SourceDiffers(ValueError):
    """The source is registered with other settings; the message is a sentence."""


def find(name: str, *, format: str | None = None, timezone: str | None = None, region: str | None = None) -> Source:  # noqa: A002
    """The registered source of this name, with these settings where any are given.

    Raises UnknownSource, SourceDiffers, or BadSource if it lacks something its format needs.
    """
    source = Source.objects.filter(name=name).first()
    if source is None:
        raise UnknownSource(f"There is no source “{name}”; a mistyped name would bill its calls a second time.")
    for setting, given in (("format", format), ("timezone", timezone), ("region", region)):
        registered = getattr(source, setting)
        if given is not None and given != registered:
            raise SourceDiffers(
                f"The source “{name}” is registered with {_words(setting, registered)}, not {_words(setting, given)}."
            )
    _check(source)
    return source


def describe(name: str, *, format: str, timezone: str = "", region: str = "") -> Source:  # noqa: A002
    """The source of this name with exactly these settings; one that is not registered yet comes unsaved.

    Raises BadSource, or SourceDiffers if it is registered with others.
    """
    source = Source(name=name, format=format, timezone=timezone, region=region)
    _check(source)
    try:
        return find(name, format=format, timezone=timezone, region=region)
    except UnknownSource:
        return source


def register(name: str, *, format: str, timezone: str = "", region: str = "") -> Source:  # noqa: A002
    """Register a source; safe to repeat with the same settings.

    `format` is one of billing.imports.call_formats, `timezone` an IANA zone (needed when the format writes local
    times), `region` the two letters of the country whose dialling rules its numbers follow. Raises BadSource, or
    SourceDiffers if it is registered with others.
    """
    source = Source(name=name, format=format, timezone=timezone, region=region)
    _check(source)
    Source.objects.bulk_create([source], ignore_conflicts=True)  # it may be registered already, also just now
    return find(name, format=format, timezone=timezone, region=region)


def _check(source: Source) -> None:
    try:
        name_of_a_thing(source.name)
    except ValidationError as error:
        raise BadSource(f"“{source.name}” can't be the name of a source. {error.messages[0]}") from None
    if len(source.name) > LONGEST_NAME:
        raise BadSource(f"The name of a source has at most {LONGEST_NAME} characters.")
    if source.format not in FORMATS:
        raise BadSource(f"There is no format “{source.format}”; the formats are {', '.join(sorted(FORMATS))}.")
    if source.timezone:
        try:
            validate_time_zone(source.timezone)
        except ValidationError as error:
            raise BadSource(error.messages[0]) from None
    elif FORMATS[source.format].needs_timezone:
        raise BadSource(f"The format {source.format} writes local times: name the time zone of “{source.name}”.")
    try:
        numbers_of(source.region)
    except UnknownRegion as error:
        raise BadSource(str(error)) from None


def _words(setting: str, value: str) -> str:
    return f"{setting} {value}" if value else f"no {setting}"
