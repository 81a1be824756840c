"""The billing cycle, from top to bottom: read this first.

    calls      every call record in an open arrival batch gets its outcome: charged, free or quarantined
    items      every due period of every billing item is charged
    episodes   balances are final now: falls below a threshold are opened, recoveries closed
    statements once the run has ended, months that it leaves complete are closed

The work is cut into chunks (ranges of customers of one partner), each a short transaction behind the halting barrier.
What is left to do is always read from the data itself (calls without an outcome, items with a due date), so that a run
can be killed at any point and simply run again. Any number of workers, on any machine, may join a run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from billing import calls, chunks, episodes, halting, items, quarantine, runs, statements
from billing.about import about
from billing.models import BillingChunk, BillingRun, BillingWorker, ChunkState, Partner, Process, RunState
from billing.runs import RunBusy, Tally, WorkerReplaced

Progress = Callable[[Tally], None]
MayGoOn = Callable[[], bool]

WAIT_FOR_OTHERS_SECONDS = 0.05
RETRY_LOCKED_SECONDS = 0.2


@dataclass(frozen=True)
class ChunkSizes:
    """About how many calls and items are charged in one transaction: as many as stay well under two seconds."""

    calls: int = calls.CALLS_AT_A_TIME
    items: int = items.ITEMS_AT_A_TIME


def run_cycle(
    *,
    by: str,
    at: datetime,
    processes: Sequence[Process] = halting.BILLING,
    partner: Partner | None = None,
    max_periods: int | None = None,
    charges_long_overdue: bool = False,
    sizes: ChunkSizes | None = None,
    progress: Progress | None = None,
    may_go_on: MayGoOn = lambda: True,
) -> BillingRun:
    """Charge everything that is due at `at`, and judge balances. Safe to repeat, safe to kill.

    Raises RunBusy while another run is under way; takes over from one whose processes are dead.
    """
    run, worker = runs.begin(
        by=by,
        at=at,
        processes=processes,
        partner=partner,
        max_periods=max_periods,
        charges_long_overdue=charges_long_overdue,
    )
    return _work(run, worker, sizes or ChunkSizes(), progress, may_go_on)


def join_cycle(
    *, sizes: ChunkSizes | None = None, progress: Progress | None = None, may_go_on: MayGoOn = lambda: True
) -> BillingRun | None:
    """Help with the run that is under way, until it has ended; None if there is none. Safe to repeat."""
    joined = runs.join()
    return _work(*joined, sizes or ChunkSizes(), progress, may_go_on) if joined else None


def scheduled(*, by: str = "schedule", may_go_on: MayGoOn = lambda: True) -> BillingRun | None:
    """What the schedule calls every minute: a cycle at the present time; None when another is still under way.

    `may_go_on` is asked between chunks: False, and this process leaves the rest to others, or to the next run.
    """
    try:
        return run_cycle(by=by, at=timezone.now(), may_go_on=may_go_on)
    except RunBusy:
        return None


def _work(
    run: BillingRun,
    worker: BillingWorker,
    sizes: ChunkSizes,
    progress: Progress | None,
    may_go_on: MayGoOn = lambda: True,
) -> BillingRun:
    """Work on the run until nothing is left of it; whoever finds that out, judges and ends it."""
    with about(run=run.pk):
        _work_on_chunks(run, worker, sizes, progress, may_go_on)
    run.refresh_from_db()
    return run


def _work_on_chunks(
    run: BillingRun, worker: BillingWorker, sizes: ChunkSizes, progress: Progress | None, may_go_on: MayGoOn
) -> None:
    try:
        _plan(run, worker, sizes)
        while may_go_on():
            chunk = chunks.claim(worker)
            if chunk is not None:
                _settle(chunk, worker, progress)
            elif not chunks.is_anything_left(run):
                break
            else:
                # Somebody else is at work; should they die, their chunks are open again.
                time.sleep(WAIT_FOR_OTHERS_SECONDS)
                runs.beat(worker)
                runs.bury_the_dead(run)
        else:
            _leave_behind(worker)
            return
        _finish(run, worker)
        _close_months(run, may_go_on)
    except WorkerReplaced:
        pass  # the run goes on without this worker, or has ended
    except BaseException:
        _leave_behind(worker)
        raise
    else:
        runs.sign_off(worker)


def _plan(run: BillingRun, worker: BillingWorker, sizes: ChunkSizes) -> None:
    """Cut the work into chunks, once for the run."""
    if Process.CALLS in run.processes:
        quarantine.recall_mended()
        calls.prepare()
        runs.beat(worker)
    with transaction.atomic(durable=True):
        locked = BillingRun.objects.select_for_update().get(pk=run.pk)
        if locked.planned_at is not None or locked.state != RunState.RUNNING:
            return
        if Process.CALLS in run.processes:
            calls.plan(run, calls_at_a_time=sizes.calls)
        if Process.ITEMS in run.processes:
            items.plan(run, items_at_a_time=sizes.items)
        BillingRun.objects.filter(pk=run.pk).update(planned_at=Now())
        runs.beat(worker)


def _settle(chunk: BillingChunk, worker: BillingWorker, progress: Progress | None) -> None:
    """Do one chunk in one transaction. What can't be done is cut smaller, tried again later, or left and noted."""
    run, process = worker.run, Process(chunk.process)
    stage = calls if process == Process.CALLS else items
    try:
        with halting.chunk(process, partner_id=chunk.partner_id):
            tally, busy = stage.post(chunk, worker)
            if not busy:
                chunks.done(chunk)
            runs.count(run, tally)
            runs.beat(worker)
    except halting.ProcessHalted as halted:
        _note_halt(run, chunk, halted)
    except (OperationalError, InterfaceError, InternalError) as error:
        _recover(chunk, worker, error)
    except DatabaseError as error:
        _cut(chunk, run, error)
    else:
        if progress:
            progress(tally)
        if busy:
            if not chunks.put_back(chunk):
                runs.note_error(
                    run, kind=process, key=str(chunk), error=f"{busy} busy elsewhere: left for the next run"
                )
            else:
                time.sleep(RETRY_LOCKED_SECONDS * chunk.tries)
                calls.prepare()


def _note_halt(run: BillingRun, chunk: BillingChunk, halted: halting.ProcessHalted) -> None:
    partner = None if halted.is_for_everyone else chunk.partner
    runs.note_halt(run, process=halted.process, partner=partner.slug if partner else None)
    chunks.leave(run, halted.process, partner_id=chunk.partner_id, is_for_everyone=halted.is_for_everyone)


def _recover(chunk: BillingChunk, worker: BillingWorker, error: Exception) -> None:
    """After a time-out or a lost connection: a chunk too slow is cut, one whose connection went is tried again.

    The server ends the connection of a worker that was frozen inside a chunk, which psycopg calls an internal error.
    """
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    if sqlstate == QUERY_CANCELED or (isinstance(error, InternalError) and sqlstate != IDLE_IN_TRANSACTION):
        _cut(chunk, worker.run, error)
        return
    connection.close()
    runs.beat(worker)  # raises if the database is gone for good, or the worker is
    if not chunks.put_back(chunk):
        runs.note_error(worker.run, kind=chunk.process, key=str(chunk), error=_in_words(error))


def _cut(chunk: BillingChunk, run: BillingRun, error: Exception) -> None:
    """Halve the chunk, down to the one record that is broken: that one is noted, all others are done."""
    is_calls = chunk.process == Process.CALLS
    bounds = None
    if chunk.first_customer == chunk.last_customer and chunk.first_record is None:
        bounds = calls.bounds(chunk) if is_calls else items.bounds(chunk, at=run.business_at)
    if not chunks.split(chunk, bounds):
        record = chunk.first_record or (bounds[0] if bounds else 0)
        key = calls.key_of(record) if is_calls else items.key_of(record)
        runs.note_error(run, kind="call" if is_calls else "item", key=key, error=_in_words(error))


def _finish(run: BillingRun, worker: BillingWorker) -> None:
    """Close what is complete, judge final balances, and end the run: done, or what kept it from that."""
    runs.beat(worker)
    calls.close_batches()
    judged = episodes.judge(at=run.business_at)
    settled = episodes.judge_settling(at=run.business_at)
    with transaction.atomic(durable=True):
        locked = BillingRun.objects.select_for_update().get(pk=run.pk)
        if locked.state != RunState.RUNNING:
            return
        locked.episodes_opened += judged.opened
        locked.episodes_closed += judged.closed + settled
        locked.save(update_fields=["episodes_opened", "episodes_closed"])
        BillingChunk.objects.filter(run=run, state=ChunkState.DONE).delete()
        state, because = _verdict(locked)
        runs.finish(locked, state=state, because=because)


def _close_months(run: BillingRun, may_go_on: MayGoOn) -> None:
    """Close months that have ended, behind a run that left nothing of them. The next run need not wait for it."""
    run.refresh_from_db()
    statements.close_months(run, may_go_on=may_go_on)


def _verdict(run: BillingRun) -> tuple[RunState, str]:
    """How the run ended. Halted: nothing of what it was asked for was allowed, for everyone."""
    for switch in halting.active_halts(tuple(Process(process) for process in run.processes)):
        if switch.partner is None or run.partner in (None, switch.partner):
            runs.note_halt(
                run, process=Process(switch.process), partner=switch.partner.slug if switch.partner else None
            )
    run.refresh_from_db()
    whole = {None, run.partner.slug} if run.partner else {None}
    halted_for_all = {halt["process"] for halt in run.halted if halt["partner"] in whole}
    if set(run.processes) <= halted_for_all:
        return RunState.HALTED, "halted"
    reasons = []
    if run.halted:
        reasons.append("halted in part")
    if run.errors:
        reasons.append("errors")
    if run.chunks.filter(state=ChunkState.LEFT).exists() and not reasons:
        reasons.append("left undone")
    return (RunState.PARTIAL, ", ".join(reasons)) if reasons else (RunState.DONE, "")


def _leave_behind(worker: BillingWorker) -> None:
    """Sign off on the way out of an error or an interruption, if the database can still be reached."""
    try:
        connection.close()
        runs.sign_off(worker)
        runs.give_up_if_abandoned(worker.run, because="interrupted")
    except DatabaseError:
        pass  # the next run finds this process gone


def _in_words(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


QUERY_CANCELED = "57014"
IDLE_IN_TRANSACTION = "25P03"
