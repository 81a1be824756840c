"""Which database may mail: a copy of last night's, or one that failed over, holds notifications until staff confirm it.

What may have gone out from the original since is uncertain in the copy. A database that never mailed confirms itself.
"""

import hashlib
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction

from notifications import history
from notifications.models import Because, ConfirmedInstance, NotificationLog, State

BY = "instance check"
NOBODY_KNOWS = "nobody has confirmed that this database is the one that mails"


@dataclass(frozen=True)
class Identity:
    """The database server, the database in it, its timeline (raised by each fail-over), and this installation.

    `log_oid`: the number of the log's table, which is a new one where a copy was restored into the same database.
    """

    system_identifier: int
    database_oid: int
    log_oid: int
    timeline: str
    installation: str


def identity() -> Identity:
    """What the present connection leads to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT system_identifier, database_oid, 'notifications_notificationlog'::regclass::oid::bigint, timeline"
            " FROM notifications_serveridentity"
        )
        system_identifier, database_oid, log_oid, timeline = cursor.fetchone()
    return Identity(system_identifier, database_oid, log_oid, timeline, installation())


def installation() -> str:
    """This installation, by its secret key: staging has another than production."""
    return hashlib.sha256(f"ivy installation {settings.SECRET_KEY}".encode()).hexdigest()


def why_not_confirmed() -> str:
    """Why no mail may go out from here, in words; empty: staff (or the first start) have confirmed this instance."""
    reason = doubt()
    if not reason:
        if not ConfirmedInstance.objects.filter(pk=1).exists():
            confirm(by="first start")
        ConfirmedInstance.objects.filter(pk=1, log_oid=None).update(log_oid=identity().log_oid)
    return reason


def doubt() -> str:
    """What `why_not_confirmed` says. Writes nothing, not even that this is the first start."""
    here = identity()
    known = ConfirmedInstance.objects.filter(pk=1).first()
    if known is None:
        return NOBODY_KNOWS if NotificationLog.objects.exists() else ""
    if known.system_identifier != here.system_identifier or known.database_oid != here.database_oid:
        return "this database is a copy: it lies on another server, or under another number, than the one that mailed"
    if known.log_oid not in {None, here.log_oid}:
        return "a copy was restored into this database: its log is another than the one that mailed"
    if known.timeline != here.timeline:
        return f"the database failed over (timeline {known.timeline} before, {here.timeline} now)"
    if known.installation != here.installation:
        return "this installation has another secret key than the one that mailed"
    return ""


def confirm(*, by: str) -> None:
    """Let the present database and installation mail. Safe to repeat."""
    here = identity()
    ConfirmedInstance.objects.update_or_create(
        pk=1,
        defaults={
            "system_identifier": here.system_identifier,
            "database_oid": here.database_oid,
            "log_oid": here.log_oid,
            "timeline": here.timeline,
            "installation": here.installation,
            "confirmed_by": by,
        },
    )


def doubt_what_may_have_gone_out(*, reason: str) -> int:
    """Make every mail that waits uncertain: the original may have sent it since. How many. Safe to repeat.

    Falls that nobody has taken up yet are written as uncertain, too, by the passes until staff confirm (see `owing`).
    """
    with transaction.atomic(durable=True):
        rows = list(
            NotificationLog.objects.select_for_update()
            .filter(state__in=[State.PENDING, State.CLAIMED, State.SENDING, State.HELD])
            .order_by("pk")
        )
        history.note([log.pk for log in rows], by=BY, verb="doubt", reason=reason, to=State.UNCERTAIN)
        # Tokens stay: the late answer of a worker that was in the middle of a hand-over still counts.
        return NotificationLog.objects.filter(pk__in=[row.pk for row in rows]).update(
            state=State.UNCERTAIN, because=Because.COPIED, detail=reason, lease_until=None
        )
