"""Format `freeswitch-csv`: what FreeSWITCH's module mod_cdr_csv writes from a template of cdr_csv.conf.xml.

A header names the channel variables of the template (`billsec`; also `${billsec}`): destination_number, billsec, and a
start and an answer, as stamp or epoch, at least. Without one a line is in one of the templates that come with
FreeSWITCH, with or without columns added at its end:

    caller_id_name, caller_id_number, destination_number, context, start_stamp, answer_stamp, end_stamp, duration,
    billsec, hangup_cause, uuid, bleg_uuid, accountcode                  default; also example, snom and linksys
    accountcode, caller_id_number, destination_number, context, caller_id, channel_name, bridge_channel, last_app,
    last_arg, start_stamp, answer_stamp, end_stamp, duration, billsec, hangup_cause, amaflags, uuid, userfield
                                                                         asterisk

Also the template sql: the first of them, within an INSERT.

Every variable stands in quotes and nothing inside of them is escaped: in template asterisk each caller with a name has
quotes around it (`""Ada" <301>"`). Such a row is cut between the quotes that end a field and begin the next. One with a
single stray quote is kept raw.

Stamps are the wall clock's where FreeSWITCH runs. Older releases wrote the beginning of 1970 for “never”. The seconds
charged are billsec. Answered is what has an answer: a hangup cause does not tell (NORMAL_CLEARING also ends a call that
nobody answered). The call id is the uuid, one a leg; where it is a time-based one, its time settles an hour that the
clocks pass twice.

The module writes A-legs only, unless told otherwise (`legs`); a call is charged once, as its A-leg. A B-leg is known
by its originator or originating_leg_uuid, where the template names one of these, or by an A-leg near it in the same
file that names it as its bleg_uuid (the B-leg's own is empty; should each name the other, the one that started later,
or lasted shorter, is the B-leg). Legs over `loopback/` channels are FreeSWITCH talking to itself. Where B-legs are
written by a template that says none of this, as asterisk does, Ivy cannot know them: leave `legs` at `a`.

FreeSWITCH's direction is that of the channel, seen from the switch: a customer's own call comes in. It is not used.

Sources: conf/vanilla/autoload_configs/cdr_csv.conf.xml, mod_cdr_csv.c and switch_channel_set_timestamps of FreeSWITCH;
its documentation of mod_cdr_csv, and of the variables originator and originating_leg_uuid; records of both legs of
bridged calls, quoted in public.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.imports.call_formats.base import (
    Leg,
    Unparsable,
    UnreadableField,
    fingerprint,
    time_or_none,
    whole_seconds,
)
from billing.imports.call_formats.columns import ColumnsFormat, Fields, from_epoch, seconds_of
from billing.imports.lines import Row, fields_of
from billing.imports.local_times import instants

DEFAULT = (
    *("caller_id_name", "caller_id_number", "destination_number", "context", "start_stamp", "answer_stamp"),
    *("end_stamp", "duration", "billsec", "hangup_cause", "uuid", "bleg_uuid", "accountcode"),
)
ASTERISK = (
    *("accountcode", "caller_id_number", "destination_number", "context", "caller_id", "channel_name"),
    *("bridge_channel", "last_app", "last_arg", "start_stamp", "answer_stamp", "end_stamp", "duration", "billsec"),
    *("hangup_cause", "amaflags", "uuid", "userfield"),
)
MOST = 40
LEGS_KEPT_BACK = 1_000

_INSERT = re.compile(r"INSERT INTO \S+ VALUES ?\((.*)\);\s*", re.DOTALL)
_BETWEEN_QUOTES = re.compile(r'" ?, ?"')
_ADDED = tuple(f"added {number}" for number in range(1, MOST))
_BEGINS_LIKE_A_DATE = re.compile(r'[\s"]*[0-9]{4}-[0-9]')
_HANGUP_CAUSE = re.compile(r"[A-Z]+_[A-Z_0-9]+")
_TIME_BASED = re.compile(r"([0-9a-fA-F]{8})-([0-9a-fA-F]{4})-1([0-9a-fA-F]{3})-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_FROM_1582_TO_1970 = 0x01B21DD213814000  # in units of 100 ns, as the ids count them


class FreeswitchCsvFormat(ColumnsFormat):
    needs_timezone = True
    header_word = "destination_number"
    needed = (
        ("destination_number",),
        ("start_stamp", "start_epoch", "start_uepoch"),
        ("answer_stamp", "answer_epoch", "answer_uepoch"),
        ("billsec", "billmsec", "billusec"),
    )
    expected = "in a template that comes with FreeSWITCH (13 fields or more)"

    def column_name(self, written: str) -> str:
        return super().column_name(written).removeprefix("${").removesuffix("}")

    def layout(self, fields: list[str]) -> Sequence[str]:
        if len(DEFAULT) <= len(fields) <= MOST:
            for columns in (DEFAULT, ASTERISK):
                if len(fields) >= len(columns) and (
                    _BEGINS_LIKE_A_DATE.match(fields[columns.index("start_stamp")])
                    or _HANGUP_CAUSE.fullmatch(fields[columns.index("hangup_cause")].strip(' "'))
                ):
                    return columns + _ADDED
        return ()

    def split(self, text: str) -> tuple[list[str], str]:
        inside = _INSERT.fullmatch(text) if text.startswith("INSERT") else None
        row = inside[1] if inside else text
        fields, problem = fields_of(row)
        if problem and len(row) > 1 and row[0] == row[-1] == '"':
            as_they_are = _BETWEEN_QUOTES.split(row[1:-1])
            if not any(field.count('"') % 2 for field in as_they_are):
                return as_they_are, ""
        return fields, problem

    def legs(self, found: Iterator[tuple[Row, Sequence[str]]]) -> Iterator[Leg | Unparsable]:
        kept: OrderedDict[object, _Kept] = OrderedDict()  # by uuid; what has none, by itself
        namers: dict[str, str] = {}  # by the uuid that a leg names as its other one: its own
        for leg in super().legs(found):
            one = _Kept(leg)
            uuid = ""
            if isinstance(leg, Leg):
                uuid = leg.call_id
                one.names = self._other if self._other != uuid else ""
                for other in (kept.get(one.names), kept.get(namers.get(uuid))):
                    if other:
                        _b_leg_of(one, other).is_b_leg = True
                if one.names:
                    namers[one.names] = uuid
            kept[uuid if uuid and uuid not in kept else object()] = one
            if len(kept) > LEGS_KEPT_BACK:
                _, oldest = kept.popitem(last=False)
                namers.pop(oldest.names, None)
                yield oldest.told
        yield from (one.told for one in kept.values())

    _other = ""  # the uuid that the leg read last names as its other leg

    def leg(self, row: Row, fields: Fields) -> Leg:
        def field(*names: str) -> str:
            return next((fields[name] for name in names if fields.get(name)), "")

        started_at = self._time("start", fields)
        if started_at is None:
            raise UnreadableField("start_stamp is empty.")
        answered_at = self._time("answer", fields)
        seconds = _seconds(fields)
        uuid = field("uuid")
        moments = instants(
            self.zone,
            started_at,
            answered_at,
            self._time("end", fields),
            seconds=seconds,
            duration=whole_seconds("duration", field("duration")) if field("duration") else None,
            epoch=_epoch(uuid),
        )
        self._other = field("bleg_uuid")
        is_b_leg = bool(field("originator", "originating_leg_uuid"))
        return Leg(
            line_number=row.line_number,
            content_hash=fingerprint(row.fields),
            call_id=uuid,
            direction="",
            account_code=field("accountcode"),
            from_peer=field("user_name", "sip_auth_username", "sip_from_user"),
            to_peer=field("dialed_user"),
            from_number=self.numbers[field("caller_id_number", "ani")],
            to_number=self.numbers[field("destination_number")],
            started_at=moments.started_at,
            answered_at=moments.answered_at,
            ended_at=moments.ended_at,
            seconds=seconds,
            is_answered=answered_at is not None,
            is_internal=is_b_leg or field("channel_name").startswith("loopback/"),
            raw=row.raw,
        )

    def _time(self, which: str, fields: Fields) -> datetime | None:
        """The most exact of the times there are; None for never."""
        for name, a_second in ((f"{which}_uepoch", 1_000_000), (f"{which}_epoch", 1)):
            if found := from_epoch(name, fields.get(name, ""), a_second=a_second):
                return found
        name = f"{which}_stamp"
        found = time_or_none(name, fields.get(name, ""))
        return found if found is None or found.year > 1970 else None


@dataclass
class _Kept:
    """A leg that waits for its other one, with the id that it names as that; or what is no leg."""

    leg: Leg | Unparsable
    names: str = ""
    is_b_leg: bool = False

    @property
    def told(self) -> Leg | Unparsable:
        return self.leg._replace(is_internal=True) if self.is_b_leg and isinstance(self.leg, Leg) else self.leg


def _b_leg_of(one: _Kept, other: _Kept) -> _Kept:
    """Which of two legs is the B-leg: the one that is named by the other."""
    assert isinstance(one.leg, Leg)
    assert isinstance(other.leg, Leg)
    if other.names != one.leg.call_id:
        return other
    if one.names != other.leg.call_id:
        return one
    return one if _how_much_of_a_b_leg(one.leg) > _how_much_of_a_b_leg(other.leg) else other


def _how_much_of_a_b_leg(leg: Leg) -> tuple[datetime, float, bool]:
    """Of two legs of a call the B-leg has more of it: it starts later, else lasts shorter, else has no account code."""
    lasted = (leg.ended_at - leg.started_at).total_seconds() if leg.ended_at else 0.0
    return leg.started_at, -lasted, not leg.account_code


def _seconds(fields: Fields) -> int:
    for name, a_second in (("billmsec", 1_000), ("billusec", 1_000_000)):
        if fields.get(name) and not fields.get("billsec"):
            return seconds_of(name, fields[name], a_second=a_second)
    return whole_seconds("billsec", fields.get("billsec", ""))


def _epoch(uuid: str) -> float | None:
    """When the leg's channel came up, in seconds since 1970, if its id tells."""
    parts = _TIME_BASED.fullmatch(uuid)
    if parts is None:
        return None
    low, middle, high = parts.groups()
    epoch = (int(high + middle + low, 16) - _FROM_1582_TO_1970) / 10_000_000
    return epoch if 0 < epoch < 2**33 else None
