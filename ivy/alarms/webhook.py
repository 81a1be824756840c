"""Alarms to a chat or a pager: an HTTP request for each message, signed as https://www.standardwebhooks.com says.

docs/alarms.md tells a receiver what is in it and how it is verified.
"""

import hashlib
import hmac
import json
import logging
from base64 import b64encode
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

import psycopg
import requests
from django.conf import settings
from requests.exceptions import RequestException

from ivy.alarms import outbox
from ivy.alarms.own_connection import Lock, one_at_a_time
from ivy.models import AlarmMessage, Channel, Event

logger = logging.getLogger(__name__)

GIVEN_UP_AFTER = timedelta(days=1)
# More than so many at one moment go in one request.
MOST_SINGLY = 10
MOST_AT_ONCE = 1_000
SECONDS_A_LOOK = 10.0
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0
ANSWER_BYTES = 300


class NotTaken(Exception):
    """The receiver did not take it; the words say why, without its address, which may hold a secret."""


def deliver(own: psycopg.Connection[Any]) -> int:
    """Post what is due; how many requests the receiver took. What it does not take is tried again for a day."""
    if not settings.ALARM_WEBHOOK_URL:
        return 0
    taken = 0
    with one_at_a_time(own, Lock.WEBHOOK) as is_mine:
        deadline = monotonic() + SECONDS_A_LOOK
        while is_mine and monotonic() < deadline:
            messages = outbox.claim(own, Channel.WEBHOOK, most=_how_many(own))
            if not messages:
                break
            try:
                answer = outbox.within(outbox.DELIVERY_SECONDS, partial(post, messages))
            except (NotTaken, TimeoutError) as error:
                why = str(error) or f"no answer within {outbox.DELIVERY_SECONDS:.0f} s"
                outbox.note_failed(own, messages, f"Not taken: {why}", within=GIVEN_UP_AFTER)
                outbox.hold_back(own, Channel.WEBHOOK)
                logger.error("The alarm webhook did not take %d messages: %s", len(messages), why)
                break
            outbox.note_sent(own, messages, answer)
            taken += 1
    return taken


def post(messages: list[AlarmMessage]) -> str:
    """Post one message, or several as one; the receiver's answer, in short. Raises NotTaken."""
    content = body(messages)
    message_id = outbox.name_of(messages)
    at = max(message.tried_at for message in messages if message.tried_at)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Ivy",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature(content, message_id=message_id, at=at),
    }
    try:
        with requests.post(
            settings.ALARM_WEBHOOK_URL,
            data=content,
            headers=headers,
            timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            allow_redirects=False,  # a signed alarm goes where staff sent it, and nowhere else
            stream=True,
        ) as response:
            said = b""
            with suppress(RequestException):  # the status has been read, and tells
                said = next(response.iter_content(ANSWER_BYTES), b"")
    except (RequestException, OSError) as error:
        raise NotTaken(_why(error)) from error
    words = f"{response.status_code} {response.reason or ''} {said.decode(errors='replace')}"
    answer = " ".join(words.replace("\x00", "").split())
    if not 200 <= response.status_code < 300:
        raise NotTaken(answer)
    return answer


def body(messages: list[AlarmMessage]) -> bytes:
    """The JSON of one message; of several, "several" with the list of them."""
    if len(messages) == 1:
        return _json(_as_json(messages[0]))
    told = [_as_json(message) for message in messages]
    first = told[0]
    text = f"{len(told)} messages of alarms, the first: {first['text']}"
    return _json({"event": "several", "count": len(told), "text": text, "alarms": told})


def signature(content: bytes, *, message_id: str, at: datetime) -> str:
    """HMAC-SHA256 over id, moment (Unix seconds) and body, joined by dots; after the version of this form."""
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + content
    digest = hmac.new(settings.ALARM_WEBHOOK_SECRET, signed, hashlib.sha256).digest()
    return f"v1,{b64encode(digest).decode()}"


def _as_json(message: AlarmMessage) -> dict[str, Any]:
    alarm = message.alarm
    return {
        "event": message.event,
        "number": message.number,
        "key": alarm.key,
        "wrong": alarm.wrong,
        "affects": alarm.affects,
        "todo": alarm.todo,
        "since": alarm.since,
        "raised_at": alarm.raised_at,
        "cleared_at": alarm.cleared_at,
        "link": alarm.link,
        "text": _text(message),
    }


def _text(message: AlarmMessage) -> str:
    alarm = message.alarm
    what = "It is well again. It was: " + alarm.wrong if message.event == Event.CLEARED else alarm.words
    return f"{Event(message.event).label} {alarm.key}: {what} (since {alarm.since:%Y-%m-%d %H:%M} UTC) {alarm.link}"


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, default=lambda at: at.isoformat(), ensure_ascii=False).encode()


def _how_many(own: psycopg.Connection[Any]) -> int:
    return MOST_AT_ONCE if outbox.count_due(own, Channel.WEBHOOK) > MOST_SINGLY else 1


def _why(error: Exception) -> str:
    """What went wrong, by the names of the errors: their words repeat the receiver's address."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return f"{type(error).__name__} ({type(reason).__name__})" if reason else type(error).__name__
