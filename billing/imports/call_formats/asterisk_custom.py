"""Format `asterisk-custom`: what Asterisk's module cdr_custom writes, with the columns that cdr_custom.conf chose.

A header names the columns as the mapping does (`src`; also `CDR(src)`): dst, start, billsec and disposition at least;
the others that count are src, answer, end, duration, accountcode, channel, dstchannel, uniqueid, sequence. Asterisk
writes no header itself: put one in front of the file. Without one a line is taken to be what the Master.csv of the
sample configuration holds:

    clid, src, dst, dcontext, channel, dstchannel, lastapp, lastdata, start, answer, end, duration, billsec,
    disposition, amaflags, accountcode, uniqueid, userfield      always
    sequence                                                     since Asterisk 10, without quotes

Separators must be commas and quotes double ones, as in the sample. Times are the wall clock's where Asterisk runs, or,
where the mapping says so (`start(int64)`, `start(%FT%T%z)`), seconds since 1970 or ISO 8601 with a zone. Seconds may
have fractions (`CDR(billsec,f)`). Legs and call ids as in format `asterisk`.

Source: configs/samples/cdr_custom.conf.sample of Asterisk; the variables of CDR() in its documentation.
"""

import re
from collections.abc import Sequence

from billing.imports.call_formats.asterisk import is_local, peer_of
from billing.imports.call_formats.base import (
    Leg,
    UnreadableField,
    fingerprint,
    shown,
    was_answered,
    whole_seconds,
)
from billing.imports.call_formats.columns import ColumnsFormat, Fields, local_or_epoch
from billing.imports.lines import Row
from billing.imports.local_times import instants

MASTER_CSV = (
    *("clid", "src", "dst", "dcontext", "channel", "dstchannel", "lastapp", "lastdata", "start", "answer", "end"),
    *("duration", "billsec", "disposition", "amaflags", "accountcode", "uniqueid", "userfield", "sequence"),
)
OLD_WIDTH, NEW_WIDTH = 18, 19
AFTER_BILLSEC = MASTER_CSV.index("disposition")

# The name of the machine, if it has one, the epoch at which the channel came up, and a counter.
_UNIQUE_ID = re.compile(r"(?:.+-)?([0-9]{9,11})\.[0-9]+")
_VARIABLE = re.compile(r"cdr\((\w+)")
_NO_TIME = "0000-00-00 00:00:00"


class AsteriskCustomFormat(ColumnsFormat):
    needs_timezone = True
    header_word = "billsec"
    needed = (("dst",), ("start",), ("billsec",), ("disposition",))
    expected = "as the Master.csv of cdr_custom.conf.sample has them (18 or 19 fields)"

    def column_name(self, written: str) -> str:
        name = super().column_name(written)
        variable = _VARIABLE.search(name)
        return variable[1] if variable else name

    def layout(self, fields: list[str]) -> Sequence[str]:
        return MASTER_CSV if OLD_WIDTH <= len(fields) <= NEW_WIDTH else ()

    def leg(self, row: Row, fields: Fields) -> Leg:
        def field(name: str) -> str:
            return fields.get(name, "")

        unique_id, sequence, start = field("uniqueid"), field("sequence"), field("start")
        if sequence and not (sequence.isdecimal() and sequence.isascii()):
            raise UnreadableField(f"sequence “{shown(sequence)}” is no number.")
        started_at = local_or_epoch("start", start)
        if started_at is None:
            raise UnreadableField("start is empty.")
        is_answered = was_answered("disposition", field("disposition"))
        seconds = whole_seconds("billsec", field("billsec"))
        epoch = _UNIQUE_ID.fullmatch(unique_id)
        moments = instants(
            self.zone,
            started_at,
            local_or_epoch("answer", field("answer").removeprefix(_NO_TIME)),
            local_or_epoch("end", field("end").removeprefix(_NO_TIME)),
            seconds=seconds,
            duration=whole_seconds("duration", field("duration")) if field("duration") else None,
            epoch=int(epoch[1]) if epoch else None,
        )
        channel, dstchannel = field("channel"), field("dstchannel")
        if unique_id and sequence:
            call_id = f"{unique_id}-{sequence}"
        elif unique_id:
            call_id = f"{unique_id}|{channel}|{dstchannel}|{start}"
        else:
            call_id = ""
        return Leg(
            line_number=row.line_number,
            content_hash=fingerprint(row.fields),
            call_id=call_id,
            direction="",
            account_code=field("accountcode"),
            from_peer=peer_of(channel),
            to_peer=peer_of(dstchannel),
            from_number=self.numbers[field("src")],
            to_number=self.numbers[field("dst")],
            started_at=moments.started_at,
            answered_at=moments.answered_at,
            ended_at=moments.ended_at,
            seconds=seconds,
            is_answered=is_answered,
            is_internal=is_local(channel) or is_local(dstchannel),
            raw=row.raw,
        )
