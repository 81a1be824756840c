"""Format `asterisk`: Master.csv as Asterisk's module cdr_csv writes it.

Every text is in quotes, there is no header (one is passed over), and how many columns there are depends on cdr.conf:

    accountcode, src, dst, dcontext, clid, channel, dstchannel, lastapp, lastdata, start, answer, end, duration,
    billsec, disposition, amaflags                  always
    uniqueid                                        with loguniqueid
    userfield                                       with loguserfield
    peeraccount, linkedid, sequence                 with newcdrcolumns

Times are the wall clock's where Asterisk runs (with usegmtime: register the source with UTC). A call leaves as many
records as it had legs; those over `Local/` channels are Asterisk talking to itself. The seconds charged are billsec.

The call id is unique id and sequence; without a sequence the unique id, both channels and the start; without a unique
id the source names none.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from billing.imports.call_formats.base import (
    CallFormat,
    Leg,
    Unparsable,
    UnreadableField,
    fingerprint,
    time_or_none,
    was_answered,
    whole_seconds,
    wrong_width,
)
from billing.imports.lines import ByteStream, Row, rows
from billing.imports.local_times import instants

ALWAYS = 16
NEW_COLUMNS = 3
FEWEST, MOST = ALWAYS, ALWAYS + 2 + NEW_COLUMNS
HEADER = ["accountcode", "src", "dst"]

# The name of the machine, if it has one, the epoch at which the channel came up, and a counter.
_UNIQUE_ID = re.compile(r"(?:.+-)?([0-9]{9,11})\.[0-9]+")
_NO_TIME = "0000-00-00 00:00:00"


class AsteriskFormat(CallFormat):
    needs_timezone = True

    def read(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        return self._legs(stream)

    def _legs(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        width = 0
        for row in rows(stream, is_row=lambda fields: FEWEST <= len(fields) <= MOST):
            try:
                fields = _whole_fields(row, width)
                if [name.strip(" \ufeff").lower() for name in fields[:3]] != HEADER:
                    yield self._leg(row)
            except UnreadableField as error:
                yield Unparsable(row.line_number, row.raw, str(error))
            width = len(row.fields)

    def _leg(self, row: Row) -> Leg:
        account, src, dst, _, _, channel, dstchannel, _, _, start, answer, end, duration, billsec, disposition, _ = map(
            str.strip, row.fields[:ALWAYS]
        )
        ids = _ids(row.fields)
        started_at = time_or_none("start", start)
        if started_at is None:
            raise UnreadableField("start is empty.")
        is_answered = was_answered("disposition", disposition)
        seconds = whole_seconds("billsec", billsec)
        moments = instants(
            self.zone,
            started_at,
            time_or_none("answer", answer.removeprefix(_NO_TIME)),
            time_or_none("end", end.removeprefix(_NO_TIME)),
            seconds=seconds,
            duration=whole_seconds("duration", duration) if duration else None,
            epoch=ids.epoch,
        )
        if ids.sequence:
            call_id = f"{ids.unique_id}-{ids.sequence}"
        elif ids.unique_id:
            call_id = f"{ids.unique_id}|{channel}|{dstchannel}|{start}"
        else:
            call_id = ""
        return Leg(
            line_number=row.line_number,
            content_hash=fingerprint(row.fields),
            call_id=call_id,
            direction="",
            account_code=account,
            from_peer=peer_of(channel),
            to_peer=peer_of(dstchannel),
            from_number=self.numbers[src],
            to_number=self.numbers[dst],
            started_at=moments.started_at,
            answered_at=moments.answered_at,
            ended_at=moments.ended_at,
            seconds=seconds,
            is_answered=is_answered,
            is_internal=is_local(channel) or is_local(dstchannel),
            raw=row.raw,
        )


class _Ids(NamedTuple):
    unique_id: str
    sequence: str
    epoch: int | None


def _ids(fields: list[str]) -> _Ids:
    """What identifies the leg; empty where it is not written."""
    has_new_columns = len(fields) >= ALWAYS + NEW_COLUMNS
    optional = fields[ALWAYS:-NEW_COLUMNS] if has_new_columns else fields[ALWAYS:]
    unique_id = optional[0].strip() if optional else ""
    epoch = _UNIQUE_ID.fullmatch(unique_id)
    if not unique_id or (len(optional) == 1 and epoch is None):  # then that is the user field
        return _Ids("", "", None)
    return _Ids(unique_id, fields[-1].strip() if has_new_columns else "", int(epoch[1]) if epoch else None)


def peer_of(channel: str) -> str:
    """The peer that a channel belongs to: 301 of `SIP/301-0000abcd`. Only the last part, a hexadecimal count, goes."""
    peer = _itself(channel).partition("/")[2].partition("<")[0]  # <ZOMBIE>: a channel that another one took over
    name, dash, count = peer.partition(";")[0].rpartition("-")
    return name if dash and count and not count.strip("0123456789abcdefABCDEF") else peer


def is_local(channel: str) -> bool:
    """Whether it is Asterisk talking to itself."""
    return _itself(channel).startswith("Local/")


def _itself(channel: str) -> str:
    """The name that a channel had before a transfer or a redirection put another one in its place."""
    return channel.removeprefix("Surrogate/").removeprefix("AsyncGoto/")


def _whole_fields(row: Row, width: int) -> list[str]:
    if row.problem:
        raise UnreadableField(row.problem)
    if not FEWEST <= len(row.fields) <= MOST:
        raise wrong_width(len(row.fields), f"Asterisk writes {FEWEST} to {MOST}")
    if not row.is_ended and not _is_provably_whole(row, width):
        raise UnreadableField("The file ends without a line end: perhaps the line was cut off.")
    return row.fields


def _is_provably_whole(row: Row, width: int) -> bool:
    """Whether nothing that tells or prices the call can be missing at the end of a last line without line end.

    It is as wide as the line before it and ends with a quoted text: that is the user field or the unique id, closed.
    A sequence is a bare number, of which digits may be missing.
    """
    return len(row.fields) == width and row.raw.endswith('"')
