"""Alarms by mail: everything that is due goes to every active member of staff in one mail."""

import logging
import re
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email

from ivy.alarms import outbox
from ivy.alarms.own_connection import Lock, one_at_a_time
from ivy.models import AlarmMessage, Channel, Event

logger = logging.getLogger(__name__)

# The more mails went out within an hour, the longer the next one gathers: after none, one, two, …, six and more. So
# single troubles are told at once, and a storm makes six mails and then one every ten minutes.
GAPS = [
    timedelta(0),
    timedelta(seconds=10),
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
]
# What one mail tells: so many in full, so many more in a line each, the others as a number.
MOST_IN_FULL = 20
MOST_LINES = 200

MOST_AT_ONCE = 100_000
ORDER = list(Event)


def deliver(own: psycopg.Connection[Any]) -> bool:
    """Mail staff what is due; True if the server took a mail. What it does not take is tried again later."""
    with one_at_a_time(own, Lock.MAILING) as is_mine:
        if not is_mine or not _may_mail(own):
            return False
        messages = outbox.claim(own, Channel.MAIL, most=MOST_AT_ONCE)
        if not messages:
            return False
        staff = _staff(own)
        if not staff:
            outbox.note_failed(own, messages, "No active member of staff has an e-mail address.")
            logger.error("%d alarm messages can be mailed to nobody: no active staff with an address", len(messages))
            return False
        mail = written(messages, to=staff)
        try:
            outbox.within(outbox.DELIVERY_SECONDS, mail.send)
        except Exception as error:  # noqa: BLE001 - backends raise what they like; an alarm must not break the pass
            why = _why(error)
            outbox.note_failed(own, messages, f"Not taken: {why}")
            logger.error("%d alarm messages could not be mailed to staff: %s", len(messages), why)
            return False
        outbox.note_sent(own, messages, f"Taken, for {len(staff)} of staff.")
    return True


def written(messages: list[AlarmMessage], *, to: list[str]) -> EmailMessage:
    """One mail that tells all of it: new alarms first. The same messages make the same Message-ID."""
    told = _without_what_is_over(messages)
    told.sort(key=lambda message: (ORDER.index(Event(message.event)), message.pk))
    more = f" and {len(told) - 1} more" if len(told) > 1 else ""
    subject = f"Ivy: {Event(told[0].event).label}: {told[0].alarm.key}{more}"
    parts = [_in_full(message) for message in told[:MOST_IN_FULL]]
    lines = [_in_a_line(message) for message in told[MOST_IN_FULL : MOST_IN_FULL + MOST_LINES]]
    parts += ["\n".join(lines)] if lines else []
    left = len(told) - MOST_IN_FULL - MOST_LINES
    parts += [f"... and {left} more."] if left > 0 else []
    parts.append(f"All alarms: {settings.SITE_URL}/admin/ivy/alarm/\nHow Ivy is: manage.py status\n")
    domain = settings.SERVER_EMAIL.rpartition("@")[2].rstrip(">")
    headers = {"Message-ID": f"<{outbox.name_of(messages)}@{domain}>", "Auto-Submitted": "auto-generated"}
    return EmailMessage(subject, "\n\n".join(parts), settings.SERVER_EMAIL, to, headers=headers)


def _without_what_is_over(messages: list[AlarmMessage]) -> list[AlarmMessage]:
    """An alarm whose all-clear is among the messages needs no other word: the all-clear tells all of it."""
    over = {message.alarm.pk for message in messages if message.event == Event.CLEARED}
    return [message for message in messages if message.event == Event.CLEARED or message.alarm.pk not in over]


def _in_full(message: AlarmMessage) -> str:
    alarm = message.alarm
    is_over = message.event == Event.CLEARED
    lines = [f"{Event(message.event).label}: {alarm.key}", ""]
    if is_over:
        lines.append(f"It is well again, since {_moment(alarm.well_since or alarm.cleared_at)}.")
    lines.append(f"{'It was' if is_over else 'What is wrong'}: {alarm.wrong}")
    lines.append(f"Since: {_moment(alarm.since)}")
    if alarm.flap_count:
        lines.append(f"It came back {'once' if alarm.flap_count == 1 else f'{alarm.flap_count} times'}.")
    if not is_over:
        lines += [f"It affects: {alarm.affects}"] if alarm.affects else []
        lines += [f"What to do: {alarm.todo}"] if alarm.todo else []
    lines.append(f"More: {alarm.link}")
    return "\n".join(lines)


def _in_a_line(message: AlarmMessage) -> str:
    return f"{Event(message.event).label}: {message.alarm.key}: {message.alarm.wrong}"


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "now"


def _may_mail(own: psycopg.Connection[Any]) -> bool:
    """Whether staff may be mailed now, so shortly after the mails before. A mail is told by its moment of sending."""
    row = own.execute(
        """
        SELECT coalesce(
            max(sent_at) <= now() - (%(gaps)s::interval[])[least(count(DISTINCT sent_at) + 1, %(longest)s)], true
        ) FROM ivy_alarmmessage WHERE channel = %(channel)s AND sent_at > now() - interval '1 hour'
        """,
        {"gaps": GAPS, "longest": len(GAPS), "channel": Channel.MAIL.value},
    ).fetchone()
    return bool(row and row[0])


def _staff(own: psycopg.Connection[Any]) -> list[str]:
    """The addresses of all active staff, save those that no mail can be sent to: one would stop the others' mail."""
    table = get_user_model()._meta.db_table
    rows = own.execute(f"SELECT email FROM {table} WHERE is_staff AND is_active ORDER BY id")  # noqa: S608 - ours
    return [email for (email,) in rows if _is_sound(email)]


def _is_sound(email: str) -> bool:
    try:
        validate_email(email)
    except ValidationError:
        return False
    return True


def _why(error: Exception) -> str:
    """The error in words, without addresses of people."""
    words = re.sub(r"\S+@\S+", "…", " ".join(str(error).split()))
    return f"{type(error).__name__}: {words}"[:300] if words else type(error).__name__
