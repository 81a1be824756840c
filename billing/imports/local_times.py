"""Times as a switch's wall clock showed them, turned into instants.

An hour that the clocks pass twice is settled by the epoch in the call's id, else by the durations, else it is the
earlier one. Of an hour that the clocks leave out, a time is taken as if they had not been changed.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from itertools import product
from typing import NamedTuple

FIRST_YEAR = 1900
LAST_YEAR = 9998  # room for any zone

# How far the clocks and roundings of one switch may be apart.
TOLERANCE = timedelta(seconds=2)
# A leg begins when its channel does (which the epoch tells) or later, on a long-lived channel by hours.
LONGEST_CHANNEL = timedelta(days=2)


class Moments(NamedTuple):
    """When a leg started, was answered and ended."""

    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None


def read_time(text: str) -> datetime:
    """A date and time as ISO 8601 (also with a space between them), aware if it names a zone. Raises ValueError."""
    if len(text) < len("2026-03-02T09:30") and "T" not in text:
        raise ValueError("no date with a time")
    found = datetime.fromisoformat(text)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError("outside the calendar of telephony")
    return found


def instants(
    zone: tzinfo,
    started_at: datetime,
    answered_at: datetime | None,
    ended_at: datetime | None,
    *,
    seconds: int,
    duration: int | None = None,
    epoch: float | None = None,
) -> Moments:
    """The moments in UTC. Times that name no zone are local ones of `zone`, those that do are taken at their word.

    To settle an hour that comes twice: `seconds` from answer to end, `duration` from start to end, `epoch` (seconds
    since 1970) when the leg's channel came up.
    """
    starts = _readings(started_at, zone)
    answers = _readings(answered_at, zone) if answered_at else (None,)
    ends = _readings(ended_at, zone) if ended_at else (None,)
    if len(starts) == len(answers) == len(ends) == 1:
        return Moments(starts[0], answers[0], ends[0])
    possible = [Moments(*times) for times in product(starts, answers, ends)]
    if epoch is not None and (fitting := [m for m in possible if _begins_by(m, datetime.fromtimestamp(epoch, UTC))]):
        possible = [m for m in fitting if m.started_at == min(m.started_at for m in fitting)]
    return min(possible, key=lambda m: (_disagreements(m, seconds, duration), m.started_at))


def _readings(time: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """The instants that may be meant, the earlier one first."""
    if time.tzinfo is UTC:
        return (time,)
    if time.tzinfo is not None:
        return (time.astimezone(UTC),)
    first, second = time.replace(tzinfo=zone), time.replace(tzinfo=zone, fold=1)
    offset, later_offset = first.utcoffset(), second.utcoffset()
    # Where the clocks are set back, the first offset is the larger one; before a gap it is the smaller one.
    if offset is not None and later_offset is not None and offset > later_offset:
        return (first.astimezone(UTC), second.astimezone(UTC))
    return (first.astimezone(UTC),)


def _begins_by(moments: Moments, came_up_at: datetime) -> bool:
    return -TOLERANCE <= moments.started_at - came_up_at <= LONGEST_CHANNEL


def _disagreements(moments: Moments, seconds: int, duration: int | None) -> int:
    """How many of the things that should hold among the times do not."""
    started_at, answered_at, ended_at = moments.started_at, moments.answered_at, moments.ended_at
    return sum(
        (
            answered_at is not None and answered_at < started_at,
            ended_at is not None and ended_at < (answered_at or started_at),
            answered_at is not None
            and ended_at is not None
            and abs(ended_at - answered_at - timedelta(seconds=seconds)) > TOLERANCE,
            duration is not None
            and ended_at is not None
            and abs(ended_at - started_at - timedelta(seconds=duration)) > TOLERANCE,
        )
    )
