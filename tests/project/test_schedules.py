"""The queue's schedules are what `ivy.schedules` says, whatever somebody did to them."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from ivy import schedules

NAMES = {"billing-cycle", "notifications", "queue-canary", "housekeeping"}


def queued_by_the_scheduler() -> set[str]:
    """Let django-q2's own scheduler look at the table; the functions it put into the queue."""
    scheduler(broker=get_broker())
    return {task.func() for task in OrmQ.objects.all()}


def snapshot() -> list[dict[str, Any]]:
    return list(Schedule.objects.order_by("name").values())


@pytest.mark.django_db
class TestInstalling:
    def test_creates_what_is_missing(self) -> None:
        repaired = schedules.install()
        assert len(repaired) == len(NAMES)
        assert {row.name for row in Schedule.objects.all()} == NAMES

    def test_twice_changes_nothing_and_says_nothing(self) -> None:
        schedules.install()
        before = snapshot()
        assert schedules.install() == []
        assert snapshot() == before

    @pytest.mark.parametrize(
        "damage",
        [
            {"func": "ivy.tasks.nothing_of_the_kind"},
            {"args": "1, ("},  # the scheduler cannot read it, and starts nothing at all
            {"args": "1"},
            {"kwargs": "by='somebody'"},
            {"hook": "ivy.tasks.hook"},
            {"schedule_type": Schedule.YEARLY},
            {"schedule_type": Schedule.CRON, "cron": "* * * * *"},
            {"minutes": None},
            {"minutes": 600},
            {"repeats": 0},  # the scheduler's word for "off"
            {"repeats": 3},
            {"cluster": "another"},
            {"intended_date_kwarg": "day"},
            {"next_run": None},
            {"next_run": datetime(2100, 1, 1, tzinfo=UTC)},
            {"next_run": datetime(2012, 1, 31, tzinfo=UTC)},  # it would count up to today minute by minute
        ],
        ids=str,
    )
    def test_repairs(self, damage: dict[str, Any]) -> None:
        schedules.install()
        sound = {row["name"]: row for row in snapshot()}
        Schedule.objects.filter(name="billing-cycle").update(**damage)

        (sentence,) = schedules.install()

        assert sentence.startswith("Repaired schedule billing-cycle: ")
        for field in damage:
            assert f"{field} was " in sentence
        row = Schedule.objects.filter(name="billing-cycle").values().get()
        assert abs(row.pop("next_run") - timezone.now()) < timedelta(minutes=1)
        assert row == {name: value for name, value in sound["billing-cycle"].items() if name != "next_run"}
        assert schedules.install() == []

    def test_deletes_duplicates_and_keeps_the_first(self) -> None:
        schedules.install()
        first = Schedule.objects.get(name="billing-cycle")
        for _ in range(2):
            Schedule.objects.create(name="billing-cycle", func="ivy.tasks.billing_cycle", schedule_type=Schedule.HOURLY)
        assert schedules.install() == ["Deleted 2 more of schedule billing-cycle."]
        assert Schedule.objects.get(name="billing-cycle") == first

    def test_leaves_alone_what_others_scheduled(self) -> None:
        Schedule.objects.create(name="backup", func="os.getpid", schedule_type=Schedule.DAILY, args="1, 'two'")
        Schedule.objects.create(name="report", func="os.getpid", schedule_type=Schedule.ONCE, kwargs="day=1")
        schedules.install()
        before = snapshot()
        assert schedules.install() == []
        assert snapshot() == before


@pytest.mark.django_db(transaction=True)  # the scheduler closes the connection it is called with
class TestTheSchedulerOfTheQueue:
    def test_starts_what_was_installed(self) -> None:
        schedules.install()
        assert queued_by_the_scheduler() == {wanted.func for wanted in schedules.SCHEDULES}

    def test_starts_nothing_at_all_once_one_schedule_is_damaged_and_everything_after_the_repair(self) -> None:
        schedules.install()
        Schedule.objects.filter(name="queue-canary").update(args="(")
        assert queued_by_the_scheduler() == set()
        schedules.install()
        assert queued_by_the_scheduler() == {wanted.func for wanted in schedules.SCHEDULES}

    def test_leaves_nothing_to_repair(self) -> None:
        schedules.install()
        scheduler(broker=get_broker())
        before = snapshot()
        assert schedules.install() == []
        assert snapshot() == before

    @pytest.mark.parametrize(
        "stumbling_block",
        [
            {"args": "("},
            {"kwargs": "5"},
            {"kwargs": "{'q_options': 5}"},
            {"schedule_type": Schedule.CRON, "cron": "* * * * *"},  # croniter is not installed
            {"schedule_type": "??"},
        ],
        ids=str,
    )
    def test_is_rid_of_a_foreign_schedule_that_stops_all_the_others(self, stumbling_block: dict[str, Any]) -> None:
        schedules.install()
        Schedule.objects.create(name="backup", func="os.getpid", schedule_type=Schedule.DAILY)
        Schedule.objects.filter(name="backup").update(**stumbling_block)
        assert queued_by_the_scheduler() == set()

        (sentence,) = schedules.install()

        assert sentence.startswith("Switched off schedule backup, which stopped all the others: ")
        assert queued_by_the_scheduler() == {wanted.func for wanted in schedules.SCHEDULES}
        assert schedules.install() == []


@pytest.mark.django_db(transaction=True)
class TestInstallingInManyProcessesAtOnce:
    def test_creates_each_schedule_once(self) -> None:
        def install() -> list[str]:
            try:
                return schedules.install()
            finally:
                connection.close()

        with ThreadPoolExecutor(max_workers=6) as pool:
            repaired = [sentence for done in pool.map(lambda _: install(), range(6)) for sentence in done]
        assert len(repaired) == len(NAMES)
        assert sorted(Schedule.objects.values_list("name", flat=True)) == sorted(NAMES)


@pytest.mark.django_db
class TestTheCommand:
    def test_says_what_it_repaired_and_then_that_all_is_well(self) -> None:
        first, second = StringIO(), StringIO()
        call_command("install_schedules", stdout=first)
        call_command("install_schedules", stdout=second)
        assert "Created schedule billing-cycle: every minute." in first.getvalue()
        assert (
            second.getvalue()
            == "Nothing to do: billing-cycle, notifications, queue-canary, housekeeping are in place.\n"
        )

    def test_prints_one_json_object(self) -> None:
        out = StringIO()
        call_command("install_schedules", "--json", stdout=out)
        answer = json.loads(out.getvalue())
        assert set(answer["schedules"]) == NAMES
        assert len(answer["repaired"]) == len(NAMES)

    def test_asks_for_migrate_when_there_are_no_tables(self) -> None:
        with connection.cursor() as cursor:  # in the test's own transaction, and rolled back with it
            cursor.execute("ALTER TABLE django_q_schedule RENAME TO not_migrated_yet")
        with pytest.raises(CommandError, match="run migrate first") as refusal:
            call_command("install_schedules")
        assert refusal.value.returncode == 1
