"""What began, what came back, and what is over: the life of an alarm.

An alarm is a change, not a level. It is raised by the first look that finds a trouble, stands while the trouble does,
and is cleared when it was well for a calm time: half a minute, and longer each time the same trouble came back within
an hour. So whatever flaps makes one alarm, not one a second.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from billing.checking import CHECK_FAILED, Check
from ivy import pulses, watch
from ivy.alarms import mail, outbox, webhook
from ivy.alarms.own_connection import Lock, one_at_a_time, own_connection
from ivy.models import Alarm, Event

logger = logging.getLogger(__name__)

# How long a trouble must stay well before it counts as over: the first time, and after it came back once, twice, …
CALM = [timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=8), timedelta(minutes=30)]
FLAPS_WITHIN = timedelta(hours=1)  # the hour of the statements below
# From raising to the first reminder, from there to the second, and from each to the next.
BETWEEN_REMINDERS = [timedelta(hours=4), timedelta(hours=8), timedelta(hours=24)]


@dataclass
class Changes:
    """What a look has changed: keys of alarms that were raised, reminded of and cleared."""

    raised: list[str] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)


def look() -> bool:
    """Look at everything, note what has changed, and tell staff what they are owed to hear; True if that was possible.

    May be repeated and done by several processes at once: one of them looks, the others leave it to that one. Never
    raises an exception: what goes wrong is logged, and tried again at the next look.
    """
    try:
        with own_connection() as own:
            with one_at_a_time(own, Lock.LOOKING) as is_mine:
                if is_mine:
                    note(own, watch.everything())
                    pulses.beat(pulses.ALARMS)
            tell(own)
    except Exception:
        logger.exception("Alarms could not be looked after; the next look tries again")
        return False
    return True


def note(own: psycopg.Connection[Any], checks: Iterable[Check]) -> Changes:
    """Raise, remind of and clear what the checks say, and write in the same transaction what staff are owed to hear.

    The words of an alarm that stands are brought up to date, without another message; one that comes back tells since
    when it is wrong this time. What is listed no more counts as
    well, unless some check could not be done: nobody knows then. May be repeated; one process at a time.
    """
    bad: dict[str, Check] = {}
    well: set[str] = set()
    for check in checks:
        if check.is_well:
            well.add(check.key)
        else:
            bad.setdefault(check.key, check)
    is_complete = not any(check.page == CHECK_FAILED for check in bad.values())
    changes = Changes()
    with own.transaction():
        raised = _raise(own, list(bad.values()))
        reminded = _remind(own, list(bad))
        _begin_calm(own, list(bad), list(well), is_complete=is_complete)
        cleared = _clear(own, list(bad), list(well), is_complete=is_complete)
        outbox.owe(own, Event.RAISED, [(alarm, 0) for alarm, _ in raised])
        outbox.owe(own, Event.REMINDER, [(alarm, number) for alarm, _, number in reminded])
        outbox.owe(own, Event.CLEARED, [(alarm, 0) for alarm, _ in cleared])
    for _, key in raised:
        changes.raised.append(key)
        logger.error("ALARM %s: %s %s %s", key, bad[key].wrong, bad[key].affects, bad[key].todo)
    for _, key, _number in reminded:
        changes.reminded.append(key)
        logger.error("ALARM %s still stands: %s", key, bad[key].wrong)
    for _, key in cleared:
        changes.cleared.append(key)
        logger.info("All clear: %s", key)
    return changes


def tell(own: psycopg.Connection[Any]) -> None:
    """Tell staff what they are owed to hear, by each channel; none keeps another from being tried. May be repeated."""
    for channel in (mail, webhook):
        try:
            channel.deliver(own)
        except Exception:
            logger.exception("Alarms could not be told by %s; the next look tries again", channel.__name__)


def clears_at(alarm: Alarm, *, now: datetime) -> datetime | None:
    """When an alarm that is well again will be cleared if it stays so; None while it is wrong."""
    if alarm.well_since is None:
        return None
    came_back_lately = alarm.came_back_at is not None and alarm.came_back_at > now - FLAPS_WITHIN
    calm = CALM[min(alarm.flap_count, len(CALM) - 1)] if came_back_lately else CALM[0]
    return alarm.well_since + calm


def standing() -> list[dict[str, Any]]:
    """The alarms that stand, as `status` tells them. Those that are wrong now come first, the longest first."""
    return [
        {
            "key": alarm.key,
            "words": alarm.words,
            "wrong": alarm.wrong,
            "affects": alarm.affects,
            "todo": alarm.todo,
            "since": alarm.since,
            "raised_at": alarm.raised_at,
            "well_since": alarm.well_since,
            "page": alarm.page,
            "link": alarm.link,
        }
        for alarm in Alarm.objects.standing()
    ]


def _raise(own: psycopg.Connection[Any], bad: list[Check]) -> list[tuple[int, str]]:
    """Raise what does not stand yet, in the order of the checks, and bring up to date what does. Those raised."""
    rows = own.execute(
        """
        INSERT INTO ivy_alarm (key, wrong, affects, todo, since, raised_at, seen_at, flap_count, came_back_at,
                               reminder_count, next_reminder_at)
        SELECT bad.key, bad.wrong, bad.affects, bad.todo, coalesce(bad.since, now()), now(), now(),
               coalesce(before.flaps + 1, 0), CASE WHEN before.flaps IS NOT NULL THEN now() END, 0, now() + %(reminder)s
        FROM unnest(%(keys)s::text[], %(wrong)s::text[], %(affects)s::text[], %(todo)s::text[],
                    %(since)s::timestamptz[]) WITH ORDINALITY AS bad (key, wrong, affects, todo, since, nth)
        LEFT JOIN LATERAL (
            SELECT CASE WHEN came_back_at > now() - interval '1 hour' THEN flap_count ELSE 0 END AS flaps
            FROM ivy_alarm WHERE key = bad.key AND cleared_at > now() - interval '1 hour'
            ORDER BY cleared_at DESC LIMIT 1
        ) AS before ON true
        ORDER BY bad.nth
        ON CONFLICT (key) WHERE cleared_at IS NULL DO UPDATE
        SET wrong = excluded.wrong, affects = excluded.affects, todo = excluded.todo, seen_at = now(),
            since = CASE WHEN ivy_alarm.well_since IS NULL THEN least(ivy_alarm.since, excluded.since)
                         ELSE greatest(ivy_alarm.well_since, excluded.since) END, well_since = NULL,
            flap_count = CASE WHEN ivy_alarm.well_since IS NULL THEN ivy_alarm.flap_count
                              WHEN ivy_alarm.came_back_at > now() - interval '1 hour' THEN ivy_alarm.flap_count + 1
                              ELSE 1 END,
            came_back_at = CASE WHEN ivy_alarm.well_since IS NULL THEN ivy_alarm.came_back_at ELSE now() END
        RETURNING id, key, xmax = 0
        """,
        {
            "keys": [check.key for check in bad],
            "wrong": [_readable(check.wrong) for check in bad],
            "affects": [_readable(check.affects) for check in bad],
            "todo": [_readable(check.todo) for check in bad],
            "since": [check.since for check in bad],
            "reminder": BETWEEN_REMINDERS[0],
        },
    ).fetchall()
    return [(alarm, key) for alarm, key, is_new in rows if is_new]


def _remind(own: psycopg.Connection[Any], bad: list[str]) -> list[tuple[int, str, int]]:
    """The alarms that have stood so long that staff are reminded of them now, with the reminder's number."""
    return own.execute(
        """
        UPDATE ivy_alarm
        SET reminder_count = reminder_count + 1,
            next_reminder_at = now() + (%(between)s::interval[])[least(reminder_count + 2, %(last)s)]
        WHERE cleared_at IS NULL AND next_reminder_at <= now() AND key = ANY(%(bad)s)
        RETURNING id, key, reminder_count
        """,
        {"between": BETWEEN_REMINDERS, "last": len(BETWEEN_REMINDERS), "bad": bad},
    ).fetchall()


IS_WELL = """
    cleared_at IS NULL AND NOT key = ANY(%(bad)s)
    AND (%(is_complete)s OR key = ANY(%(well)s) OR key LIKE %(check_failed)s)
"""


def _begin_calm(own: psycopg.Connection[Any], bad: list[str], well: list[str], *, is_complete: bool) -> None:
    own.execute(
        f"UPDATE ivy_alarm SET well_since = now() WHERE well_since IS NULL AND {IS_WELL}",  # noqa: S608 - ours
        {"bad": bad, "well": well, "is_complete": is_complete, "check_failed": f"{CHECK_FAILED}:%"},
    )


def _clear(
    own: psycopg.Connection[Any], bad: list[str], well: list[str], *, is_complete: bool
) -> list[tuple[int, str]]:
    """Clear what was well for its calm time, and is so now."""
    return own.execute(
        f"""
        UPDATE ivy_alarm SET cleared_at = now()
        WHERE {IS_WELL} AND well_since <= now() - (%(calm)s::interval[])[
            CASE WHEN came_back_at > now() - interval '1 hour' THEN least(flap_count + 1, %(longest)s) ELSE 1 END
        ]
        RETURNING id, key
        """,  # noqa: S608 - ours
        {
            "bad": bad,
            "well": well,
            "is_complete": is_complete,
            "check_failed": f"{CHECK_FAILED}:%",
            "calm": CALM,
            "longest": len(CALM),
        },
    ).fetchall()


def _readable(words: str) -> str:
    """PostgreSQL takes no NUL in a text; servers say what they like."""
    return words.replace("\x00", "")
