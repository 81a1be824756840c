"""Stopping a process at once, and letting it go on.

Each piece of work ("chunk") runs in a short transaction that first takes shared advisory locks on its process, for
everyone and for its partner, and only in the *next* statement reads the switch. `halt` writes the switch, commits, and
then takes the exclusive lock and lets it go: when it has it, no chunk of the process is in flight, and every later one
reads the new switch. One statement for both, or REPEATABLE READ, would read a stale switch.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from billing import prepared
from billing.models import HaltCause, Partner, Process, ProcessSwitch

CHUNK_LOCK_SECONDS = 2
CHUNK_STATEMENT_SECONDS = 5
CHUNK_IDLE_SECONDS = 5
PATIENCE_SECONDS = 2.5

BILLING = (Process.CALLS, Process.ITEMS)

# First half of the two-part advisory lock; the second half is the partner's id, or 0 for everyone.
LOCKS = {Process.CALLS: 1_230_001, Process.ITEMS: 1_230_002, Process.NOTIFICATIONS: 1_230_003}


class ProcessHalted(Exception):
    """Staff or the breaker halted the process, for everyone or for the partner of this chunk."""

    def __init__(self, switch: ProcessSwitch) -> None:
        self.process = Process(switch.process)
        self.is_for_everyone = switch.partner_id is None
        super().__init__(f"{switch.process} halted: {switch.reason}")


@dataclass(frozen=True)
class Halted:
    """What `halt` or `resume` did to one process. `ended_backends`: chunks that hung and were ended.

    `quiet_at`: after a halt, when the last chunk had ended, by the database's clock.
    """

    process: Process
    partner: str | None
    is_halted: bool
    changed: bool
    ended_backends: int = 0
    quiet_at: datetime | None = None


def active_halts(processes: tuple[Process, ...] = tuple(Process)) -> list[ProcessSwitch]:
    """Every halt in force by process, those for everyone first, and the older of two before the younger."""
    return list(
        ProcessSwitch.objects.filter(process__in=processes, is_halted=True)
        .select_related("partner")
        .order_by("process", F("partner_id").asc(nulls_first=True), "since", "pk")
    )


@contextmanager
def chunk(process: Process, *, partner_id: int | None) -> Iterator[None]:
    """A transaction of its own that a halt of `process` waits for. Raises ProcessHalted before any work is done.

    Bounded: it gives up on locks, statements and idleness after some seconds, so that it never keeps a halt waiting.
    Its commit outlives a crash of the server, whatever that is set to.
    """
    with transaction.atomic(durable=True):
        prepared.fetch(
            _ENTER,
            {
                "lock": LOCKS[process],
                "partner": partner_id or 0,
                "lock_timeout": f"{CHUNK_LOCK_SECONDS}s",
                "statement_timeout": f"{CHUNK_STATEMENT_SECONDS}s",
                "idle_timeout": f"{CHUNK_IDLE_SECONDS}s",
            },
        )
        refuse_when_halted(process, partner_id=partner_id)
        yield


# From left to right: the locks are waited for within the time that was set before them.
_ENTER = """
SELECT set_config('lock_timeout', %(lock_timeout)s, true), set_config('statement_timeout', %(statement_timeout)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle_timeout)s, true),
    set_config('synchronous_commit', 'on', true),
    pg_advisory_xact_lock_shared(%(lock)s::integer, 0),
    pg_advisory_xact_lock_shared(%(lock)s::integer, %(partner)s::integer)
"""


def refuse_when_halted(process: Process, *, partner_id: int | None) -> None:
    """Raise ProcessHalted if a halt of the process is in force for everyone or for the partner."""
    rows = prepared.fetch(_SWITCH, {"process": process.value, "partner": partner_id})
    if rows:
        raise ProcessHalted(ProcessSwitch.objects.get(pk=rows[0][0]))


_SWITCH = """
SELECT id FROM billing_processswitch
WHERE process = %(process)s AND is_halted AND (partner_id IS NULL OR partner_id = %(partner)s)
ORDER BY partner_id DESC NULLS FIRST LIMIT 1
"""


def halt(
    process: Process, *, reason: str, by: str, partner: Partner | None = None, cause: HaltCause = HaltCause.STAFF
) -> Halted:
    """Stop the process; when this returns, no chunk of it is in flight and none will start.

    The switch is committed first: killing the caller afterwards loses nothing. Chunks that do not end within some
    seconds (a frozen worker) have their database connection ended. May be repeated; a halt in force stays as it is.
    Must not be called inside a transaction.
    """
    changed = _switch(process, True, reason=reason, by=by, partner=partner, cause=cause)
    ended, quiet_at = _wait_for_chunks(LOCKS[process], partner.pk if partner else 0)
    return Halted(process, partner.slug if partner else None, True, changed, ended, quiet_at)


def resume(
    process: Process, *, reason: str, by: str, partner: Partner | None = None, cause: HaltCause = HaltCause.STAFF
) -> Halted:
    """End the halt that `cause` has put on the process, for everyone or for the partner. May be repeated.

    `is_halted` of the answer tells whether another halt keeps the process halted all the same.
    """
    changed = _switch(process, False, reason=reason, by=by, partner=partner, cause=cause)
    for_whom = Q(partner__isnull=True) | Q(partner=partner)
    still = ProcessSwitch.objects.filter(for_whom, process=process, is_halted=True).exists()
    return Halted(process, partner.slug if partner else None, still, changed)


def _switch(
    process: Process, is_halted: bool, *, reason: str, by: str, partner: Partner | None, cause: HaltCause
) -> bool:
    """Commit the switch; False if it stood so already."""
    with transaction.atomic(durable=True):
        which = {"process": process, "partner": partner, "cause": cause}
        to = {"is_halted": is_halted, "reason": reason, "changed_by": by}
        changed = ProcessSwitch.objects.filter(**which, is_halted=not is_halted).update(**to, since=Now())
        if not changed and is_halted:
            _, created = ProcessSwitch.objects.get_or_create(**which, defaults=to)
            changed = int(created)
    return bool(changed)


def _wait_for_chunks(lock: int, partner_id: int) -> tuple[int, datetime]:
    """Wait until nobody holds the shared lock; after PATIENCE_SECONDS end those who still do.

    How many were ended, and when nobody held it any more.
    """
    ended = 0
    patience = PATIENCE_SECONDS
    deadline = time.monotonic() + 60
    while True:
        try:
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(patience * 1000)}ms"])
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [lock, partner_id])
                cursor.execute("SELECT statement_timestamp()")
                (quiet_at,) = cursor.fetchone()
            return ended, quiet_at
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != "55P03" or time.monotonic() > deadline:
                raise
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
                " WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2 AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND pid <> pg_backend_pid()",
                [lock, partner_id],
            )
            ended += cursor.fetchone()[0]
        patience = 0.5
