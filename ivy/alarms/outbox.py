"""What staff are owed to hear: written with the change that it tells of, and kept until a channel has told them.

Each try is counted, and the next one dated, in a commit *before* it. So a process that dies in the middle loses
nothing: the message is tried again when its time has come. Should it have died between the server's answer and its own
note of it, that one message is told twice: once for each such death, with the same id for a receiver to know it by. One
process at a time tells by a channel.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from psycopg.rows import dict_row

from ivy.models import Alarm, AlarmMessage, Channel, Event

T = TypeVar("T")
# Until the second try, until the third, … The first must outlive a delivery (see `within`).
DELAYS = [
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=20),
    timedelta(minutes=30),
]
DELIVERY_SECONDS = 15.0


def owe(own: psycopg.Connection[Any], event: Event, alarms: list[tuple[int, int]]) -> None:
    """Staff are to hear of this event of these alarms (id, number of the event), by every channel there is.

    To be called in the transaction of the change. May be repeated.
    """
    channels = [Channel.MAIL.value, *([Channel.WEBHOOK.value] if settings.ALARM_WEBHOOK_URL else [])]
    own.execute(
        """
        INSERT INTO ivy_alarmmessage (alarm_id, event, number, channel, created_at, tries, next_try_at, answer)
        SELECT owed.alarm, %s, owed.number, channel, now(), 0, now(), ''
        FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS owed (alarm, number, nth),
             unnest(%s::text[]) AS channel
        ORDER BY owed.nth
        ON CONFLICT DO NOTHING
        """,
        [event.value, [alarm for alarm, _ in alarms], [number for _, number in alarms], channels],
    )


def claim(own: psycopg.Connection[Any], channel: Channel, *, most: int) -> list[AlarmMessage]:
    """The messages to be told by this channel now, with their alarms, in the order of their writing.

    Empty if none is due. If one is, those that wait for their next try come along. Counts the try and dates the next.
    """
    what = {"channel": channel.value, "delays": DELAYS, "longest": len(DELAYS), "first": DELAYS[0], "most": most}
    with own.transaction(), own.cursor(row_factory=dict_row) as cursor:
        # In a step of their own: a plan may run a subquery anew for each row, and what the statement has changed
        # already is skipped then, so that each time `most` others are found.
        due = cursor.execute(
            """
            SELECT id FROM ivy_alarmmessage
            WHERE channel = %(channel)s AND sent_at IS NULL AND next_try_at IS NOT NULL
              AND (tried_at IS NULL OR tried_at <= now() - %(first)s)
              AND EXISTS (SELECT FROM ivy_alarmmessage
                          WHERE channel = %(channel)s AND sent_at IS NULL AND next_try_at <= now())
            ORDER BY next_try_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
            """,
            what,
        ).fetchall()
        rows = cursor.execute(
            """
            UPDATE ivy_alarmmessage
            SET tries = tries + 1, tried_at = now(),
                next_try_at = now() + (%(delays)s::interval[])[least(tries + 1, %(longest)s)]
            WHERE id = ANY(%(due)s)
            RETURNING id, alarm_id, event, number, channel, created_at, tries, tried_at, next_try_at
            """,
            {**what, "due": [row["id"] for row in due]},
        ).fetchall()
        found = cursor.execute(
            "SELECT * FROM ivy_alarm WHERE id = ANY(%s)", [list({row["alarm_id"] for row in rows})]
        ).fetchall()
    alarms = {row["id"]: Alarm(**row) for row in found}
    messages = [AlarmMessage(alarm=alarms[row.pop("alarm_id")], **row) for row in rows]
    return sorted(messages, key=lambda message: message.pk)


def note_sent(own: psycopg.Connection[Any], messages: list[AlarmMessage], answer: str) -> None:
    """They were told, and this was the answer."""
    own.execute(
        "UPDATE ivy_alarmmessage SET sent_at = now(), answer = %s WHERE id = ANY(%s) AND sent_at IS NULL",
        [answer, [message.pk for message in messages]],
    )


def note_failed(
    own: psycopg.Connection[Any], messages: list[AlarmMessage], answer: str, *, within: timedelta | None = None
) -> None:
    """They were not told, and why. They are tried again, but no more once they are older than `within`."""
    own.execute(
        """
        UPDATE ivy_alarmmessage
        SET answer = %(answer)s,
            next_try_at = CASE WHEN created_at > now() - %(within)s::interval IS NOT FALSE THEN next_try_at END
        WHERE id = ANY(%(ids)s) AND sent_at IS NULL
        """,
        {"answer": answer, "within": within, "ids": [message.pk for message in messages]},
    )


def name_of(messages: list[AlarmMessage]) -> str:
    """A name for telling these, the same at each try and nobody else's."""
    told = [settings.SITE_URL, *(f"{message.pk}:{message.alarm.key}:{message.event}" for message in messages)]
    return f"alarm_{hashlib.sha256(','.join(told).encode()).hexdigest()[:24]}"


def hold_back(own: psycopg.Connection[Any], channel: Channel) -> None:
    """The channel takes nothing just now: what is due there waits as long as after a first try."""
    own.execute(
        """
        UPDATE ivy_alarmmessage SET next_try_at = now() + %s
        WHERE channel = %s AND sent_at IS NULL AND next_try_at <= now()
        """,
        [DELAYS[0], channel.value],
    )


def count_due(own: psycopg.Connection[Any], channel: Channel) -> int:
    """How many messages are to be told by this channel now."""
    row = own.execute(
        "SELECT count(*) FROM ivy_alarmmessage WHERE channel = %s AND sent_at IS NULL AND next_try_at <= now()",
        [channel.value],
    ).fetchone()
    return int(row[0]) if row else 0


def within(seconds: float, deliver: Callable[[], T]) -> T:
    """What `deliver` returns or raises; TimeoutError after that many seconds, though it may still go on by itself.

    Time-outs of sockets begin anew with every byte, and looking up a name knows none. It must not use the database.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(deliver())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    Thread(target=run, name="alarm", daemon=True).start()
    return answer.result(timeout=seconds)
