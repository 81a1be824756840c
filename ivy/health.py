"""What is told of the parts around Ivy, to staff (`checks`) and in `status` (`parts`), from what processes have found.

How a part is tried stands in `ivy.probes`; who tries it, and when, in `ivy.probing`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing import runs
from billing.checking import Check
from billing.processes import ProcessId
from ivy import cache, probing, pulses
from ivy.models import Probe, Role
from ivy.probes import cache as cache_probe
from ivy.probes import database

QUEUE_PATIENCE = timedelta(minutes=3)
CYCLE_PATIENCE = timedelta(minutes=5)
SILENT_AFTER = timedelta(minutes=2)
FORGOTTEN_AFTER = probing.FORGOTTEN_AFTER
CACHE_PATIENCE = timedelta(seconds=5)  # one look that failed may be a server that was only started anew
MAIL_PATIENCE = timedelta(seconds=10)  # two looks in a row
MACHINE_SILENT_AFTER = timedelta(minutes=5)
ROLES = (Role.WEB, Role.WORKER, Role.TICK)

# Where to look first.
CAUSES = {
    cache.Kind.REFUSED: "nothing listens there: is the server running, and CACHE_URL right?",
    cache.Kind.READ_ONLY: "the server is a replica: which one is the primary now, and does CACHE_URL name it?",
    cache.Kind.OUT_OF_MEMORY: "the server has reached maxmemory and may throw nothing away (maxmemory-policy).",
    cache.Kind.FAILED_SNAPSHOT: "the server can't save to its disk: is that full, or not writable?",
    cache.Kind.TOO_FEW_REPLICAS: "the server misses replicas that it must have (min-replicas-to-write).",
    cache.Kind.LOADING: "the server is reading its data; it will be there by itself.",
    cache.Kind.FROZEN: "the server, or the network to it, does not answer in time.",
    cache.Kind.LOG_IN: "the server does not let Ivy in: was its password changed? It stands in CACHE_URL.",
    cache.Kind.POOL: "this process has used up its connections; if it stays so, start the process anew.",
    cache.Kind.TOO_MANY_CLIENTS: "the server has as many clients as it may have (maxclients): who are they?",
    cache.Kind.LOST_CONNECTION: "the server, or something in between, closes connections.",
    cache.Kind.FORGETFUL: "the server does not give back what it took: is it full, or are there several?",
    cache.Kind.OTHER: "see its words, and the server's log.",
}


@dataclass(frozen=True)
class Part:
    """How a part is. `detail` is a sentence for people; `since` when it has been so, as far as is known."""

    part: str
    ok: bool
    detail: str
    last_good_at: datetime | None = None
    since: datetime | None = None


def parts() -> list[Part]:
    """How each part is, as this process finds it now and others found it last.

    Raises nothing but database errors: without the database there is nothing to tell. With Redis frozen it takes a
    second longer.
    """
    rows = list(Probe.objects.all())
    now = pulses.database_now()
    return _told(rows, now, _database(now), _cache(rows, now))


def seen() -> list[Part]:
    """How each part is, as processes found it last. Tries nothing: as quick with everything frozen as ever."""
    rows = list(Probe.objects.all())
    now = pulses.database_now()
    since = max((row.since for row in _fresh(rows, now) if row.part == "database"), default=None)
    return _told(rows, now, Part("database", True, "it answers", now, since), _cache_as_seen(rows, now))


def _told(rows: list[Probe], now: datetime, *first: Part) -> list[Part]:
    told = [*first, _queue(now), _billing(now)]
    for part in ("cache-server", "mail-server", "clock", "disk"):
        told += _from_rows(part, [row for row in rows if row.part == part], now)
    return told + _processes(rows, now)


def checks() -> list[Check]:
    """Look at everything that staff have to know of the parts. Writes nothing, and tries nothing: quick whatever hangs.

    Without anybody who looks it says nothing: it is then not known, and who asks is about to end or has just begun.
    """
    now = pulses.database_now()
    rows = list(Probe.objects.all())
    watched_since = _watched_since(rows, now)
    return [
        *_cannot_write(rows, now),
        _odd_server(rows),
        _mail_server(rows, now),
        _of_machines(
            "clock", rows, affects=CLOCK_AFFECTS, todo="See whether the machine's time is synchronised (NTP)."
        ),
        _of_machines("disk", rows, affects=DISK_AFFECTS, todo="Make room, or give the folder a larger disk."),
        _silent(rows, now, watched_since),
        _missing(now, watched_since),
    ]


CLOCK_AFFECTS = "Nothing is billed or mailed wrongly, as the database's clock decides; logs carry wrong times."
DISK_AFFECTS = "When it is full, the database stops: nobody is billed, nobody is told, and no call record is taken."


def _database(now: datetime) -> Part:
    found = database.look(pulse="status")
    return Part("database", found.is_well, found.words, now if found.is_well else None)


def _cache(rows: Iterable[Probe], now: datetime) -> Part:
    """What this process finds, and then the others: it may be one of them that can't write."""
    found = cache_probe.look()
    theirs = [row for row in _fresh(rows, now) if row.part == "cache"]
    last_good = max((row.last_good_at for row in theirs if row.last_good_at), default=None)
    if not found.is_well:
        return Part("cache", False, f"{found.kind}: {found.words}; billing goes on without it", last_good)
    if bad := [row for row in theirs if not row.is_well]:
        others = f"this process can write, but not: {_who(bad)} ({bad[0].words}); billing goes on without it"
        return Part("cache", False, others, now)
    return Part("cache", True, found.words, now)


def _cache_as_seen(rows: Iterable[Probe], now: datetime) -> Part:
    """What processes found last, this one's own failures of a moment ago included."""
    theirs = [row for row in _fresh(rows, now) if row.part == "cache"]
    last_good = max((row.last_good_at for row in theirs if row.last_good_at), default=None)
    if bad := [row for row in theirs if not row.is_well]:
        words = f"{_who(bad)} can't write ({bad[0].words}); billing goes on without it"
        return Part("cache", False, words, last_good, min(row.since for row in bad))
    if cache.is_skipped():
        return Part("cache", False, "it failed a moment ago; billing goes on without it", last_good)
    if not theirs:
        return Part("cache", True, "nobody has looked lately; Ivy is right without it")
    return Part("cache", True, f"{len(theirs)} processes can write", last_good, max(row.since for row in theirs))


def _queue(now: datetime) -> Part:
    beat = pulses.last_beats(pulses.QUEUE_CANARY).get(pulses.QUEUE_CANARY)
    if beat is None:
        return Part("queue", False, "no task was ever completed")
    silent = now - beat
    is_well = silent < QUEUE_PATIENCE
    words = f"a task was completed {silent.total_seconds():.0f} s ago"
    return Part("queue", is_well, words, beat, None if is_well else beat)


def _billing(now: datetime) -> Part:
    last = runs.last_good()
    if last is None or last.ended_at is None:
        return Part("billing", False, "no run has been completed yet")
    age = now - last.ended_at
    is_well = age < CYCLE_PATIENCE
    words = f"a run was completed {age.total_seconds():.0f} s ago"
    return Part("billing", is_well, words, last.ended_at, None if is_well else last.ended_at)


def _from_rows(part: str, rows: list[Probe], now: datetime) -> list[Part]:
    """The worst of what was found of a part last; nothing where nobody looks at it."""
    if not rows:
        return []
    worst = min(rows, key=lambda row: (row.is_well, row.probed_at))
    at = f" ({worst.machine})" if worst.machine else ""
    ago = (now - worst.probed_at).total_seconds()
    is_late = now - worst.probed_at > MACHINE_SILENT_AFTER
    words = f"{worst.words or 'it is as it should be'}{at}" + (
        f", but nobody has looked for {ago:.0f} s" if is_late else ""
    )
    return [Part(part, worst.is_well and not is_late, words, worst.last_good_at, worst.since)]


def _processes(rows: Iterable[Probe], now: datetime) -> list[Part]:
    mine = [row for row in _living(rows) if row.part == "database" and row.pid]
    if not mine:
        return []
    counted = [(role, sum(row.role == role for row in mine)) for role in ROLES]
    silent = [row for row in mine if now - row.probed_at > SILENT_AFTER]
    words = ", ".join(f"{count} × {role.label}" for role, count in counted)
    if silent:
        words += f"; silent: {_who(silent)}"
    since = min((row.probed_at for row in silent), default=None)
    return [Part("processes", not silent, words, max(row.probed_at for row in mine), since)]


def _cannot_write(rows: Iterable[Probe], now: datetime) -> list[Check]:
    """One for each way to fail, so that another kind of failure is news. Told after five seconds."""
    bad = [row for row in _fresh(rows, now) if row.part == "cache" and not row.is_well]
    return [_fails_so(kind, [row for row in bad if row.kind == kind], now) for kind in cache.Kind]


def _fails_so(kind: cache.Kind, bad: list[Probe], now: datetime) -> Check:
    if not any(now - row.since >= CACHE_PATIENCE for row in bad):
        return Check(f"cache:{kind}")
    first = min(bad, key=lambda row: row.since)
    return Check(
        f"cache:{kind}",
        wrong=f"Redis can't be written ({kind}): from {_who(bad)}. It says: {first.words}.",
        affects="Billing and mails go on without it; pages that sum up much are slower.",
        todo=f"Where to look first: {CAUSES[kind]} Nothing of Ivy has to be started anew.",
        since=first.since,
    )


def _odd_server(rows: Iterable[Probe]) -> Check:
    odd = next((row for row in rows if row.part == "cache-server" and not row.is_well), None)
    if odd is None:
        return Check("cache-server")
    return Check(
        "cache-server",
        wrong=f"The cache server has changed: {odd.words}.",
        affects="Nobody: what Redis keeps is right without it. This is told for half an hour.",
        todo="If nobody meant it, see why the server was started anew, took over, or is too small.",
        since=odd.since,
    )


def _mail_server(rows: Iterable[Probe], now: datetime) -> Check:
    bad = [row for row in _fresh(rows, now, MACHINE_SILENT_AFTER) if row.part == "mail-server" and not row.is_well]
    if not any(now - row.since >= MAIL_PATIENCE for row in bad):
        return Check("mail-server")
    first = min(bad, key=lambda row: row.since)
    return Check(
        "mail-server",
        wrong=f"The mail server does not let Ivy in ({first.kind}), from {_machines(bad)}. {first.words}.",
        affects="Customers do not hear that their balance is low; their mails wait and go out by themselves afterwards."
        " Billing goes on.",
        todo="See whether the mail server works, and whether host, user and password in EMAIL_URL are right.",
        since=first.since,
    )


def _of_machines(part: str, rows: Iterable[Probe], *, affects: str, todo: str) -> Check:
    bad = [row for row in rows if row.part == part and not row.is_well]
    if not bad:
        return Check(part)
    which = "; ".join(f"{row.machine}: {row.words}" for row in bad)
    title = {"clock": "The clock of a machine is wrong", "disk": "A disk is nearly full"}[part]
    return Check(part, wrong=f"{title}. {which}.", affects=affects, todo=todo, since=min(row.since for row in bad))


def _silent(rows: Iterable[Probe], now: datetime, watched_since: datetime | None) -> Check:
    """Who has looked, did not leave, and looks no more: a process that hangs, or whose machine is away."""
    if watched_since is None or now - watched_since < SILENT_AFTER:
        return Check("process-silent")
    silent = [
        row
        for row in _living(rows)
        if row.part == "database" and row.pid and SILENT_AFTER < now - row.probed_at < FORGOTTEN_AFTER
    ]
    if not silent:
        return Check("process-silent")
    return Check(
        "process-silent",
        wrong=f"Nothing is heard of {_who(silent)}.",
        affects="What that process did is left to the others; whether its cache and database work is not known.",
        todo="See whether it hangs, and start it anew. A machine that is gone for good: delete its rows (Probes).",
        since=min(row.probed_at for row in silent),
    )


def _missing(now: datetime, watched_since: datetime | None) -> Check:
    """A sort of processes of which none is left, where there ever was one."""
    if watched_since is None or now - watched_since < SILENT_AFTER:
        return Check("worker-missing")
    beats = pulses.last_beats(*(probing.role_pulse(role) for role in ROLES))
    gone = {role: at for role in ROLES if (at := beats.get(probing.role_pulse(role))) and now - at > SILENT_AFTER}
    if not gone:
        return Check("worker-missing")
    harm = {
        Role.WEB: "Staff and partners reach no page.",
        Role.WORKER: "Billing and mails are left to tick, which goes on more slowly.",
        Role.TICK: "Should the queue fail, nobody takes over billing and mails.",
    }
    start = {Role.WEB: "the web server", Role.WORKER: "manage.py qcluster", Role.TICK: "manage.py tick"}
    return Check(
        "worker-missing",
        wrong=" ".join(f"There is no {role.label} any more." for role in gone),
        affects=" ".join(harm[role] for role in gone),
        todo=f"Start {' and '.join(start[role] for role in gone)}, and see in the log why it ended.",
        since=min(gone.values()),
    )


def _watched_since(rows: Iterable[Probe], now: datetime) -> datetime | None:
    """Since when somebody looks without a break, as far as known: nobody is called silent by who has just begun."""
    return min((row.since for row in _fresh(rows, now) if row.part == "database"), default=None)


def _living(rows: Iterable[Probe]) -> list[Probe]:
    """Without processes of this machine that have ended."""
    return [row for row in rows if not (row.pid and ProcessId(row.host, row.pid, row.process_started).is_gone())]


def _fresh(rows: Iterable[Probe], now: datetime, patience: timedelta = SILENT_AFTER) -> list[Probe]:
    """What was found a moment ago, by processes that are still there."""
    return [row for row in _living(rows) if now - row.probed_at <= patience]


def _who(rows: list[Probe]) -> str:
    """The processes, by name; where there are many, the first of them."""
    shown = ", ".join(row.where for row in sorted(rows, key=lambda row: (row.role, row.host, row.pid))[:5])
    return shown + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


def _machines(rows: list[Probe]) -> str:
    return ", ".join(sorted({row.machine for row in rows}))
