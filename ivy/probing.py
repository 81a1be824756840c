"""Who looks at the parts: a light thread in every web process, every queue worker and in tick.

In 2019 the web process reached the cache well while the worker's writes failed, and nobody looked from the worker. So
each process tries its own cache and its own database, every quarter of a minute, and right away at its start, when a
billing or notification pass begins and when the cache has failed; what it finds is a row of `Probe`. What is the same
for a whole machine (disk, clock, mail server) is tried once a minute, by whoever comes first.

What is told about it is `ivy.health`'s business.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing import util
from typing import Any

from django.db import Error, connection, connections, transaction
from django.db.models.functions import Now

from billing.processes import ProcessId, this_process
from ivy import cache
from ivy.models import Probe, Role
from ivy.probes import Finding, clock, database, disk, mail_server
from ivy.probes import cache as cache_probe

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 15.0
SECONDS_BETWEEN_LOOKS_AT_TROUBLE = 5.0
LEAST_SECONDS_BETWEEN_LOOKS = 1.0
MACHINE_SECONDS = 60
MACHINE_SECONDS_AT_TROUBLE = 15
STATEMENT_SECONDS = 5
STOP_SECONDS = 3.0
FORK_SECONDS = 5.0
FORGOTTEN_AFTER = timedelta(hours=1)
ODD_FOR = timedelta(minutes=30)
LOCKS = 1_230_040  # the first half of advisory locks here

OF_A_MACHINE: dict[str, Callable[[], Finding | None]] = {
    "clock": clock.look,
    "disk": lambda: disk.look(disk.folders()),
    "mail-server": mail_server.look,
}


def start(role: Role) -> None:
    """Let this process look from now on, until it ends. May be repeated; a web process that is forked looks as well."""
    global _prober  # noqa: PLW0603 - one per process, as the process itself
    if _prober is not None and _prober.is_alive():
        return
    _prober = Prober(role)
    _prober.start()
    # atexit does not run in a process that multiprocessing has forked, which is what queue workers are.
    util.Finalize(None, stop, exitpriority=10)


def stop() -> None:
    """End looking, and take this process's rows away: it does not fall silent, it leaves. May be repeated."""
    if _prober is not None:
        _prober.leave()


def look_now() -> None:
    """Have this process's thread look at once, without waiting for it; nothing in a process that has none."""
    cache.attention.set()


class Prober(threading.Thread):
    """The thread. Its connection to the database is its own, and closed between looks."""

    def __init__(self, role: Role) -> None:
        super().__init__(name="ivy-prober", daemon=True)
        self.role = role
        self._is_to_leave = threading.Event()
        self._database_was_away = False

    def run(self) -> None:
        """Look, rest, and look again."""
        while not self._is_to_leave.is_set():
            with _looking:
                cache.attention.clear()  # not after the look: who asks for one meanwhile gets another
                began = time.monotonic()
                is_well = self._look()
            rest = SECONDS_BETWEEN_LOOKS if is_well else SECONDS_BETWEEN_LOOKS_AT_TROUBLE
            if not self._is_to_leave.is_set():
                cache.attention.wait(rest)
            self._is_to_leave.wait(max(0.0, began + LEAST_SECONDS_BETWEEN_LOOKS - time.monotonic()))
        with _looking:
            self._sign_off()

    def leave(self) -> None:
        """End the thread and wait for it, a moment at most."""
        self._is_to_leave.set()
        cache.attention.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(STOP_SECONDS)

    def _look(self) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
            is_well = look(self.role, is_anew=self._database_was_away)
        except Exception as error:  # noqa: BLE001 - the thread has to outlive whatever happens to the database
            said = " ".join(str(error).split()) or type(error).__name__
            if not self._database_was_away:
                logger.error("What was probed can't be noted; trying again: %s", said)
            self._database_was_away = True
            return False
        finally:
            connections.close_all()
        if self._database_was_away:
            logger.warning("What is probed can be noted again.")
        self._database_was_away = False
        return is_well

    def _sign_off(self) -> None:
        try:
            me = this_process()
            Probe.objects.filter(host=me.host, pid=me.pid).delete()
        except Error as error:
            logger.debug("Could not sign off: %s", error)
        finally:
            connections.close_all()


_prober: Prober | None = None


_looking = threading.RLock()


def _wait_for_the_look() -> None:
    """Fork between two looks, unless one takes too long.

    What a look holds at that moment, such as the lock of a module that it imports, nobody gives back in the fork, which
    may then wait for it for ever: a worker of a web server that loads Ivy before it forks, or what tick starts.
    """
    _looking.acquire(timeout=FORK_SECONDS)


def _look_on() -> None:
    with suppress(RuntimeError):  # it took too long, and the lock is not ours
        _looking.release()


def _look_in_a_fork_too() -> None:
    """Threads do not survive a fork. A web server that loads Ivy before it forks would have blind workers."""
    global _prober, _looking  # noqa: PLW0603 - one per process
    _looking = threading.RLock()
    before, _prober = _prober, None
    if before is not None and before.role == Role.WEB:
        start(Role.WEB)


os.register_at_fork(before=_wait_for_the_look, after_in_parent=_look_on, after_in_child=_look_in_a_fork_too)


def look(role: Role, *, is_anew: bool = False) -> bool:
    """Try this process's parts, and the machine's where that is due, and note them; False if one is not well.

    `is_anew`: it could not look for a while, so that its rows tell nothing of the time since. Raises database errors.
    May be repeated.
    """
    of_cache = cache_probe.look()
    of_database = database.look(pulse=role_pulse(role))
    if not of_database.is_well:
        raise DatabaseRefusesWrites(of_database.words)
    me = this_process()
    note("database", of_database, role=role, process=me, is_anew=is_anew)
    note("cache", of_cache, role=role, process=me, is_anew=is_anew)
    if of_cache.facts:
        note_cache_server(of_cache.facts)
    write_failures()
    _forget_the_gone(me)
    return _look_at_the_machine(me) and of_cache.is_well


class DatabaseRefusesWrites(Exception):
    """There is a database, and it takes no write: nothing can be noted."""


def role_pulse(role: Role) -> str:
    """The pulse that beats while any process of the role looks: what is gone for good leaves no row."""
    return f"probing-{role.value}"


def note(part: str, finding: Finding, *, role: Role, process: ProcessId, is_anew: bool = False) -> None:
    """Keep what was found. `since` moves when the part becomes well or not well, or another process has the number."""
    with connection.cursor() as cursor:
        cursor.execute(
            NOTE,
            {
                "part": part,
                "role": role.value,
                "host": process.host,
                "pid": process.pid,
                "process_started": process.started,
                "is_well": finding.is_well,
                "kind": finding.kind,
                "words": finding.words,
                "facts": json.dumps(finding.facts),
                "is_anew": is_anew,
            },
        )


def note_cache_server(facts: dict[str, Any]) -> None:
    """Compare the cache server with the one that was seen last, by whomever, and keep what is odd for half an hour.

    May be repeated.
    """
    server = Probe.objects.filter(part="cache-server", host="", pid=0)
    with transaction.atomic():
        Probe.objects.bulk_create(
            [Probe(part="cache-server", role=Role.SERVER, host="", pid=0, is_well=True, facts=facts)],
            ignore_conflicts=True,
        )
        row = server.select_for_update().get()
        odd = what_is_odd(row.facts, facts)
        server.update(facts=facts, probed_at=Now())
        if odd is not None:
            began = {"since": Now()} if row.is_well or row.kind != odd.kind else {}
            server.update(is_well=False, kind=odd.kind, words=odd.words, **began)
        else:
            server.filter(is_well=False, since__lt=Now() - ODD_FOR).update(is_well=True, kind="", words="", since=Now())


def what_is_odd(before: dict[str, Any], now: dict[str, Any]) -> Finding | None:
    """What staff should know of a cache server that was `before` and is like this `now`; None: nothing."""
    odd: list[tuple[str, str]] = []
    if now["role"] != "master":
        odd.append(("replica", "it is a replica, which takes no writes"))
    if now["run_id"] != before["run_id"]:
        odd.append(("changed", "another server answers than before, or it was started anew: what it kept may be gone"))
    elif now["evicted_keys"] > before["evicted_keys"]:
        count = now["evicted_keys"] - before["evicted_keys"]
        odd.append(("evicts", f"it is full and threw away {count} keys (policy {now['policy']})"))
    if not odd:
        return None
    return Finding(False, "; ".join(words for _, words in odd), odd[0][0])


def write_failures() -> None:
    """Add the failures of the cache that this process has counted to `CacheFailure`. Raises database errors."""
    taken = cache.take_failures()
    now = time.monotonic()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for one in sorted(taken, key=lambda one: one.kind):
                ages = {"first_age": now - one.first, "last_age": now - one.last}
                cursor.execute(COUNT, {"kind": one.kind.value, "count": one.count, "words": one.words, **ages})
    except Error:
        cache.give_back(taken)
        raise


def _look_at_the_machine(me: ProcessId) -> bool:
    """Try what is the machine's, if it is time and nobody else is at it; False if something is not well."""
    is_well = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [LOCKS, me.host])
        if not cursor.fetchone()[0]:
            return True
        try:
            cursor.execute(NOT_DUE, [me.host, MACHINE_SECONDS, MACHINE_SECONDS_AT_TROUBLE])
            not_due = {part for (part,) in cursor.fetchall()}
            machine = ProcessId(me.host, 0, "")
            for part, try_it in OF_A_MACHINE.items():
                if part in not_due:
                    continue
                finding = try_it()
                if finding is None:
                    Probe.objects.filter(part=part, host=me.host, pid=0).delete()
                    continue
                note(part, finding, role=Role.MACHINE, process=machine)
                is_well = is_well and finding.is_well
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [LOCKS, me.host])
    return is_well


def _forget_the_gone(me: ProcessId) -> None:
    """Take away the rows of processes that have ended here, and of everybody who was not heard of for an hour."""
    for row in Probe.objects.filter(host=me.host, pid__gt=0).exclude(pid=me.pid):
        if ProcessId(row.host, row.pid, row.process_started).is_gone():
            Probe.objects.filter(pk=row.pk, process_started=row.process_started).delete()
    Probe.objects.exclude(role=Role.SERVER).filter(probed_at__lt=Now() - FORGOTTEN_AFTER).delete()


NOTE = """
INSERT INTO ivy_probe AS probe
    (part, role, host, pid, process_started, is_well, kind, words, facts, since, probed_at, last_good_at)
VALUES (
    %(part)s, %(role)s, %(host)s, %(pid)s, %(process_started)s, %(is_well)s, %(kind)s, %(words)s, %(facts)s,
    statement_timestamp(), statement_timestamp(), CASE WHEN %(is_well)s THEN statement_timestamp() END
)
ON CONFLICT (part, host, pid) DO UPDATE SET
    role = excluded.role, process_started = excluded.process_started, is_well = excluded.is_well,
    kind = excluded.kind, words = excluded.words, facts = excluded.facts, probed_at = excluded.probed_at,
    since = CASE
        WHEN probe.is_well = excluded.is_well AND probe.process_started = excluded.process_started AND NOT %(is_anew)s
        THEN probe.since ELSE excluded.since
    END,
    last_good_at = CASE
        WHEN excluded.is_well THEN excluded.last_good_at
        WHEN probe.process_started = excluded.process_started THEN probe.last_good_at
    END
"""

COUNT = """
INSERT INTO ivy_cachefailure AS failure (kind, count, first_at, last_at, words)
VALUES (
    %(kind)s, %(count)s, statement_timestamp() - make_interval(secs => %(first_age)s),
    statement_timestamp() - make_interval(secs => %(last_age)s), %(words)s
)
ON CONFLICT (kind) DO UPDATE SET
    count = failure.count + excluded.count, last_at = greatest(failure.last_at, excluded.last_at),
    words = excluded.words
"""

NOT_DUE = """
SELECT part FROM ivy_probe WHERE host = %s AND pid = 0
    AND probed_at > statement_timestamp() - make_interval(secs => CASE WHEN is_well THEN %s ELSE %s END)
"""
