"""How switches write calls down: Ivy's own format, and the Master.csv of Asterisk's module cdr_csv, 21 columns."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import count
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ivy.demo.calls import OUTBOUND, Call
from ivy.demo.csvtext import csv_text
from ivy.demo.dice import Dice
from ivy.demo.people import Switch

IVY_COLUMNS = (
    "call_id", "account", "direction", "from_number", "to_number",
    "started_at", "answered_at", "ended_at", "billsec", "disposition",
)  # fmt: skip
CARRIER = "carrier1"
TWICE = 0.0008  # of the lines are delivered a second time
OVERLAP = 3  # calls at the end of a delivery that the next one begins with


class Dialling(NamedTuple):
    """How people in a country write numbers: their own calling code, what replaces it, and what begins all others."""

    calling_code: str
    trunk: str
    international: str


DIALLING = {"DE": Dialling("49", "0", "00"), "GB": Dialling("44", "0", "00"), "US": Dialling("1", "1", "011")}


class CallFile(NamedTuple):
    """A delivery of one switch. `lines` makes its lines anew each time, every one with its line end."""

    name: str
    source: str
    lines: Callable[[], Iterator[str]]


def deliveries(switch: Switch, calls: Iterable[Call], split_at: datetime) -> list[CallFile]:
    """Two files: calls that ended before and after an instant, the second with the last few of the first again."""
    written = _as_written(switch, sorted(calls, key=lambda call: (call.ended_at, call)))
    first = [line for ended_at, line in written if ended_at < split_at]
    second = [*first[-OVERLAP:], *(line for ended_at, line in written if ended_at >= split_at)]
    return [_file(switch, number, lines) for number, lines in enumerate((first, second), start=1)]


def _file(switch: Switch, number: int, lines: list[str]) -> CallFile:
    def with_header_and_repetitions() -> Iterator[str]:
        dice = Dice(f"repetitions of {switch.name} {number}")
        if switch.format == "ivy":
            yield csv_text(IVY_COLUMNS, ())
        for line in lines:
            yield line
            if dice.falls(TWICE):
                yield line

    return CallFile(f"{switch.name}-{number}.csv", switch.name, with_header_and_repetitions)


def _as_written(switch: Switch, calls: Iterable[Call]) -> list[tuple[datetime, str]]:
    write = _Asterisk(switch).lines if switch.format == "asterisk" else _IvyFormat(switch).lines
    return [(call.ended_at, line) for call in calls for line in write(call)]


def _dialled(number: str, region: str, *, with_plus: bool = False) -> str:
    """A number as somebody in the region dials it, or with a plus sign instead of what begins foreign numbers."""
    dialling = DIALLING[region]
    if number.startswith(dialling.calling_code):
        return dialling.trunk + number.removeprefix(dialling.calling_code)
    return f"+{number}" if with_plus else dialling.international + number


class _IvyFormat:
    """Times in UTC; call ids count up; numbers as the telephones sent them, with and without a plus sign."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._count = 0

    def lines(self, call: Call) -> list[str]:
        self._count += 1
        row = (
            f"{self._switch.name}-{self._count:06}",
            call.code,
            call.direction,
            f"+{call.from_number}",
            _dialled(call.to_number, self._switch.region, with_plus=self._count % 3 == 0),
            _utc(call.started_at),
            _utc(call.answered_at) if call.answered_at else "",
            _utc(call.ended_at),
            str(call.seconds),
            call.disposition,
        )
        return [",".join(row) + "\n"]


class _Leg(NamedTuple):
    """What of a row belongs to the leg; the rest belongs to the call."""

    account_code: str
    target: str
    context: str
    channel: str
    to_channel: str
    dialled: str


class _Asterisk:
    """Local times without a zone; text in quotes, numbers bare; several legs of one call share a linked id."""

    def __init__(self, switch: Switch) -> None:
        self._zone = ZoneInfo(switch.timezone)
        self._region = switch.region
        self._channels = count(1)
        self._sequence = count(1)

    def lines(self, call: Call) -> list[str]:
        linked_id = unique_id = self._unique_id(call)
        leg = self._outbound(call) if call.direction == OUTBOUND else self._inbound(call)
        rows = [self._row(call, leg, unique_id, linked_id)]
        if call.is_group:
            rows.append(self._row(call, self._inside_the_group(call), self._unique_id(call), linked_id))
        return rows

    def _outbound(self, call: Call) -> _Leg:
        target = _dialled(call.to_number, self._region)
        own = self._channel(call.peer or f"gw{call.from_number[-4:]}")
        return _Leg(call.code, target, "from-customers", own, self._channel(CARRIER), f"PJSIP/{target}@{CARRIER},120")

    def _inbound(self, call: Call) -> _Leg:
        target = _dialled(call.to_number, self._region)
        peer = call.peer or f"gw{call.to_number[-4:]}"
        return _Leg("", target, "from-carriers", self._channel(CARRIER), self._channel(peer), f"PJSIP/{peer},60")

    def _inside_the_group(self, call: Call) -> _Leg:
        """What a ring group adds to an incoming call: a leg over a Local channel, inside the switch."""
        extension = call.to_number[-3:]
        local = f"Local/{extension}@ring-group-{next(self._channels):08x}"
        desk = self._channel(f"desk{call.to_number[-4:]}")
        return _Leg("", extension, "ring-group", f"{local};2", desk, f"{local};1,40")

    def _row(self, call: Call, leg: _Leg, unique_id: str, linked_id: str) -> str:
        source = _dialled(call.from_number, self._region)
        who = f'"{source}" <{source}>'
        cells = [
            *map(_quoted, (leg.account_code, source, leg.target, leg.context, who, leg.channel, leg.to_channel)),
            *map(_quoted, ("Dial", leg.dialled, self._local(call.started_at))),
            _quoted(self._local(call.answered_at)) if call.answered_at else "",
            _quoted(self._local(call.ended_at)),
            str(call.ringing + call.seconds),
            str(call.seconds),
            *map(_quoted, (call.disposition, "DOCUMENTATION", unique_id, "", "", linked_id)),
            str(next(self._sequence)),
        ]
        return ",".join(cells) + "\n"

    def _channel(self, peer: str) -> str:
        return f"PJSIP/{peer}-{next(self._channels):08x}"

    def _unique_id(self, call: Call) -> str:
        return f"{int(call.started_at.timestamp())}.{next(self._channels)}"

    def _local(self, at: datetime) -> str:
        return at.astimezone(self._zone).replace(tzinfo=None).isoformat(" ")


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _utc(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat() + "Z"
