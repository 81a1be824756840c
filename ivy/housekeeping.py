"""What is only of use for some time, and would grow without end: failed tasks, runs that did nothing, old repairs,
files that were sent and not imported.

Nothing that says anything about money, customers or mails is ever deleted here.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models.functions import Now
from django_q.models import Failure

from billing import runs
from ivy import repairs
from ivy.models import Upload

FAILED_TASKS_KEPT_FOR = timedelta(days=30)
IDLE_RUNS_KEPT_FOR = timedelta(days=7)
UPLOADS_KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Swept:
    """How many rows were deleted."""

    failed_tasks: int
    idle_runs: int
    repairs: int
    uploads: int


def sweep() -> Swept:
    """Delete what is old: failed tasks after 30 days, runs that did nothing after 7, repairs after 30; after
    one day files that nobody imported. May be repeated.

    Done tasks need no sweeping: django-q2 keeps the last 250 of each function.
    """
    failed, _ = Failure.objects.filter(stopped__lt=Now() - FAILED_TASKS_KEPT_FOR).delete()
    uploads, _ = Upload.objects.filter(at__lt=Now() - UPLOADS_KEPT_FOR).delete()
    return Swept(
        failed_tasks=failed,
        idle_runs=runs.forget_idle(IDLE_RUNS_KEPT_FOR),
        repairs=repairs.forget(),
        uploads=uploads,
    )
