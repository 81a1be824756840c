"""What is only of use for some time is swept away; what says anything about money is not."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from django_q.models import Failure, Success, Task

from billing.models import BillingChunk, BillingRun, BillingWorker, RunState
from ivy import housekeeping, repairs, tasks
from ivy.housekeeping import Swept
from ivy.models import Pulse, Repair
from tests.factories import make_chunk, make_run, make_worker

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def task_that_ended(*, days_ago: int, success: bool) -> Task:
    at = timezone.now() - days_ago * DAY
    return Task.objects.create(
        id=f"{days_ago}-{success}", name="task", func="ivy.tasks.sweep", started=at, stopped=at, success=success
    )


def run_that_ended(*, days_ago: int, **fields: Any) -> BillingRun:
    run = make_run(**fields)
    BillingRun.objects.filter(pk=run.pk).update(ended_at=Now() - days_ago * DAY)
    make_chunk(run=run, worker=make_worker(run=run))
    return run


class TestASweep:
    def test_deletes_failed_tasks_after_thirty_days(self) -> None:
        task_that_ended(days_ago=31, success=False)
        young = task_that_ended(days_ago=29, success=False)
        done = task_that_ended(days_ago=31, success=True)
        assert housekeeping.sweep().failed_tasks == 1
        assert list(Failure.objects.values_list("pk", flat=True)) == [young.pk]
        assert list(Success.objects.values_list("pk", flat=True)) == [done.pk], "django-q2 keeps the last 250"

    def test_deletes_runs_that_did_nothing_with_their_workers_after_seven_days(self) -> None:
        run_that_ended(days_ago=8)
        run_that_ended(days_ago=8, state=RunState.HALTED, halted=[{"process": "calls", "partner": None}])
        young = run_that_ended(days_ago=6)
        assert housekeeping.sweep().idle_runs == 2
        assert list(BillingRun.objects.all()) == [young]
        assert BillingWorker.objects.get().run == young
        assert BillingChunk.objects.get().run == young

    @pytest.mark.parametrize(
        "trace",
        [
            {"calls_billed": 1},
            {"calls_free": 1},
            {"calls_quarantined": 1},
            {"item_charges": 1},
            {"one_off_charges": 1},
            {"episodes_opened": 1},
            {"episodes_closed": 1},
            {"amount": {"GBP": "1.00"}},
            {"errors": [{"kind": "item", "key": "item:1", "error": "broken"}]},
            {"state": RunState.PARTIAL},
            {"state": RunState.FAILED},
        ],
        ids=str,
    )
    def test_keeps_every_run_that_did_something(self, trace: dict[str, Any]) -> None:
        run_that_ended(days_ago=400, **trace)
        assert housekeeping.sweep().idle_runs == 0

    def test_keeps_the_run_that_is_under_way(self) -> None:
        make_run(state=RunState.RUNNING)
        assert housekeeping.sweep() == Swept(0, 0, 0, 0)

    def test_forgets_repairs_after_thirty_days(self) -> None:
        repairs.note(Repair.Part.SCHEDULES, "Repaired schedule billing-cycle: args was (.")
        Repair.objects.update(at=Now() - 31 * DAY)
        repairs.note(Repair.Part.SCHEDULES, "Repaired schedule billing-cycle: args was (.")
        assert housekeeping.sweep().repairs == 1
        assert housekeeping.sweep() == Swept(0, 0, 0, 0)

    def test_is_a_task_with_a_pulse(self) -> None:
        tasks.sweep()
        tasks.sweep()
        assert Pulse.objects.filter(name="housekeeping").exists()
