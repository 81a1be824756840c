"""What django-q2 has to do and how often: the one list, and the repair of what the database says about it.

django-q2 keeps schedules in a table that anybody can edit, and stops all of them at one that it cannot read. So
`install` runs when a cluster starts and once a minute from `tick`.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule

from ivy import pulses, repairs
from ivy.models import Repair


@dataclass(frozen=True)
class Wanted:
    """A function that is called, without arguments, every so many minutes. `pulse`: what it beats when called so.

    `words`: what it does, for people.
    """

    name: str
    func: str
    minutes: int
    pulse: str
    words: str


SCHEDULES = [
    Wanted(
        "billing-cycle", "ivy.tasks.billing_cycle", 1, pulses.BILLING_CYCLE, "charges what is due, then tells customers"
    ),
    Wanted(
        "notifications",
        "ivy.tasks.notifications_pass",
        1,
        pulses.NOTIFICATIONS,
        "tells customers what they are owed to hear",
    ),
    Wanted("queue-canary", "ivy.tasks.queue_canary", 1, pulses.QUEUE_CANARY, "proves that the queue works"),
    Wanted("housekeeping", "ivy.tasks.sweep", 60, pulses.HOUSEKEEPING, "deletes what is only of use for some time"),
]


def in_words(func: str) -> str:
    """What a function does that the queue calls; its name where it is none of ours."""
    return next((wanted.words for wanted in SCHEDULES if wanted.func == func), func)


@dataclass(frozen=True)
class Damage:
    """What is not as it should be, the same as a sentence that it was mended, and the verb that mends it.

    `is_trouble`: staff are to know. Not so at the first start, nor after a day without a queue.
    """

    wrong: str
    mended: str
    mend: Callable[[], object]
    is_trouble: bool = True


def install() -> list[str]:
    """Make the schedules what `SCHEDULES` says; returns what had to be done, one sentence each (empty: nothing).

    Safe to repeat, and to run in many processes at once. Schedules with other names are left alone, unless
    the scheduler would stumble over one and start nothing at all: those are switched off, not deleted. What was trouble
    is noted among the repairs.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('ivy.schedules'))")
        # The lock keeps out other installs, the rows' own locks the scheduler, which saves whole rows.
        found = _look(list(Schedule.objects.select_for_update().order_by("pk")))
        for damage in found:
            damage.mend()
            if damage.is_trouble:
                repairs.note(Repair.Part.SCHEDULES, damage.mended)
    return [damage.mended for damage in found]


def damages() -> list[Damage]:
    """What `install` would mend. Writes nothing."""
    return _look(list(Schedule.objects.order_by("pk")))


def _look(rows: list[Schedule]) -> list[Damage]:
    now = timezone.now()
    found: list[Damage] = []
    for wanted in SCHEDULES:
        found += _look_at_one(wanted, [row for row in rows if row.name == wanted.name], now=now)
    ours = {wanted.name for wanted in SCHEDULES}
    for row in rows:
        if row.name not in ours and row.repeats != 0 and (stumbles := why_the_scheduler_stumbles(row)):
            name = row.name or row.pk
            found.append(
                Damage(
                    wrong=f"Schedule {name} stops all the others: {stumbles}.",
                    mended=f"Switched off schedule {name}, which stopped all the others: {stumbles}.",
                    mend=partial(Schedule.objects.filter(pk=row.pk).update, repeats=0),
                )
            )
    return found


def _look_at_one(wanted: Wanted, rows: list[Schedule], *, now: datetime) -> Iterator[Damage]:
    if not rows:
        yield Damage(
            wrong=f"Schedule {wanted.name} is missing.",
            mended=f"Created schedule {wanted.name}: every {_minutes(wanted.minutes)}.",
            mend=partial(Schedule.objects.create, name=wanted.name, next_run=now, **_settings(wanted)),
            is_trouble=bool(pulses.last_beats(wanted.pulse)),  # it has been there before
        )
        return
    row, *others = rows
    if others:
        yield Damage(
            wrong=f"There are {len(others)} more of schedule {wanted.name}.",
            mended=f"Deleted {len(others)} more of schedule {wanted.name}.",
            mend=Schedule.objects.filter(pk__in=[other.pk for other in others]).delete,
        )
    repaired = {field: value for field, value in _settings(wanted).items() if getattr(row, field) != value}
    is_trouble = bool(repaired)
    # Too late is never; too early, and the scheduler counts up to now minute by minute.
    latest = now + 2 * timedelta(minutes=wanted.minutes)
    if row.next_run is None or not now - timedelta(days=1) <= row.next_run <= latest:
        repaired["next_run"] = now
        is_trouble = is_trouble or row.next_run is None or row.next_run > latest
    if repaired:
        damage = ", ".join(f"{field} was {getattr(row, field)!s}" for field in repaired)
        yield Damage(
            wrong=f"Schedule {wanted.name} is damaged: {damage.replace(' was ', ' is ')}.",
            mended=f"Repaired schedule {wanted.name}: {damage}.",
            mend=partial(Schedule.objects.filter(pk=row.pk).update, **repaired),
            is_trouble=is_trouble,
        )


def _settings(wanted: Wanted) -> dict[str, object]:
    """All of a schedule's columns that decide what runs and when, save the next time."""
    return {
        "func": wanted.func,
        "schedule_type": Schedule.MINUTES,
        "minutes": wanted.minutes,
        "repeats": -1,
        "args": None,
        "kwargs": None,
        "hook": None,
        "cluster": None,
        "cron": None,
        "intended_date_kwarg": None,
    }


def why_the_scheduler_stumbles(schedule: Schedule) -> str | None:
    """What makes django-q2's scheduler fail on this row, and with it on every other; None if nothing does.

    Reads arguments the way `django_q.scheduler` does, whose parsers raise half a dozen kinds of exceptions.
    """
    try:
        if schedule.args:
            ast.literal_eval(schedule.args)
        if schedule.kwargs:
            _read_kwargs(schedule.kwargs).get("q_options", {}).get("group")
    except Exception as error:  # noqa: BLE001
        return f"its arguments cannot be read ({error})"
    try:
        if schedule.schedule_type != Schedule.ONCE:
            schedule.calculate_next_run(schedule.next_run or timezone.now())
    except Exception as error:  # noqa: BLE001
        return f"its next time cannot be told ({error})"
    return None


def _read_kwargs(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        pass
    try:
        call: Any = ast.parse(f"f({text})").body[0]
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.value.keywords}
    except (SyntaxError, ValueError):
        return {}  # what cannot be read at all is ignored there; what is read and no dictionary is not


def _minutes(count: int) -> str:
    return "minute" if count == 1 else f"{count} minutes"
