"""The queue, its schedules and tick: what goes wrong with them alarms once, and clears."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django_q.models import Schedule

from billing.checking import Check
from ivy import alarms, machinery, pulses, repairs, schedules, tasks
from ivy.models import Alarm, Pulse, Repair
from tests.project.alarming import pass_time

MINUTE = timedelta(minutes=1)


def beaten(name: str, *, ago: timedelta) -> None:
    pulses.beat(name)
    Pulse.objects.filter(name=name).update(beaten_at=Now() - ago)


def check(key: str) -> Check:
    (found,) = [check for check in machinery.checks() if check.key == key]
    return found


def standing() -> set[str]:
    return {alarm["key"] for alarm in alarms.standing()}


def all_is_well() -> None:
    for name in (*(wanted.pulse for wanted in schedules.SCHEDULES), pulses.TICK):
        pulses.beat(name)
    schedules.install()
    Repair.objects.all().delete()


@pytest.fixture(autouse=True)
def machinery_runs(db: None) -> None:
    Schedule.objects.all().delete()
    schedules.install()
    all_is_well()


@pytest.mark.django_db
class TestAFreshInstallation:
    def test_has_nothing_to_alarm_of(self) -> None:
        Pulse.objects.all().delete()
        Schedule.objects.all().delete()
        assert all(check.is_well for check in machinery.checks())
        schedules.install()
        schedules.install()
        assert not Repair.objects.exists()
        assert all(check.is_well for check in machinery.checks())

    def test_whose_queue_was_never_started_is_told_once_tick_pokes(self) -> None:
        Pulse.objects.filter(name=pulses.QUEUE_CANARY).delete()
        assert check("queue").is_well
        pulses.beat(pulses.BILLING_CYCLE_BY_TICK)
        assert "never" in check("queue").wrong


@pytest.mark.django_db
class TestTheQueue:
    def test_that_was_silent_for_less_than_two_minutes_is_well(self) -> None:
        beaten(pulses.QUEUE_CANARY, ago=2 * MINUTE)
        assert check("queue").is_well

    def test_that_is_silent_is_told_with_what_goes_on_without_it(self) -> None:
        beaten(pulses.QUEUE_CANARY, ago=3 * MINUTE)
        silent = check("queue")
        assert "has done nothing since" in silent.wrong
        assert "billing and mails go on" in silent.affects
        assert silent.since == Pulse.objects.get(name=pulses.QUEUE_CANARY).beaten_at

    def test_that_is_silent_without_a_tick_says_that_nothing_goes_on(self) -> None:
        beaten(pulses.QUEUE_CANARY, ago=3 * MINUTE)
        beaten(pulses.TICK, ago=3 * MINUTE)
        assert "nobody is billed" in check("queue").affects

    def test_is_not_called_silent_by_one_who_has_only_just_come(self) -> None:
        for name in (pulses.QUEUE_CANARY, pulses.TICK, pulses.NOTIFICATIONS):
            beaten(name, ago=timedelta(hours=9))
        beaten(pulses.WATCH_BEGAN, ago=MINUTE)
        assert check("queue").is_well
        assert check("tick").is_well
        beaten(pulses.WATCH_BEGAN, ago=3 * MINUTE)
        assert not check("queue").is_well
        assert not check("tick").is_well

    def test_whose_cluster_was_ended_by_its_watchdog_is_told_for_ten_minutes(self) -> None:
        repairs.note(Repair.Part.QUEUE, "A cluster was ended by its watchdog: its sentinel has died.")
        assert check("queue").wrong == "A cluster was ended by its watchdog: its sentinel has died."
        Repair.objects.update(at=Now() - 11 * MINUTE)
        assert check("queue").is_well


@pytest.mark.parametrize("argument", ["--patience=0", "--patience=long", "--stop-within=-1"])
def test_a_cluster_refuses_a_time_that_is_none(argument: str) -> None:
    with pytest.raises(CommandError):
        call_command("qcluster", argument)


@pytest.mark.django_db(transaction=True)
class TestAWatch:
    def test_begins_with_a_pass_after_nobody_watched(self) -> None:
        beaten(pulses.NOTIFICATIONS, ago=timedelta(hours=9))
        tasks.notifications_pass()
        began = Pulse.objects.get(name=pulses.WATCH_BEGAN).beaten_at
        tasks.notifications_pass()
        tasks.notifications_pass(by="tick")
        assert Pulse.objects.get(name=pulses.WATCH_BEGAN).beaten_at == began


@pytest.mark.django_db
class TestSchedules:
    @pytest.mark.parametrize(
        "damage", [{"args": "("}, {"repeats": 0}, {"func": "os.getpid"}, {"next_run": None}], ids=str
    )
    def test_that_somebody_damages_are_told_until_ten_minutes_after_their_repair(
        self, damage: dict[str, object]
    ) -> None:
        Schedule.objects.filter(name="billing-cycle").update(**damage)
        assert "Schedule billing-cycle is damaged" in check("schedules").wrong

        schedules.install()

        assert check("schedules").wrong.startswith("Repaired schedule billing-cycle: ")
        assert check("schedules").since == Repair.objects.get().at
        schedules.install()
        Repair.objects.update(at=Now() - 11 * MINUTE)
        assert check("schedules").is_well

    def test_that_somebody_deletes_are_told(self) -> None:
        Schedule.objects.filter(name="queue-canary").delete()
        assert check("schedules").wrong == "Schedule queue-canary is missing."
        schedules.install()
        assert check("schedules").wrong == "Created schedule queue-canary: every minute."

    def test_that_stop_all_the_others_are_told(self) -> None:
        Schedule.objects.create(name="backup", func="os.getpid", schedule_type=Schedule.DAILY, args="(")
        assert "Schedule backup stops all the others" in check("schedules").wrong
        schedules.install()
        assert "Switched off schedule backup" in check("schedules").wrong

    def test_that_are_only_late_are_put_right_without_an_alarm(self) -> None:
        Schedule.objects.update(next_run=Now() - timedelta(days=3))
        assert check("schedules").is_well
        assert schedules.install()
        assert check("schedules").is_well


@pytest.mark.django_db(transaction=True)
class TestAnAlarm:
    """Each trouble of the machinery raises one, and the same trouble gone clears it."""

    def test_of_a_silent_queue(self) -> None:
        beaten(pulses.QUEUE_CANARY, ago=3 * MINUTE)
        self.rises_once("queue")
        tasks.queue_canary()
        self.clears("queue")

    def test_of_a_damaged_schedule(self) -> None:
        Schedule.objects.filter(name="notifications").update(args="(")
        schedules.install()
        self.rises_once("schedules")
        Repair.objects.update(at=Now() - 11 * MINUTE)
        self.clears("schedules")

    def test_of_a_tick_that_is_gone(self) -> None:
        beaten(pulses.TICK, ago=3 * MINUTE)
        self.rises_once("tick")
        pulses.beat(pulses.TICK)
        self.clears("tick")

    def rises_once(self, key: str) -> None:
        alarms.look()
        alarms.look()
        assert key in standing()
        assert Alarm.objects.filter(key=key).count() == 1

    def clears(self, key: str) -> None:
        alarms.look()
        pass_time(minutes=1)  # in which it stays well
        alarms.look()
        assert key not in standing()
        assert Alarm.objects.get(key=key).cleared_at is not None
