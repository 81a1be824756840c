"""What is wrong on the billing side, for alarms: each check has a key, and is well or says what is not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from billing import halting, items, quiet_sources, runs, waiting
from billing.batches import calls_waiting
from billing.checking import Check
from billing.models import (
    BillingChunk,
    BillingRun,
    BillingWorker,
    ChunkState,
    HaltCause,
    Process,
    ProcessSwitch,
    RunState,
    WorkerState,
)

# A run is due every minute; two in a row may find another at work, or the queue restarted.
RUNS_TOO_OLD = timedelta(minutes=5)
# Workers beat with every chunk, which takes seconds; a worker silent for ten is replaced by the next run.
SILENT = timedelta(minutes=2)
# Planning and judging a million customers are the longest steps between two chunks, and take a minute or two.
NO_CHUNK_FOR = timedelta(minutes=10)
# Calls are charged in the minute in which they come; half an hour also lets the backlog of a long halt be worked off.
CALLS_UNBILLED_FOR = timedelta(minutes=30)
# An hour is a repair; after four, whoever halted has perhaps gone home.
HALT_FORGOTTEN = timedelta(hours=4)
# A stray wrong number a day is ordinary; a hundred have one cause: a deck, a number range, a new switch.
MANY_IN_QUARANTINE = 100
# What came on Friday evening has been looked at by Monday evening.
LONG_IN_QUARANTINE = timedelta(days=3)
# A torn line after a power cut is ordinary. More than ten within a day, and one in a hundred, are a switch that writes
# otherwise since it was updated.
GARBLED_LINES, GARBLED_ONE_IN = 10, 100
# Beyond these, counting would take longer than looking: “more than”.
COUNTED = 1_000
RUNS_LOOKED_AT = 50
KEYS_NAMED = 5


@dataclass(frozen=True)
class _Run:
    """A run for everybody and without a limit that has ended, and not failed. `halted`: what it left alone."""

    id: int
    started_at: datetime
    business_at: datetime
    processes: Sequence[str]
    halted: Sequence[Mapping[str, str | None]]

    def was_halted(self, process: Process) -> bool:
        """For everyone; for partners it may have been besides."""
        return any(halt["process"] == process and halt["partner"] is None for halt in self.halted)

    def halted_partners(self, process: Process) -> list[str]:
        return [halt["partner"] for halt in self.halted if halt["process"] == process and halt["partner"]]


@dataclass(frozen=True)
class _Seen:
    """What several checks go by: the database's time, the switches and the last runs, read once."""

    now: datetime
    switches: Sequence[ProcessSwitch]
    runs: Sequence[_Run]

    def is_halted(self, process: Process) -> bool:
        """For everyone, by anybody."""
        return any(s.is_halted and s.partner_id is None for s in self.switches if s.process == process)

    def halted_partners(self, process: Process) -> set[str]:
        return {s.partner.slug for s in self.switches if s.process == process and s.is_halted and s.partner}

    def resumed_at(self, process: Process) -> datetime | None:
        """When a halt for everyone ended last."""
        ended = (s.since for s in self.switches if s.process == process and not s.is_halted and s.partner_id is None)
        return max(ended, default=None)

    def last_runs_of(self, process: Process) -> list[_Run]:
        """The last first; only those in which the process was not halted for everyone."""
        return [run for run in self.runs if process in run.processes and not run.was_halted(process)]


def checks() -> list[Check]:
    """Look at everything that staff have to know of. Writes nothing.

    Quick whatever the history: it goes by open batches, by the last runs and by indexes, and counts only so far.
    """
    seen = _look()
    return [
        _runs(seen),
        _hangs(seen),
        _calls_unbilled(seen),
        _items_overdue(seen),
        _errors(seen),
        _quarantine(seen),
        *_halts_forgotten(seen),
        *_quiet_sources(),
        *_garbled_sources(),
    ]


def _look() -> _Seen:
    switches = list(ProcessSwitch.objects.select_related("partner").order_by("process", "partner_id", "cause"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        (now,) = cursor.fetchone()
    ended_well = BillingRun.objects.exclude(state__in=[RunState.RUNNING, RunState.FAILED])
    lately = (
        ended_well.filter(partner__isnull=True, max_periods__isnull=True)
        .order_by("-started_at")
        .values_list("pk", "started_at", "business_at", "processes", "halted")[:RUNS_LOOKED_AT]
    )
    return _Seen(now, switches, [_Run(*run) for run in lately])


# Runs ----------------------------------------------------------------------------------------------------------------


def _runs(seen: _Seen) -> Check:
    """The last good run is too old. A run that is under way and moves is no trouble, however long it takes."""
    last = good.ended_at if (good := runs.last_good()) else None
    running = runs.under_way()
    since = last or BillingRun.objects.order_by("started_at").values_list("started_at", flat=True).first()
    if since is None or seen.now - since <= RUNS_TOO_OLD or (running and _why_it_hangs(running, seen) is None):
        return Check("billing-runs")
    failed = BillingRun.objects.filter(state=RunState.FAILED, started_at__gt=since).order_by("-started_at").first()
    how = f" Run {failed.pk} was the last to fail ({failed.ended_because})." if failed else ""
    ever = f"since {since:%Y-%m-%d %H:%M} UTC" if last else "ever"
    return Check(
        "billing-runs",
        wrong=f"No billing run has ended well {ever}; one is due every minute.{how}",
        affects="Nobody is charged, and nobody is told of a low balance. Call records are taken in all the same.",
        todo="See whether qcluster and tick run (status); run_billing does a run by hand and tells what is wrong.",
        since=since,
    )


def _hangs(seen: _Seen) -> Check:
    running = runs.under_way()
    why = _why_it_hangs(running, seen) if running else None
    if running is None or why is None:
        return Check("billing-hangs")
    workers = list(running.workers.order_by("-heartbeat_at")[:KEYS_NAMED])
    who = ", ".join(f"process {worker.pid} on {worker.host.partition(' ')[0]}" for worker in workers) or "no process"
    return Check(
        "billing-hangs",
        wrong=f"Run {running.pk} is under way since {running.started_at:%Y-%m-%d %H:%M} UTC and does not move: {why}."
        f" It is the work of {who}.",
        affects="Nobody is charged as long as it holds the place of the running run.",
        todo="End that process (kill -9 loses nothing): the next run takes over within a minute. A process that nobody"
        " hears of is replaced by itself; if it is not, see whether qcluster and tick run.",
        since=max(filter(None, [running.started_at, running.planned_at, running.last_chunk_at])),
    )


def _why_it_hangs(run: BillingRun, seen: _Seen) -> str | None:
    """In words; None: it moves. A worker that has only just taken over counts as one that moves."""
    last_beat = (
        BillingWorker.objects.filter(run=run, state=WorkerState.RUNNING)
        .order_by("-heartbeat_at")
        .values_list("heartbeat_at", flat=True)
        .first()
    )
    if last_beat is None and seen.now - run.started_at > SILENT:
        return "nobody works on it any more"
    if last_beat is not None and seen.now - last_beat > SILENT:
        return f"nobody who works on it was heard of since {last_beat:%H:%M:%S} UTC"
    moved_at = max(filter(None, [run.started_at, run.planned_at, run.last_chunk_at]))
    if seen.now - moved_at > NO_CHUNK_FOR:
        return f"its workers are alive, and have ended no chunk since {moved_at:%H:%M:%S} UTC"
    return None


def _errors(seen: _Seen) -> Check:
    """What the last two runs could not charge, both of them: once may be a customer who was busy just then."""
    found: dict[str, str] = {}
    since: list[datetime] = []
    last_run = 0
    for process in halting.BILLING:
        last_two = seen.last_runs_of(process)[:2]
        if len(last_two) < 2:
            continue
        errors = dict(BillingRun.objects.filter(pk__in=[run.id for run in last_two]).values_list("pk", "errors"))
        last, before = (_keys(errors.get(run.id, []), process) for run in last_two)
        both = {key: kind for key, kind in last.items() if key in before}
        if both:
            found |= both
            since.append(last_two[1].started_at)
            last_run = max(last_run, last_two[0].id)
    if not found:
        return Check("billing-errors")
    named = ", ".join(f"{kind} {key}" for key, kind in list(found.items())[:KEYS_NAMED])
    more = f" and {len(found) - KEYS_NAMED} more" if len(found) > KEYS_NAMED else ""
    cannot = f"{_count(len(found), 'call or item', 'calls or items')} cannot be charged"
    return Check(
        "billing-errors",
        wrong=f"{cannot}, run after run: {named}{more}.",
        affects="These customers are not charged for them. All others are.",
        todo=f"Read the reasons on the page of run {last_run}, and mend what it names: the next run tries again.",
        since=min(since),
    )


def _keys(errors: Iterable[Mapping[str, Any]], process: Process) -> dict[str, str]:
    """What was not charged, with its kind; but for items that wait for a person, which have an alarm of their own."""
    kinds = {"call", "calls"} if process == Process.CALLS else {"item", "items"}
    return {
        error["key"]: error["kind"]
        for error in errors
        if error["kind"] in kinds and not error["error"].endswith(items.CHARGED_BY_A_PERSON)
    }


# What waits ----------------------------------------------------------------------------------------------------------


def _calls_unbilled(seen: _Seen) -> Check:
    """The oldest batch with pending calls has waited too long, though nobody has halted calls.

    Which partner's calls they are is only asked where partners are halted, and of the chunks that runs have left:
    looking at the calls themselves would read all that a halt keeps.
    """
    oldest = _oldest_pending_batch()
    if oldest is None or seen.is_halted(Process.CALLS):
        return Check("calls-unbilled")
    batch, arrived_at = oldest
    since = max(arrived_at, seen.resumed_at(Process.CALLS) or arrived_at)
    if seen.now - since <= CALLS_UNBILLED_FOR:
        return Check("calls-unbilled")
    whose = ""
    if _switched_lately(seen):
        left = _partners_left_alone(seen)
        if not left:
            return Check("calls-unbilled")
        whose = f" of {', '.join(sorted(left)[:KEYS_NAMED])}"
    return Check(
        "calls-unbilled",
        wrong=f"Calls{whose} wait to be billed since {since:%Y-%m-%d %H:%M} UTC (batch {batch}), and are not halted.",
        affects="These calls are on no bill and in no balance yet; customers hear of a low balance too late.",
        todo="Look at the last runs (status): do they run, and what do they leave undone? run_billing --only calls"
        " charges what can be charged, and says what cannot.",
        since=since,
    )


def _oldest_pending_batch() -> tuple[int, datetime] | None:
    """The open batch with calls left that came first, and when; None: every call has its outcome."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT b.id, b.arrived_at FROM billing_arrivalbatch b
            WHERE b.closed_at IS NULL AND b.call_count > (
                SELECT coalesce(sum(p.outcome_count), 0) FROM billing_batchprogress p WHERE p.batch_id = b.id
            )
            ORDER BY b.id LIMIT 1
            """
        )
        return cursor.fetchone()


def _switched_lately(seen: _Seen) -> bool:
    """Whether calls of some partner are halted, or were until a short while ago."""
    return any(
        switch.process == Process.CALLS
        and switch.partner_id is not None
        and (switch.is_halted or seen.now - switch.since <= CALLS_UNBILLED_FOR)
        for switch in seen.switches
    )


def _partners_left_alone(seen: _Seen) -> set[str]:
    """Partners that are not halted, and of whose calls both the last run and one half an hour ago left something."""
    lately = seen.last_runs_of(Process.CALLS)
    earlier = next((run for run in lately if seen.now - run.started_at >= CALLS_UNBILLED_FOR), None)
    if not lately or earlier is None or earlier == lately[0]:
        return set()
    left = BillingChunk.objects.filter(process=Process.CALLS, state=ChunkState.LEFT, partner__isnull=False)
    by_run = [
        set(left.filter(run_id=run.id).values_list("partner__slug", flat=True))
        - set(run.halted_partners(Process.CALLS))
        for run in (lately[0], earlier)
    ]
    return by_run[0] & by_run[1] - seen.halted_partners(Process.CALLS)


def _items_overdue(seen: _Seen) -> Check:
    """Items so far behind that a person must say so, and items that the last run should have charged and did not."""
    waiting = items.long_overdue(at=seen.now, at_most=KEYS_NAMED + 1)
    late, oldest = _items_left(seen)
    if not waiting and not late:
        return Check("items-overdue")
    wrong, todo = [], []
    if waiting:
        named = ", ".join(waiting[:KEYS_NAMED]) + (" and more" if len(waiting) > KEYS_NAMED else "")
        wrong.append(f"Items are more than {items.LONG_OVERDUE_MONTHS} months behind and wait for a person: {named}.")
        todo.append(
            "See whether they are meant (run_billing --only items --dry-run --yes); run_billing --yes charges"
            " them, end_item ends them."
        )
    if late:
        wrong.append(
            f"{_count(late, 'item', 'items')} due since {oldest} and not charged, though items are not halted."
        )
        todo.append("run_billing --only items charges what can be charged, and says what cannot.")
    return Check(
        "items-overdue",
        wrong=" ".join(wrong),
        affects="These customers are not charged for these items. All others are.",
        todo=" ".join(todo),
    )


def _items_left(seen: _Seen) -> tuple[int, date | None]:
    """Items due for more than a day that the last run found and left, though not halted: how many, since when."""
    lately = seen.last_runs_of(Process.ITEMS)
    if not lately or seen.is_halted(Process.ITEMS):
        return 0, None
    last = lately[0]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), min(next_due_on) FROM (
                SELECT i.next_due_on FROM billing_billingitem i
                JOIN billing_customer cu ON cu.id = i.customer_id JOIN billing_partner p ON p.id = cu.partner_id
                WHERE i.next_due_on < (%(at)s::timestamptz AT TIME ZONE 'UTC')::date - 1
                  -- Those further behind wait for a person.
                  AND (i.kind = 'one_off' OR i.next_due_on
                      >= (%(at)s::timestamptz AT TIME ZONE 'UTC')::date - make_interval(months => %(months)s))
                  AND i.created_at < %(started)s AND p.slug <> ALL (%(halted)s)
                LIMIT %(counted)s
            ) late
            """,
            {
                "at": last.business_at,
                "months": items.LONG_OVERDUE_MONTHS,
                "started": last.started_at,
                "halted": [*last.halted_partners(Process.ITEMS), *seen.halted_partners(Process.ITEMS)],
                "counted": COUNTED + 1,
            },
        )
        return cursor.fetchone()


def _quarantine(seen: _Seen) -> Check:
    """More calls than a person looks through, or some that nobody has looked at for days."""
    found = waiting.by_reason(counted_to=COUNTED)
    total = sum(calls for _, calls, _ in found)
    oldest = min((since for _, _, since in found), default=None)
    is_full = total > MANY_IN_QUARANTINE
    if oldest is None or not (is_full or seen.now - oldest > LONG_IN_QUARANTINE):
        return Check("quarantine")
    reasons = ", ".join(
        f"{_at_most(calls)} {reason.replace('_', ' ')}" for reason, calls, _ in sorted(found, key=lambda row: -row[1])
    )
    return Check(
        "quarantine",
        wrong=f"{_at_most(total)} {'call waits' if total == 1 else 'calls wait'} in quarantine, the oldest since"
        f" {oldest:%Y-%m-%d %H:%M} UTC: {reasons}.",
        affects="These calls are on no bill until their cause is mended.",
        todo="Mend the cause (identity, rate, deck): they come back by themselves. Or release_quarantine,"
        " or dismiss_quarantine --reason ….",
        since=None if is_full else oldest + LONG_IN_QUARANTINE,
    )


# Halts and sources ---------------------------------------------------------------------------------------------------


def _halts_forgotten(seen: _Seen) -> list[Check]:
    """One check for every switch that staff ever used, so that what is resumed is told as well. A breaker's halt has
    an alarm of its own.
    """
    return [_halt_forgotten(switch, seen) for switch in seen.switches if switch.cause == HaltCause.STAFF]


def _halt_forgotten(switch: ProcessSwitch, seen: _Seen) -> Check:
    slug = switch.partner.slug if switch.partner else ""
    key = f"halt-forgotten:{switch.process}:{slug}" if slug else f"halt-forgotten:{switch.process}"
    if not switch.is_halted or seen.now - switch.since <= HALT_FORGOTTEN:
        return Check(key)
    whom = f" of partner {slug}" if slug else ""
    option = f" --partner {slug}" if slug else ""
    return Check(
        key,
        wrong=f"{switch.process.capitalize()}{whom} are halted since {switch.since:%Y-%m-%d %H:%M} UTC by"
        f" {switch.changed_by}: {switch.reason.rstrip('.')}.",
        affects=_what_waits(Process(switch.process), for_everyone=not slug),
        todo=f"If it is over: resume {switch.process}{option} --preview, then --reason ….",
        since=switch.since + HALT_FORGOTTEN,
    )


def _what_waits(process: Process, *, for_everyone: bool) -> str:
    if process == Process.NOTIFICATIONS:
        return (
            "No customer is mailed; what is owed waits." if for_everyone else "These customers get no mail; it waits."
        )
    if process == Process.ITEMS:
        return "Items are not charged; every missed period will be, once, after the halt."
    pending = calls_waiting() if for_everyone else 0
    waiting = f" {_count(pending, 'call waits', 'calls wait')}." if pending else ""
    return f"Calls are taken in and not charged.{waiting}"


def _quiet_sources() -> list[Check]:
    return [
        Check(
            f"source-quiet:{source.name}",
            wrong=source.quiet_because,
            affects="Its calls, if there are any, reach no bill and no balance.",
            todo="Look at the switch and at the way its files come (import_calls --watch, a folder, a disk). Nothing is"
            " lost as long as it keeps its records. On a public holiday this may be no trouble; a source that delivers"
            " no more is marked as retired on its page.",
            since=source.since,
        )
        if source.quiet_because
        else Check(f"source-quiet:{source.name}")
        for source in quiet_sources.all_sources()
    ]


def _garbled_sources() -> list[Check]:
    """Sources of whose lines, in deliveries of the last day, many could not be read. Lines known before don't count."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.name, coalesce(sum(d.unparsable_count), 0)::bigint,
                coalesce(sum(d.read_count - d.duplicate_count), 0)::bigint,
                min(d.started_at) FILTER (WHERE d.unparsable_count > 0)
            FROM billing_source s LEFT JOIN billing_delivery d
                ON d.source_id = s.id AND d.started_at > statement_timestamp() - interval '1 day'
            GROUP BY s.name ORDER BY s.name
            """
        )
        return [_garbled(*row) for row in cursor.fetchall()]


def _garbled(name: str, garbled: int, read: int, since: datetime | None) -> Check:
    key = f"source-garbled:{name}"
    if garbled <= GARBLED_LINES or garbled * GARBLED_ONE_IN <= read:
        return Check(key)
    return Check(
        key,
        wrong=f"Of {read:,} lines that {name} delivered within the last day, {garbled:,} could not be read.",
        affects="The calls on these lines reach no bill and no balance. The lines are kept as they came.",
        todo="Look at the lines and why they could not be read (Unparsable lines); mend the way the switch writes its"
        " files, or the format of the source; then deliver them again, mended: import_calls FILE --source NAME.",
        since=since,
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{_at_most(number)} {one if number == 1 else many}"


def _at_most(number: int) -> str:
    return f"more than {COUNTED:,}" if number > COUNTED else f"{number:,}"
