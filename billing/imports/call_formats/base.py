"""What every format of call records gives, and what several of them need for it."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

from billing.imports.lines import ByteStream, raw_bytes
from billing.imports.local_times import read_time
from billing.imports.numbers import numbers_of

MOST_SECONDS = 2**31 - 1


class Leg(NamedTuple):
    """One call leg as a source reported it.

    `call_id` is empty where the source names none: then the import makes one up. `direction` is empty where the source
    does not say it: then it follows from who is named. Numbers are international digits where they could be made so.
    """

    line_number: int  # where the record begins
    content_hash: str  # `fingerprint` of the raw fields
    call_id: str
    direction: str
    account_code: str
    from_peer: str
    to_peer: str
    from_number: str
    to_number: str
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    seconds: int
    is_answered: bool
    is_internal: bool
    raw: str  # the record as it came


class Unparsable(NamedTuple):
    """A line that is no call record, as it came, with the reason in a sentence."""

    line_number: int
    raw: str
    reason: str


class NotThisFormat(ValueError):
    """The file as a whole is not what its source is said to write. Nothing of it was read."""


class UnreadableField(ValueError):
    """A field does not hold what it should; the message is a sentence."""


class CallFormat(ABC):
    """One way in which switches write call records, for one source."""

    needs_timezone: ClassVar[bool] = False  # its times are local and name no zone
    account_is_any_identity: ClassVar[bool] = False  # its account code may be a peer or a number as well

    def __init__(self, *, timezone: str, region: str) -> None:
        """`timezone` and `region` as the source is registered; empty if it has none. Raises UnknownRegion."""
        self.zone = ZoneInfo(timezone or "UTC")
        self.numbers = numbers_of(region)

    @abstractmethod
    def read(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        """Read the stream from front to back; headers and blank lines give nothing.

        Raises NotThisFormat at the call, before the first leg. What it returns is used in a thread of its own, and
        knows nothing of the database.
        """


def fingerprint(fields: Sequence[str]) -> str:
    """The same 32 hexadecimal digits for the same raw fields, and for no others. Also tells raw bytes apart."""
    joined = "\x1f".join(fields)
    if joined.count("\x1f") != len(fields) - 1:  # a field holds the separator: lengths tell where each one ends
        joined = "\x1f" + "".join(f"{len(field)}:{field}" for field in fields)
    return blake2b(raw_bytes(joined), digest_size=16).hexdigest()


def whole_seconds(name: str, text: str) -> int:
    """Seconds; fractions are rounded up. Raises UnreadableField."""
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return int(text)
    if not _SECONDS.fullmatch(text):
        raise UnreadableField(f"{name} “{shown(text)}” is no number of seconds." if text else f"{name} is empty.")
    seconds = math.ceil(Decimal(text))
    if abs(seconds) > MOST_SECONDS:
        raise UnreadableField(f"{name} “{text}” is longer than any call.")
    return seconds


_SECONDS = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?")


def was_answered(name: str, text: str) -> bool:
    """What the word for a call's end says. Raises UnreadableField if it is none of those known."""
    answered = DISPOSITIONS.get(text.lower())
    if answered is None:
        answered = DISPOSITIONS.get(" ".join(re.split(r"[\s_-]+", text.strip().lower())))
    if not text:
        raise UnreadableField(f"{name} is empty.")
    if answered is None:
        raise UnreadableField(f"{name} “{shown(text)}” does not say whether the call was answered.")
    return answered


_ANSWERED = "answered", "answer", "completed", "normal clearing"
_NOT_ANSWERED = (
    *("no answer", "noanswer", "not answered", "unanswered", "no user response", "missed", "timeout", "timed out"),
    *("busy", "user busy", "failed", "fail", "failure", "error", "congestion", "unavailable", "chanunavail"),
    *("cancel", "canceled", "cancelled", "originator cancel", "abandoned", "rejected", "call rejected", "declined"),
)
DISPOSITIONS = dict.fromkeys(_ANSWERED, True) | dict.fromkeys(_NOT_ANSWERED, False)


def time_or_none(name: str, text: str, *, may_lack_seconds: bool = False) -> datetime | None:
    """The time in a field, None for an empty one; without a zone if the field names none. Raises UnreadableField.

    Switches write seconds. Where they lack, a spreadsheet has taken them, and the record would be another one.
    """
    if not text:
        return None
    try:
        found = read_time(text)
    except ValueError:
        raise UnreadableField(f"{name} “{shown(text)}” is no time; it must be like 2026-03-02T09:30:00Z.") from None
    if text[16:17] != ":" and not may_lack_seconds and _WITHOUT_SECONDS.fullmatch(text):
        raise UnreadableField(f"{name} “{shown(text)}” has no seconds: perhaps a spreadsheet took them.")
    return found


_WITHOUT_SECONDS = re.compile(r"[^T ]+[T ][0-9]{2}:?[0-9]{2}(?:Z|[+-][0-9:]+)?")


def wrong_width(count: int, expected: str) -> UnreadableField:
    """Too few or too many fields; `expected` says who wants how many: “the header has 10”."""
    return UnreadableField(f"It has {count} {'field' if count == 1 else 'fields'}; {expected}.")


def shown(text: str) -> str:
    """The text of a field as a sentence may show it: not too long, nothing invisible."""
    visible = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text[:61])
    return visible if len(visible) <= 60 else visible[:59] + "…"
