"""What staff do is done once, by somebody with a name, and is noted with how it was before and after."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from ivy.models import AuditEntry


class DoneAlready(Exception):
    """The same form was sent before, and was done then. `entry` tells what came of it."""

    def __init__(self, entry: AuditEntry) -> None:
        self.entry = entry
        super().__init__(f"This was done already, at {entry.at:%H:%M:%S} UTC: {entry.summary}")


class Refused(Exception):
    """What was asked for can't be done. The message says why, to the person who asked; nothing was changed."""


@dataclass
class Act:
    """What is being done: filled in by whoever does it."""

    summary: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


@contextmanager
def act(*, by: str, verb: str, noun: str, name: str, reason: str = "", once: UUID | None = None) -> Iterator[Act]:
    """A transaction in which something is done and noted, together or not at all.

    A second request with the same `once` waits for the first, and raises DoneAlready before anything is done. The block
    says in `summary` what came of it. Any error takes all of it back.
    """
    with transaction.atomic():
        if once is not None:
            refuse_twice(once)
        doing = Act()
        yield doing
        note(doing, by=by, verb=verb, noun=noun, name=name, reason=reason, once=once)


@contextmanager
def lasting_act(*, by: str, verb: str, noun: str, name: str, once: UUID, reason: str = "") -> Iterator[Act]:
    """The same for verbs that must not run inside a transaction, since they wait for others: halt, resume, reset.

    They may be repeated without harm. A second request with the same `once` waits for the first and raises DoneAlready.
    What they did stands, also when noting it fails: their own histories tell of it, too.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [str(once)])
    try:
        refuse_twice(once)
        doing = Act()
        yield doing
        note(doing, by=by, verb=verb, noun=noun, name=name, reason=reason, once=once)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [str(once)])


def note(
    doing: Act, *, by: str, verb: str, noun: str, name: str, reason: str = "", once: UUID | None = None
) -> AuditEntry:
    """Note what was done. By itself for verbs that must not run inside a transaction and may be repeated, as `halt`."""
    return AuditEntry.objects.create(
        by=by,
        verb=verb,
        noun=noun,
        name=name,
        reason=reason,
        summary=doing.summary,
        before=doing.before,
        after=doing.after,
        once=once,
    )


def refuse_twice(once: UUID) -> None:
    """Raise DoneAlready if a form was done. Inside a transaction it first waits for whoever is doing it just now."""
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(once)])
    entry = AuditEntry.objects.filter(once=once).first()
    if entry is not None:
        raise DoneAlready(entry)
