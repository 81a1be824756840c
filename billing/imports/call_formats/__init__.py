"""How switches write call records: a file here is a format; what they have in common stands in `base`."""

from billing.imports.call_formats.asterisk import AsteriskFormat
from billing.imports.call_formats.asterisk_custom import AsteriskCustomFormat
from billing.imports.call_formats.base import CallFormat, Leg, NotThisFormat, Unparsable
from billing.imports.call_formats.freeswitch_csv import FreeswitchCsvFormat
from billing.imports.call_formats.freeswitch_json import FreeswitchJsonFormat
from billing.imports.call_formats.ivy import IvyFormat
from billing.imports.call_formats.threecx import ThreeCXFormat
from billing.models import SourceFormat

FORMATS: dict[str, type[CallFormat]] = {
    SourceFormat.IVY: IvyFormat,
    SourceFormat.ASTERISK: AsteriskFormat,
    SourceFormat.ASTERISK_CUSTOM: AsteriskCustomFormat,
    SourceFormat.FREESWITCH_CSV: FreeswitchCsvFormat,
    SourceFormat.FREESWITCH_JSON: FreeswitchJsonFormat,
    SourceFormat.THREECX: ThreeCXFormat,
}

__all__ = ["FORMATS", "CallFormat", "Leg", "NotThisFormat", "Unparsable"]
