"""Billing runs and the processes that work on them: who may work, who is dead, how a run ends.

One run at a time (`one_running_billing_run`). A worker holds a row with a token; every chunk ends by updating that row
where the token still counts, so that a worker that was paused and given up as dead commits nothing more. All of this
goes by the database's clock.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.models import (
    BillingChunk,
    BillingRun,
    BillingWorker,
    ChunkState,
    Partner,
    Process,
    RunState,
    WorkerState,
)
from billing.processes import ProcessId, this_process

DEAD_AFTER = timedelta(seconds=10)
FORGOTTEN_AT_A_TIME = 1_000


class RunBusy(Exception):
    """Another run is under way, and a process that works on it is alive."""

    def __init__(self, run: BillingRun) -> None:
        self.run = run
        super().__init__(
            f"{run} is under way since {run.started_at:%Y-%m-%d %H:%M:%S} UTC, started by {run.started_by}"
        )


class WorkerReplaced(Exception):
    """This worker was given up as dead, or its run has ended: whatever it was about to commit must not count."""


@dataclass
class Tally:
    """What one chunk, or a whole run, has charged. `amount`: by currency, positive."""

    calls_billed: int = 0
    calls_free: int = 0
    calls_quarantined: int = 0
    item_charges: int = 0
    one_off_charges: int = 0
    amount: dict[str, Decimal] = field(default_factory=dict)

    def charge(self, currency: str, amount: Decimal) -> None:
        self.amount[currency] = self.amount.get(currency, Decimal(0)) + amount


def begin(
    *,
    by: str,
    at: datetime,
    processes: Sequence[Process],
    partner: Partner | None = None,
    max_periods: int | None = None,
    charges_long_overdue: bool = False,
) -> tuple[BillingRun, BillingWorker]:
    """Start a run with this process as its first worker. A run whose workers are all dead is ended first.

    Raises RunBusy while another run is alive.
    """
    running = BillingRun.objects.filter(state=RunState.RUNNING).first()
    if running is not None:
        bury_the_dead(running)
        if not give_up_if_abandoned(running):
            raise RunBusy(running)
    try:
        with transaction.atomic(durable=True):
            run = BillingRun.objects.create(
                started_by=by,
                business_at=at,
                processes=[str(process) for process in processes],
                partner=partner,
                max_periods=max_periods,
                charges_long_overdue=charges_long_overdue,
            )
            worker = _sign_up(run)
    except IntegrityError:
        running = BillingRun.objects.filter(state=RunState.RUNNING).first()
        if running is None:
            raise
        raise RunBusy(running) from None
    run.refresh_from_db()
    return run, worker


def join() -> tuple[BillingRun, BillingWorker] | None:
    """Become a worker of the run that is under way; None if there is none."""
    with transaction.atomic(durable=True):
        run = BillingRun.objects.select_for_update().filter(state=RunState.RUNNING).first()
        return (run, _sign_up(run)) if run else None


def beat(worker: BillingWorker) -> None:
    """Show that the worker is alive, and make sure that it still counts. The last statement of every chunk.

    Raises WorkerReplaced, upon which the transaction around it must be rolled back.
    """
    alive = BillingWorker.objects.filter(
        pk=worker.pk, token=worker.token, state=WorkerState.RUNNING, run__state=RunState.RUNNING
    )
    if not alive.update(heartbeat_at=Now()):
        raise WorkerReplaced(f"worker {worker} of {worker.run} was given up as dead")


def sign_off(worker: BillingWorker) -> None:
    """The worker's process leaves the run; what it had taken and not done is open again."""
    with transaction.atomic(durable=True):
        BillingWorker.objects.filter(pk=worker.pk, state=WorkerState.RUNNING).update(state=WorkerState.DONE)
        BillingChunk.objects.filter(worker=worker, state=ChunkState.TAKEN).update(state=ChunkState.OPEN, worker=None)


def bury_the_dead(run: BillingRun) -> int:
    """Give up workers whose process is gone, or that have not been heard of for ten seconds. How many.

    From here on they can commit nothing; the chunks that they had taken are open again.
    """
    buried = 0
    for worker in run.workers.filter(state=WorkerState.RUNNING).annotate(silent=Now() - F("heartbeat_at")):
        is_gone = ProcessId(worker.host, worker.pid, worker.process_started).is_gone()
        if not is_gone and worker.silent < DEAD_AFTER:
            continue
        buried += give_up(worker)
    return buried


def give_up(worker: BillingWorker) -> bool:
    """Count the worker as dead, unless it has been heard of since `worker` was read: False. May be repeated."""
    with transaction.atomic(durable=True):
        # Asked again here, since the worker may have beaten meanwhile; a chunk that holds the row is waited for.
        died = BillingWorker.objects.filter(
            pk=worker.pk, state=WorkerState.RUNNING, heartbeat_at=worker.heartbeat_at
        ).update(state=WorkerState.DEAD)
        if died:
            BillingChunk.objects.filter(worker=worker, state=ChunkState.TAKEN).update(
                state=ChunkState.OPEN, worker=None
            )
    return bool(died)


def count(run: BillingRun, tally: Tally) -> None:
    """Add a chunk's tally to the run, in the chunk's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_billingrun SET
                calls_billed = calls_billed + %s, calls_free = calls_free + %s,
                calls_quarantined = calls_quarantined + %s,
                item_charges = item_charges + %s, one_off_charges = one_off_charges + %s,
                last_chunk_at = statement_timestamp(),
                amount = amount || (
                    SELECT coalesce(jsonb_object_agg(key, sum::text), '{}')
                    FROM jsonb_each_text(%s::jsonb),
                        LATERAL (SELECT coalesce((amount ->> key)::numeric, 0) + value::numeric AS sum) added
                )
            WHERE id = %s
            """,
            [
                tally.calls_billed,
                tally.calls_free,
                tally.calls_quarantined,
                tally.item_charges,
                tally.one_off_charges,
                json.dumps({currency: str(amount) for currency, amount in tally.amount.items()}),
                run.pk,
            ],
        )


def amounts(run: BillingRun) -> dict[str, Decimal]:
    """What the run has charged, by currency; positive."""
    return {currency: Decimal(amount) for currency, amount in sorted(run.amount.items())}


def under_way() -> BillingRun | None:
    """The run that is being worked on, if there is one."""
    return BillingRun.objects.filter(state=RunState.RUNNING).first()


@dataclass(frozen=True)
class HowFar:
    """How far a run has come, by its chunks; `records`: calls and items with an outcome so far.

    `seconds`: since it was planned (or begun, until then).
    """

    chunks_done: int
    chunks: int
    records: int
    seconds: float

    @property
    def percent(self) -> int:
        return self.chunks_done * 100 // self.chunks if self.chunks else 0

    @property
    def records_a_second(self) -> float:
        return self.records / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """As long as the chunks so far took; None before the first is done."""
        return self.seconds / self.chunks_done * (self.chunks - self.chunks_done) if self.chunks_done else None


def how_far(run: BillingRun) -> HowFar:
    """How far a run has come, by the database's clock. Chunks that were left undone are none of its work any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(c.id) FILTER (WHERE c.state = 'done'), count(c.id) FILTER (WHERE c.state <> 'left'),
                extract(epoch FROM coalesce(r.ended_at, statement_timestamp()) - coalesce(r.planned_at, r.started_at))
            FROM billing_billingrun r LEFT JOIN billing_billingchunk c ON c.run_id = r.id
            WHERE r.id = %s GROUP BY r.id
            """,
            [run.pk],
        )
        done, chunks, seconds = cursor.fetchone()
    records = sum(
        (run.calls_billed, run.calls_free, run.calls_quarantined, run.item_charges, run.one_off_charges)
    )  # fmt: skip
    return HowFar(done, chunks, records, float(seconds))


def last_good() -> BillingRun | None:
    """The latest run that came to its end: done, in part, or halted all along; None before the first."""
    return BillingRun.objects.exclude(state__in=[RunState.RUNNING, RunState.FAILED]).order_by("-started_at").first()


def note_error(run: BillingRun, *, kind: str, key: str, error: str) -> None:
    """Keep an error with the run (the first thousand), for staff to see."""
    _append(run, "errors", {"kind": kind, "key": key, "error": error})


def note_halt(run: BillingRun, *, process: Process, partner: str | None) -> None:
    """Keep with the run, once, that it left the process alone because it was halted."""
    _append(run, "halted", {"process": str(process), "partner": partner})


def finish(run: BillingRun, *, state: RunState, because: str = "") -> bool:
    """End the run; False if somebody else has ended it."""
    return bool(
        BillingRun.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=state, ended_at=Now(), ended_because=because
        )
    )


def forget_idle(kept_for: timedelta) -> int:
    """Delete runs that ended before that time and did nothing, with their workers; how many. May be repeated.

    One is begun every minute. Only those that charged nothing, judged nobody and had no error are idle, whether they
    found nothing or were halted: what was halted is in the switches' own history.
    """
    idle = BillingRun.objects.filter(
        state__in=[RunState.DONE, RunState.HALTED],
        ended_at__lt=Now() - kept_for,
        calls_billed=0,
        calls_free=0,
        calls_quarantined=0,
        item_charges=0,
        one_off_charges=0,
        episodes_opened=0,
        episodes_closed=0,
        amount={},
        errors=[],
    )
    forgotten = 0
    while some := list(idle.order_by("pk").values_list("pk", flat=True)[:FORGOTTEN_AT_A_TIME]):
        BillingRun.objects.filter(pk__in=some).delete()
        forgotten += len(some)
    return forgotten


def _append(run: BillingRun, column: str, note: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE billing_billingrun SET {column} = {column} || %s::jsonb"  # noqa: S608 - one of two names above
            f" WHERE id = %s AND NOT {column} @> %s::jsonb AND jsonb_array_length({column}) < 1000",
            [json.dumps([note]), run.pk, json.dumps([note])],
        )


def _sign_up(run: BillingRun) -> BillingWorker:
    me = this_process()
    return BillingWorker.objects.create(run=run, host=me.host, pid=me.pid, process_started=me.started)


def give_up_if_abandoned(run: BillingRun, *, because: str = "every process that worked on it was gone") -> bool:
    """End a run that nobody works on any more; False if somebody does."""
    with transaction.atomic(durable=True):
        locked = BillingRun.objects.select_for_update().get(pk=run.pk)
        if locked.state == RunState.RUNNING and locked.workers.filter(state=WorkerState.RUNNING).exists():
            return False
        finish(run, state=RunState.FAILED, because=because)
    return True
