"""Format `freeswitch-json`: what FreeSWITCH's module mod_json_cdr writes, one JSON object a leg.

A file is one object, a list of them, or one behind the other (one a line, or spread over lines); commas and brackets
between records do not matter. What counts of a record, all texts, URL-encoded unless `encode-values` is off:

    variables: uuid, start_uepoch, answer_uepoch, end_uepoch (or start_epoch …), billsec (or billmsec), accountcode,
    user_name, sip_auth_username, sip_from_user, dialed_user, channel_name, originator, originating_leg_uuid
    callflow, the first one (the latest): caller_profile: caller_id_number, destination_number, originator

Times are epochs: no time zone is needed. The seconds charged are billsec, as in `freeswitch-csv`, although billmsec may
differ by less than one; answered is what has an answer. The call id is the uuid, one a leg.

Which legs are charged. mod_json_cdr writes every leg, unless told otherwise (`log-b-leg`), and calls B-leg what has
the caller profile of an originator; the variables originator and originating_leg_uuid name the A-leg then. The A-leg
carries the customer's account, the number dialled and the answered time, and is always written: so the call is charged
as its A-leg, and the B-leg is internal, whatever file either of them lies in (a file a leg is usual: that a B-leg is
alone in its file says nothing). The one exception that FreeSWITCH knows is process_cdr=b_only, which leaves the A-leg
out: then the B-leg is the call. An outbound leg without an originator (from `originate`) is a call of its own. Legs
over `loopback/` channels are FreeSWITCH talking to itself.

FreeSWITCH's direction is that of the channel, seen from the switch: a customer's own call comes in. It is not used.

Sources: mod_json_cdr.c and switch_channel_set_timestamps of FreeSWITCH; its documentation of mod_json_cdr, process_cdr,
originator and originating_leg_uuid; records of an unanswered, a bridged and an originated call of FreeSWITCH 1.10.
"""

import codecs
import json
import re
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import unquote

from billing.imports.call_formats.base import (
    CallFormat,
    Leg,
    NotThisFormat,
    Unparsable,
    UnreadableField,
    whole_seconds,
)
from billing.imports.call_formats.columns import from_epoch, seconds_of
from billing.imports.lines import BLOCK, BYTE_ORDER_MARK, ByteStream

LONGEST_RECORD = 1 << 20  # characters
MOST_FAILURES = 20

Variables = dict[str, str]


class FreeswitchJsonFormat(CallFormat):
    def read(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        records = _records(_Text(stream))
        first = next(records, None)
        if first is not None and first.is_no_json_at_all:
            raise NotThisFormat("There is no JSON object in it, or none within its first megabyte.")
        return self._legs(chain([first] if first else [], records))

    def _legs(self, records: Iterator["_Record"]) -> Iterator[Leg | Unparsable]:
        for record in records:
            try:
                yield self._leg(record)
            except UnreadableField as error:
                yield Unparsable(record.line_number, record.raw, str(error))
            except RecursionError:
                yield Unparsable(record.line_number, record.raw, "Its JSON is nested too deeply.")

    def _leg(self, record: "_Record") -> Leg:
        if record.problem:
            raise UnreadableField(record.problem)
        variables = _variables(record.value)
        if variables is None:
            raise UnreadableField("It is no record of mod_json_cdr: it has no variables.")
        profile = _caller_profile(record.value)

        def said(*names: str) -> str:
            """The first of these variables that says something."""
            return next((variables[name] for name in names if variables.get(name)), "")

        uuid = said("uuid") or profile.get("uuid", "")
        if not uuid:
            raise UnreadableField("uuid is empty.")
        started_at = _time("start", variables)
        if started_at is None:
            raise UnreadableField("start_epoch is empty.")
        answered_at = _time("answer", variables)
        is_b_leg = "originator" in profile or bool(said("originator", "originating_leg_uuid"))
        is_alone = said("process_cdr") == "b_only"
        # An originated call has its own number for the caller's, once it was answered.
        is_flipped = said("channel_cid_flipped") == "yes"
        caller = "" if is_flipped else profile.get("caller_id_number", "") or said("caller_id_number")
        called = profile.get("destination_number", "") or said("destination_number", "sip_to_user", "sip_req_user")
        return Leg(
            line_number=record.line_number,
            content_hash=_fingerprint(record.value),
            call_id=uuid,
            direction="",
            account_code=said("accountcode"),
            from_peer=said("user_name", "sip_auth_username", "sip_from_user"),
            to_peer=said("dialed_user"),
            from_number=self.numbers[caller or profile.get("ani", "") or said("ani", "sip_from_user")],
            to_number=self.numbers[called],
            started_at=started_at,
            answered_at=answered_at,
            ended_at=_time("end", variables),
            seconds=_seconds(variables),
            is_answered=answered_at is not None,
            is_internal=(is_b_leg and not is_alone) or said("channel_name").startswith("loopback/"),
            raw=record.raw,
        )


def _variables(value: Any) -> Variables | None:
    found = value.get("variables") if isinstance(value, dict) else None
    return {name: _text(said) for name, said in found.items()} if isinstance(found, dict) else None


def _caller_profile(value: dict[str, Any]) -> Variables:
    """Who called whom, as the latest part of the call flow has it."""
    flow = value.get("callflow")
    part = flow[0] if isinstance(flow, list) and flow else flow
    profile = part.get("caller_profile") if isinstance(part, dict) else None
    return {name: _text(said) for name, said in profile.items()} if isinstance(profile, dict) else {}


def _text(said: object) -> str:
    """A value as text; empty for what is none."""
    if isinstance(said, bool) or not isinstance(said, (str, int, float)):
        return ""
    text = str(said).strip()
    if "%" in text:
        text = unquote(text, errors="surrogateescape").strip()
    if not text.isascii():
        # Halves of a surrogate pair are no text: not even bytes that anybody may have sent.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _BROKEN.search(text) else text
    return text


_BROKEN = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _time(which: str, variables: Variables) -> datetime | None:
    """The more exact of the two epochs there are; None for never."""
    name = f"{which}_uepoch"
    if found := from_epoch(name, variables.get(name, ""), a_second=1_000_000):
        return found
    name = f"{which}_epoch"
    return from_epoch(name, variables.get(name, ""))


def _seconds(variables: Variables) -> int:
    if variables.get("billmsec") and not variables.get("billsec"):
        return seconds_of("billmsec", variables["billmsec"], a_second=1_000)
    return whole_seconds("billsec", variables.get("billsec", ""))


def _fingerprint(value: object) -> str:
    """The same for the same record, however it was laid out."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


# From bytes to records ------------------------------------------------------------------------------------------------


class _Record(NamedTuple):
    """A value of the file; `problem` says, in a sentence, why there is none."""

    line_number: int
    raw: str
    value: Any
    problem: str = ""
    is_no_json_at_all: bool = False


_BETWEEN = re.compile(r"[\s,\[\]\x1e\ufeff]*")  # records
_OBJECT = re.compile(r'\{\s*"')
_RECORD_INSIDE = re.compile(r'(?<=[\n,\[\]}])[ \t]*(\{\s*")')  # where another one may begin behind a damage
_decode = json.JSONDecoder().raw_decode


def _records(text: "_Text") -> Iterator[_Record]:
    """The records of a file one by one. Of a damaged one everything up to the next that can be read comes out."""
    is_first = True
    while text.skip(_BETWEEN):
        number = text.line_number
        if not text.begins_with("{"):
            is_no_json_at_all = is_first and not text.find(_OBJECT)
            yield _Record(number, _junk(text), None, "It is no JSON object.", is_no_json_at_all)
        else:
            try:
                value, end = _decode(text.read_so_far, text.at)
            except (ValueError, RecursionError) as error:
                problem = _problem(error, text)
                yield _Record(number, text.take(_end_of_damage(text)).rstrip(), None, problem)
            else:
                yield _Record(number, text.take(end), value)
        is_first = False


def _junk(text: "_Text") -> str:
    """What stands between records and belongs to none, up to the end of its line or the next record."""
    line_end = text.read_so_far.find("\n", text.at, text.end_of_window)
    end = line_end if line_end >= 0 else text.end_of_window
    found = _OBJECT.search(text.read_so_far, text.at, end)
    return text.take(found.start() if found else end).rstrip()


def _problem(error: Exception, text: "_Text") -> str:
    if isinstance(error, RecursionError):
        return "Its JSON is nested too deeply."
    if not isinstance(error, json.JSONDecodeError):
        return f"Its JSON can't be read: {error}."
    if not _is_cut(error, text):
        return f"Its JSON can't be read: {error.msg} at its character {error.pos - text.at + 1:,}."
    if text.is_last:
        return f"Its JSON can't be read ({error.msg}): perhaps the file was cut off."
    return f"It is longer than {LONGEST_RECORD:,} characters."


def _is_cut(error: json.JSONDecodeError, text: "_Text") -> bool:
    """Whether it was the end of what was read so far that came in between."""
    return error.msg.startswith("Unterminated string") or not text.read_so_far[error.pos : error.pos + 100].strip()


def _end_of_damage(text: "_Text") -> int:
    """Where the next record begins that can be read, or that goes on behind what was read so far.

    After some that can't be read the rest of the line is given up: nonsense must not keep us busy.
    """
    begin, failures = text.at, 0
    while failures < MOST_FAILURES:
        found = _RECORD_INSIDE.search(text.read_so_far, begin + 1, text.end_of_window)
        if found is None:
            return text.end_of_window
        begin = found.start(1)
        try:
            value, end = _decode(text.read_so_far, begin)
        except json.JSONDecodeError as error:
            if _is_cut(error, text) and not text.is_last:
                return begin
            failures += 1
        except (ValueError, RecursionError):
            failures += 1
        else:
            if isinstance(value, dict) and isinstance(value.get("variables"), dict):
                return begin
            begin = end - 1
    line_end = text.read_so_far.find("\n", begin, text.end_of_window)
    return line_end if line_end >= 0 else text.end_of_window


class _Text:
    """The text of a stream. From where we are, at least as much is read as a record may be long."""

    def __init__(self, stream: ByteStream) -> None:
        self.line_number = 1
        self.read_so_far = ""  # from some point on
        self.at = 0  # where we are in that
        self.is_last = False  # it reaches to the end of the stream
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._is_first_block = True
        self._read_on()

    @property
    def end_of_window(self) -> int:
        """How far we look: as far as a record may reach."""
        return min(self.at + LONGEST_RECORD, len(self.read_so_far))

    def begins_with(self, start: str) -> bool:
        return self.read_so_far.startswith(start, self.at)

    def find(self, what: re.Pattern[str]) -> bool:
        return what.search(self.read_so_far, self.at, self.end_of_window) is not None

    def take(self, end: int) -> str:
        """What comes up to there, and go on behind it."""
        taken = self.read_so_far[self.at : end]
        self.at = end
        self.line_number += taken.count("\n")
        self._read_on()
        return taken

    def skip(self, what: re.Pattern[str]) -> bool:
        """Go on behind all of that; False at the end of the stream."""
        while self.at < len(self.read_so_far):
            found = what.match(self.read_so_far, self.at)
            if found is None or found.end() == self.at:
                return True
            self.take(found.end())
        return False

    def _read_on(self) -> None:
        while not self.is_last and len(self.read_so_far) - self.at < LONGEST_RECORD:
            self.read_so_far = self.read_so_far[self.at :] + self._next_block()
            self.at = 0

    def _next_block(self) -> str:
        block = self._stream.read(BLOCK)
        while block.endswith(b"\r") and (following := self._stream.read(1)):  # perhaps the first half of \r\n
            block += following
        self.is_last = not block
        if self._is_first_block:
            self._is_first_block = False
            block = block.removeprefix(BYTE_ORDER_MARK)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return self._decoder.decode(block, final=self.is_last)
