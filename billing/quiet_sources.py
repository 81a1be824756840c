"""Sources of call records that have gone quiet: the commonest cause of calls that nobody bills.

Two signs, either is enough:

    no delivery   for longer than the source's expected gap
    few calls     far fewer than began in the same hours of last week

Last week's hours are those by the clock on the source's wall, so that weekends, nights and daylight saving compare with
their like. They are counted as far as their calls had arrived *by then*: a switch that delivers once a day has none of
the last three hours today, and had none last week. Sources that deliver all the time are looked at over the last three
full hours; all sources over the last full day before their last delivery.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
# One quiet hour may be a lunch break or a file that is a little late; three full hours are none of these.
LAST_HOURS = timedelta(hours=3)
LAST_DAY = timedelta(hours=24)
# Below it chance decides: of 50 calls a week ago a tenth today is no accident, of 5 it may be.
ENOUGH_CALLS = 50
# Busy and calm weeks differ by half, not by five times. Public holidays do: see docs/runbook.md.
FAR_FEWER = 5


@dataclass(frozen=True)
class Source:
    """A source that is expected to deliver. `quiet_because`: what is wrong, in a sentence; empty: it delivers."""

    name: str
    quiet_because: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class _Row:
    """A source, when it gave its last sign of life (None: never), and the database's time."""

    id: int
    name: str
    timezone: str
    expected_gap: timedelta
    created_at: datetime
    is_retired: bool
    last_sign_at: datetime | None
    now: datetime

    @property
    def is_watched(self) -> bool:
        """Not for sources that are retired, that never delivered, or that were registered moments ago."""
        is_new = self.now - self.created_at <= self.expected_gap
        return not (self.is_retired or is_new or self.last_sign_at is None)


@dataclass(frozen=True)
class _Window:
    """Some full hours, and the same hours of last week. `week_known_by`: what had arrived by then counts for those."""

    start: datetime
    end: datetime
    week_start: datetime
    week_end: datetime
    week_known_by: datetime


def all_sources() -> list[Source]:
    """Every registered source: quiet, with the reason, or not. Two queries, however many calls there are."""
    rows = _read()
    watched = [row for row in rows if row.is_watched]
    found = {row.id: _overdue(row) for row in watched}
    for row, window, counts in _counted([row for row in watched if found[row.id] is None]):
        found[row.id] = found[row.id] or _far_fewer(row, window, *counts)
    return [found.get(row.id) or Source(row.name) for row in rows]


def _overdue(row: _Row) -> Source | None:
    last = row.last_sign_at
    if last is None or row.now - last <= row.expected_gap:
        return None
    return Source(
        row.name,
        f"{row.name} has delivered nothing since {last:%Y-%m-%d %H:%M} UTC;"
        f" its longest ordinary silence is {_in_words(row.expected_gap)}.",
        last,
    )


def _far_fewer(row: _Row, window: _Window, calls: int, last_week: int) -> Source | None:
    if last_week < ENOUGH_CALLS or calls * FAR_FEWER >= last_week:
        return None
    return Source(
        row.name,
        f"{row.name} delivers far fewer calls than usual: {calls} that began from {window.start:%Y-%m-%d %H:%M} to"
        f" {window.end:%H:%M} UTC, {last_week} in the same hours of last week.",
        window.start,
    )


def same_hours_last_week(end: datetime, length: timedelta, *, timezone: str) -> tuple[datetime, datetime]:
    """Where so many hours up to `end` were a week ago by the clock on the wall, in whole hours of UTC."""
    on_the_wall = end.astimezone(ZoneInfo(timezone or "UTC"))
    week_end = _full_hour((on_the_wall - WEEK).astimezone(UTC))
    return week_end - length, week_end


def _windows(row: _Row) -> list[_Window]:
    """The last hours as of now, and the last day as of the last delivery."""
    windows = []
    for as_of, length in ((row.now, LAST_HOURS), (row.last_sign_at or row.now, LAST_DAY)):
        end = _full_hour(as_of)
        week_start, week_end = same_hours_last_week(end, length, timezone=row.timezone)
        # What had arrived a week before this moment, by the same shift as the hours.
        windows.append(_Window(end - length, end, week_start, week_end, row.now - (end - week_end)))
    return windows


def _full_hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _read() -> list[_Row]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, s.name, s.timezone, s.expected_gap, s.created_at, s.is_retired, last.sign_at,
                statement_timestamp()
            FROM billing_source s
            LEFT JOIN LATERAL (
                -- A few, as several may be read at once; those that nothing was read of are no sign of life.
                SELECT max(greatest(d.started_at, d.finished_at, d.last_stored_at)) AS sign_at
                FROM (
                    SELECT * FROM billing_delivery
                    WHERE source_id = s.id AND (finished_at IS NOT NULL OR read_count > 0)
                    ORDER BY started_at DESC LIMIT 5
                ) d
            ) last ON true
            ORDER BY s.name
            """
        )
        return [_Row(*row) for row in cursor.fetchall()]


def _counted(rows: list[_Row]) -> list[tuple[_Row, _Window, tuple[int, int]]]:
    """Each window of each source with its calls now and in the same hours of last week.

    The short window counts for sources only that delivered in more than one hour of it last week, as those do which
    deliver all the time: of others, last week's hours may have come in one file that is merely a little later today.
    """
    asked = [(row, window) for row in rows for window in _windows(row)]
    if not asked:
        return []
    names: dict[str, Any] = {
        "short": LAST_HOURS,
        "sources": [row.id for row, _ in asked],
        "starts": [window.start for _, window in asked],
        "ends": [window.end for _, window in asked],
        "week_starts": [window.week_start for _, window in asked],
        "week_ends": [window.week_end for _, window in asked],
        "known_by": [window.week_known_by for _, window in asked],
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(recent.calls, 0),
                CASE WHEN week.arrivals > 1 OR w.ends - w.starts > %(short)s THEN coalesce(week.calls, 0) ELSE 0 END
            FROM unnest(
                %(sources)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],
                %(week_starts)s::timestamptz[], %(week_ends)s::timestamptz[], %(known_by)s::timestamptz[]
            ) WITH ORDINALITY AS w (source, starts, ends, week_starts, week_ends, known_by, number)
            CROSS JOIN LATERAL (
                SELECT sum(call_count) AS calls FROM billing_callsbyhour
                WHERE source_id = w.source AND hour >= w.starts AND hour < w.ends
            ) recent
            CROSS JOIN LATERAL (
                SELECT sum(call_count) AS calls, count(DISTINCT date_trunc('hour', arrived_at)) AS arrivals
                FROM billing_callsbyhour
                WHERE source_id = w.source AND hour >= w.week_starts AND hour < w.week_ends AND arrived_at <= w.known_by
            ) week
            ORDER BY w.number
            """,
            names,
        )
        return [(row, window, counts) for (row, window), counts in zip(asked, cursor.fetchall(), strict=True)]


def _in_words(gap: timedelta) -> str:
    hours = gap.total_seconds() / 3600
    return f"{hours:g} hours" if hours >= 1 else f"{gap.total_seconds() / 60:g} minutes"
