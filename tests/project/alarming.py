"""Troubles, time and mail for tests of alarms."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any, cast

import psycopg
import pytest
from django.db import connection

from billing.checking import Check
from ivy.accounts.models import User
from ivy.alarms import looking
from ivy.alarms.own_connection import own_connection
from tests.faults.mailserver import MailServer

APPS = ["billing", "notifications", "ivy", "ivy.accounts", "django.contrib.auth", "django.contrib.contenttypes"]
real_commits = pytest.mark.django_db(transaction=True, available_apps=APPS)

MOMENTS = {
    "ivy_alarm": ("since", "raised_at", "seen_at", "well_since", "came_back_at", "next_reminder_at", "cleared_at"),
    "ivy_alarmmessage": ("created_at", "tried_at", "next_try_at", "sent_at"),
}


def wrong(key: str, words: str = "It is broken.", **fields: Any) -> Check:
    return Check(key, wrong=words, **{"affects": "Nobody is billed.", "todo": "Mend it.", **fields})


def well(key: str) -> Check:
    return Check(key)


def pass_time(**spans: float) -> None:
    """Let so much time pass for alarms and messages: their moments move back, as the clock is the database's."""
    with connection.cursor() as cursor:
        for table, columns in MOMENTS.items():
            moved = ", ".join(f"{column} = {column} - %(span)s" for column in columns)
            cursor.execute(f"UPDATE {table} SET {moved}", {"span": timedelta(**spans)})


@contextmanager
def own() -> Iterator[psycopg.Connection[Any]]:
    with own_connection() as connected:
        yield connected


def find(*checks: Check, by: psycopg.Connection[Any] | None = None) -> looking.Changes:
    """A look that finds this, and tells staff. `by`: a connection that is open already."""
    with nullcontext(by) if by else own_connection() as connected:
        changes = looking.note(connected, checks)
        looking.tell(connected)
    return changes


def make_staff(*addresses: str) -> None:
    for address in addresses:
        User.objects.create_user(address, is_staff=True)


def use(server: MailServer, settings: Any) -> None:
    """Let Ivy mail through this server."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False


def subjects(server: MailServer) -> list[str]:
    """Of the mails that the server took, in their order."""
    return [str(message_from_bytes(mail.content, policy=policy.default)["Subject"]) for mail in server.accepted]


def text_of(server: MailServer, nth: int = -1) -> str:
    message = message_from_bytes(server.accepted[nth].content, policy=policy.default)
    return cast("str", cast("Any", message).get_content()).replace("\r\n", "\n")
