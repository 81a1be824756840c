"""How switches write call records: a file here is a format; what they have in common stands in `base`."""

from billing.imports.call_formats.asterisk import AsteriskFormat
from billing.imports.call_formats.base import CallFormat, Leg, NotThisFormat, Unparsable
from billing.imports.call_formats.ivy import IvyFormat
from billing.models import SourceFormat

FORMATS: dict[str, type[CallFormat]] = {
    SourceFormat.IVY: IvyFormat,
    SourceFormat.ASTERISK: AsteriskFormat,
}

__all__ = ["FORMATS", "CallFormat", "Leg", "NotThisFormat", "Unparsable"]
