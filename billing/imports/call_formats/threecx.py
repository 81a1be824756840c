"""Format `3cx`: the CDR output of 3CX (v18, v20) to a file, in its default order of fields:

    historyid, callid, duration, time-start, time-answered, time-end, reason-terminated, from-no, to-no, from-dn, to-dn,
    dial-no, reason-changed, final-number, final-dn, bill-code, bill-rate, bill-cost, bill-name, chain
    from-type, to-type, final-type, from-dispname, to-dispname, final-dispname, missed-queue-calls      newer releases

3CX writes no header. Where the fields were chosen otherwise, put one in front of the file that names them.

Times are 2024/04/30 06:27:28 and name no zone. They have been UTC in every release looked at: register the source with
the time zone UTC, unless its files show the wall clock. The seconds charged are the duration (hh:mm:ss), which counts
from the answer; answered is what has a time-answered, whoever hung up (reason-terminated does not tell).

Nothing in a record names its leg: the id of a call (`Call 123`) and its callid are shared by the records that a
transfer leaves. So a leg is told by them, by when it started and by who called whom. Numbers inside the switch read
Ext.101: a record from one of these to another, that nobody passed on to the outside, is internal. From inside to
outside it is outbound, of the peer from-dn; from outside to inside inbound, to the number dialled; the dn of a line is
no peer.

Fields are not quoted: a comma in a name makes a record wider. That hurts nothing, since names stand at its end.

Sources: 3CX, “CDR - Call Data Records”; records of v18 and v20 quoted in public, one with the local time beside that of
the file (its 06:44 was 08:44 in Sweden's summer).
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from billing.imports.call_formats.base import (
    Leg,
    UnreadableField,
    fingerprint,
    shown,
    time_or_none,
)
from billing.imports.call_formats.columns import ColumnsFormat, Fields
from billing.imports.lines import Row
from billing.imports.local_times import instants
from billing.models import Direction

FIELDS = (
    *("historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated", "from-no"),
    *("to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn", "bill-code", "bill-rate"),
    *("bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type", "from-dispname", "to-dispname"),
    *("final-dispname", "missed-queue-calls"),
)
FEWEST = FIELDS.index("chain") + 1
COMMAS_IN_NAMES = 4
LONGEST_EXTENSION = 6  # digits

_ADDED = tuple(f"part {number} of the names" for number in range(1, COMMAS_IN_NAMES + 1))
_DATE = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)")
_BEGINS_LIKE_A_DATE = re.compile(r"[0-9]{4}[/-][0-9]")
_DURATION = re.compile(r"(?:([0-9]{1,3})\.)?([0-9]{1,3}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,9})?)")
_EXTENSION = re.compile(r"ext\.\s*", re.IGNORECASE)
_OUTSIDE = frozenset(("externalline", "line", "provider", "outboundrule", "bridge", "externalnumber"))


class ThreeCXFormat(ColumnsFormat):
    needs_timezone = True
    header_word = "duration"
    needed = (("historyid", "callid"), ("duration",), ("time-start",), ("time-answered",), ("from-no",), ("to-no",))
    expected = f"in 3CX's default order ({FEWEST} to {len(FIELDS)} fields)"

    def column_name(self, written: str) -> str:
        return super().column_name(written).replace("_", "-").replace(" ", "-")

    def layout(self, fields: list[str]) -> Sequence[str]:
        if not FEWEST <= len(fields) <= len(FIELDS) + COMMAS_IN_NAMES:
            return ()
        return FIELDS + _ADDED if _is_ours(fields) else ()

    def is_provably_whole(self, row: Row, width: int) -> bool:
        """Everything that counts stands before the names and the missed calls, and these are there as well."""
        return len(row.fields) >= len(FIELDS) or (len(row.fields) == width == FEWEST and row.raw.rstrip().endswith(";"))

    def leg(self, row: Row, fields: Fields) -> Leg:
        def field(name: str) -> str:
            return fields.get(name, "")

        history_id = field("historyid").removeprefix("Call ").strip()
        call_id = field("callid")
        start = field("time-start")
        started_at = _time("time-start", start)
        if started_at is None:
            raise UnreadableField("time-start is empty.")
        answered_at = _time("time-answered", field("time-answered"))
        seconds = _seconds(field("duration"), is_answered=answered_at is not None)
        moments = instants(
            self.zone, started_at, answered_at, _time("time-end", field("time-end")), seconds=seconds, duration=None
        )
        caller, called = field("from-no"), field("to-no")
        is_from_inside = _is_inside(caller, field("from-type"))
        is_to_inside = _is_inside(called, field("to-type"))
        is_passed_outside = bool(field("final-number")) and not _is_inside(field("final-number"), field("final-type"))
        dialled = field("dial-no")
        if is_from_inside and is_to_inside and _is_number_outside(dialled):
            is_to_inside = False  # the line of an outbound rule: Ext.10000, and the number that was dialled
        if _EXTENSION.match(called):
            called = dialled or called
        return Leg(
            line_number=row.line_number,
            content_hash=fingerprint(row.fields),
            call_id=f"{history_id}|{call_id}|{start}|{caller}|{field('to-no')}" if history_id or call_id else "",
            direction=_direction(is_from_inside=is_from_inside, is_to_inside=is_to_inside),
            account_code="",
            from_peer=field("from-dn") if is_from_inside else "",
            to_peer=_peer_reached(fields, is_passed_outside=is_passed_outside) if is_to_inside else "",
            from_number=self.numbers[_EXTENSION.sub("", caller)],
            to_number=self.numbers[_EXTENSION.sub("", called)],
            started_at=moments.started_at,
            answered_at=moments.answered_at,
            ended_at=moments.ended_at,
            seconds=seconds,
            is_answered=answered_at is not None,
            is_internal=is_from_inside and is_to_inside and not is_passed_outside,
            raw=row.raw,
        )


def _is_ours(fields: list[str]) -> bool:
    """Whether a row looks like a record: by the name of its call, by a date where it started, or by its chain.

    One that is too wide must have the chain in its place: up to there no field can be in another's.
    """
    has_chain = fields[FEWEST - 1].strip().lower().startswith("chain")
    looks_right = fields[0].startswith("Call ") or _BEGINS_LIKE_A_DATE.match(fields[3].strip())
    return has_chain or (bool(looks_right) and len(fields) <= len(FIELDS))


def _time(name: str, text: str) -> datetime | None:
    date = _DATE.fullmatch(text)
    return time_or_none(name, "{}-{}-{}T{}".format(*date.groups()) if date else text)


def _seconds(text: str, *, is_answered: bool) -> int:
    """The duration in seconds; a begun second counts. It may be empty where nobody answered."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        if not text and not is_answered:
            return 0
        raise UnreadableField(f"duration “{shown(text)}” is not like 00:05:36." if text else "duration is empty.")
    days, hours, minutes, seconds = parts.groups()
    return (int(days or 0) * 24 + int(hours)) * 3600 + int(minutes) * 60 + math.ceil(Decimal(seconds))


def _is_inside(number: str, kind: str) -> bool:
    """Whether this is a party inside the switch: an extension, a queue, a menu."""
    if kind.lower().replace("_", "").replace(" ", "") in _OUTSIDE:
        return False
    return _EXTENSION.match(number) is not None


def _peer_reached(fields: Fields, *, is_passed_outside: bool) -> str:
    """The extension that took the call in the end, of those inside."""
    final = "" if is_passed_outside else fields.get("final-dn", "")
    return final or fields.get("to-dn", "")


def _is_number_outside(dialled: str) -> bool:
    return len(re.sub(r"[^0-9]", "", dialled)) > LONGEST_EXTENSION


def _direction(*, is_from_inside: bool, is_to_inside: bool) -> str:
    """What the record says for certain; empty for the rest."""
    if is_from_inside and not is_to_inside:
        return Direction.OUTBOUND
    if is_to_inside and not is_from_inside:
        return Direction.INBOUND
    return ""
