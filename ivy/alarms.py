"""Alarms to staff: raised once, cleared once, each told by mail and in the log. No kind of the customers' mails.

They have their own table and their own connection to the database, so that an alarm outlives the transaction in which
the trouble shows; neither the switches of customers' mails nor the cache have a say in them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.db import connection

from ivy import watch

logger = logging.getLogger(__name__)

LOCK = 1_230_030
MOST_MAILS_TRIED = 10
CONNECT_SECONDS = 5


def raise_alarm(key: str, words: str) -> bool:
    """Something is wrong, and staff are to know: True if they were not told already. May be repeated every minute.

    The words of an alarm that stands are brought up to date, without another mail.
    """
    with _own_connection() as own:
        row = own.execute(
            """
            INSERT INTO ivy_alarm (key, words, raised_at, seen_at, mail_tries) VALUES (%s, %s, now(), now(), 0)
            ON CONFLICT (key) WHERE cleared_at IS NULL DO UPDATE SET words = excluded.words, seen_at = now()
            RETURNING xmax = 0
            """,
            [key, words],
        ).fetchone()
    is_new = bool(row and row[0])
    if is_new:
        logger.error("ALARM %s: %s", key, words)
    return is_new


def clear_alarm(key: str) -> bool:
    """It is well again: True if an alarm stood. May be repeated."""
    with _own_connection() as own:
        cleared = own.execute(
            "UPDATE ivy_alarm SET cleared_at = now(), mail_tries = 0 WHERE key = %s AND cleared_at IS NULL", [key]
        ).rowcount
    if cleared:
        logger.warning("All clear: %s", key)
    return bool(cleared)


def look() -> None:
    """Look at everything, raise and clear, and mail what staff were not mailed yet. May be repeated."""
    for check in watch.everything():
        if check.is_well:
            clear_alarm(check.key)
        else:
            raise_alarm(check.key, f"{check.wrong} {check.affects} {check.todo}")
    mail_what_is_new()


def mail_what_is_new() -> int:
    """Mail staff each alarm and each all-clear that they were not mailed yet; how many mails the server took.

    What the server does not take is tried again at the next look, ten times at most.
    """
    sent = 0
    with _own_connection() as own:
        row = own.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        if not (row and row[0]):
            return 0  # somebody else is at it
        told = own.execute(
            """
            SELECT id, key, words, cleared_at IS NOT NULL FROM ivy_alarm
            WHERE mail_tries < %s AND (mailed_at IS NULL OR (cleared_at IS NOT NULL AND all_clear_mailed_at IS NULL))
              AND NOT (cleared_at IS NOT NULL AND mailed_at IS NULL)
            ORDER BY id
            """,
            [MOST_MAILS_TRIED],
        ).fetchall()
        for alarm, key, words, is_over in told:
            own.execute("UPDATE ivy_alarm SET mail_tries = mail_tries + 1 WHERE id = %s", [alarm])
            if _mail(key, words, is_over=is_over):
                column = "all_clear_mailed_at" if is_over else "mailed_at"
                own.execute(f"UPDATE ivy_alarm SET {column} = now() WHERE id = %s", [alarm])  # noqa: S608 - ours
                sent += 1
    return sent


def standing() -> list[dict[str, Any]]:
    """The alarms that stand, the oldest first: key, words, since when."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, words, raised_at FROM ivy_alarm WHERE cleared_at IS NULL ORDER BY raised_at, id")
        return [{"key": key, "words": words, "since": since} for key, words, since in cursor.fetchall()]


def _mail(key: str, words: str, *, is_over: bool) -> bool:
    """Mail it to every member of staff; False if the server did not take it."""
    people = get_user_model().objects
    staff = list(people.filter(is_staff=True, is_active=True).exclude(email="").values_list("email", flat=True))
    if not staff:
        return True
    subject = f"Ivy: {'all clear' if is_over else 'ALARM'}: {key}"
    text = f"{'It is well again. It was:' if is_over else ''}\n{words}\n\nmanage.py status tells how Ivy is.\n".lstrip()
    try:
        EmailMessage(subject, text, settings.SERVER_EMAIL, staff).send()
    except Exception as error:  # noqa: BLE001 - backends raise what they like; an alarm must not break the pass
        logger.error("The alarm %s could not be mailed to staff: %s", key, error)
        return False
    return True


@contextmanager
def _own_connection() -> Iterator[psycopg.Connection[Any]]:
    """A connection beside Django's, each statement its own transaction."""
    at = connection.settings_dict
    with psycopg.connect(
        host=at["HOST"] or None,
        port=at["PORT"] or None,
        user=at["USER"] or None,
        password=at["PASSWORD"] or None,
        dbname=at["NAME"],
        connect_timeout=CONNECT_SECONDS,
        application_name="ivy alarms",
        autocommit=True,
    ) as own:
        yield own
