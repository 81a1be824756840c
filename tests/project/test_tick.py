"""While the queue is silent, `tick` runs the billing cycle; and it outlives what it watches."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django_q.models import Schedule

from billing.models import BillingRun
from billing.processes import ProcessId
from ivy import alarms, probing, pulses, tasks
from ivy.models import Alarm, Probe, Pulse, Role
from ivy.probes import Finding
from ivy.queue import ticking
from ivy.queue.ticking import Ticker

ROOT = Path(__file__).parents[2]


def beaten(name: str, *, ago: timedelta) -> None:
    pulses.beat(name)
    Pulse.objects.filter(name=name).update(beaten_at=Now() - ago)


def queue_lives() -> None:
    tasks.queue_canary()
    pulses.beat(pulses.BILLING_CYCLE)
    pulses.beat(pulses.NOTIFICATIONS)


def queue_is_dead(*, since: timedelta = timedelta(minutes=3)) -> None:
    for name in ticking.WATCHED:
        beaten(name, ago=since)


def round_of(ticker: Ticker) -> None:
    """A round, and all that it has begun."""
    ticker.round()
    assert ticker.wait(seconds=60)


def tick_has_poked() -> bool:
    return Pulse.objects.filter(name=pulses.BILLING_CYCLE_BY_TICK).exists()


def news(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what the ticker logged about the queue and the database."""
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "ivy.queue.ticking"]
    caplog.clear()
    return [(level, text) for level, text in told if "chedule" not in text]


@pytest.mark.django_db
class TestPulses:
    def test_are_dated_by_the_database_and_say_who_beat(self) -> None:
        pulses.beat("heart")
        pulses.beat("heart")
        pulse = Pulse.objects.get(name="heart")
        assert pulse.pid == os.getpid()
        assert timedelta(0) <= pulses.database_now() - pulse.beaten_at < timedelta(minutes=1)

    def test_know_who_is_silent(self) -> None:
        pulses.beat("heart")
        beaten("old heart", ago=timedelta(minutes=3))
        silent = pulses.silent_since("heart", "old heart", "no heart", longer_than=timedelta(minutes=2))
        assert set(silent) == {"old heart", "no heart"}
        assert silent["no heart"] is None

    def test_are_not_missed_by_one_who_has_only_just_come(self) -> None:
        now = pulses.database_now()
        patience = timedelta(minutes=2)
        assert pulses.silent_since("no heart", longer_than=patience, watched_since=now) == {}
        assert pulses.silent_since("no heart", longer_than=patience, watched_since=now - timedelta(minutes=3))


@pytest.mark.django_db(transaction=True)
class TestTasks:
    def test_of_the_queue_beat_its_pulses(self) -> None:
        tasks.queue_canary()
        tasks.billing_cycle()
        tasks.billing_cycle()
        assert set(pulses.last_beats(*ticking.WATCHED)) == set(ticking.WATCHED)
        assert not tick_has_poked()
        assert BillingRun.objects.count() == 2

    def test_that_tick_runs_do_not_pass_for_the_queue_s(self) -> None:
        tasks.billing_cycle(by="tick")
        assert tick_has_poked()
        assert pulses.last_beats(*ticking.WATCHED) == {}


@pytest.mark.django_db(transaction=True)
class TestARound:
    def test_leaves_billing_to_a_queue_that_lives(self, caplog: pytest.LogCaptureFixture) -> None:
        queue_lives()
        round_of(Ticker(patient=False))
        assert not tick_has_poked()
        assert news(caplog) == []

    @pytest.mark.parametrize(
        ("silent", "said"),
        [
            (ticking.WATCHED, "The queue is dead"),
            ((pulses.QUEUE_CANARY,), "The queue does not do everything"),
            ((pulses.BILLING_CYCLE,), "The queue does not do everything"),
            ((pulses.NOTIFICATIONS,), "The queue does not do everything"),
        ],
    )
    def test_runs_the_cycle_when_something_stayed_away_for_two_minutes(
        self, caplog: pytest.LogCaptureFixture, silent: tuple[str, ...], said: str
    ) -> None:
        queue_lives()
        for name in silent:
            beaten(name, ago=timedelta(minutes=2, seconds=1))
        round_of(Ticker(patient=False))
        assert tick_has_poked()
        assert BillingRun.objects.count() == 1
        ((level, text),) = news(caplog)
        assert level == "ERROR"
        assert text.startswith(said)
        for name in silent:
            assert f"{name} since " in text

    def test_tells_a_death_once_and_the_return_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        ticker = Ticker(patient=False)
        queue_is_dead()
        round_of(ticker)
        round_of(ticker)
        assert [level for level, _ in news(caplog)] == ["ERROR"]
        queue_lives()
        round_of(ticker)
        round_of(ticker)
        assert news(caplog) == [("INFO", "The queue is back: billing-cycle, notifications, queue-canary come again.")]

    def test_pokes_once_a_minute_not_in_every_round(self) -> None:
        ticker = Ticker(patient=False)
        queue_is_dead()
        round_of(ticker)
        round_of(ticker)
        assert BillingRun.objects.count() == 1

    def test_looks_for_alarms_though_the_queue_lives(self) -> None:
        queue_lives()
        probing.note(
            "disk", Finding(False, "0.1 GB free", "full"), role=Role.MACHINE, process=ProcessId("worker-b", 0, "")
        )
        round_of(Ticker(patient=False))
        assert "disk" in {alarm["key"] for alarm in alarms.standing()}
        Probe.objects.update(is_well=True)
        round_of(Ticker(patient=False))
        Alarm.objects.update(well_since=Now() - timedelta(minutes=1))  # its calm time has passed
        round_of(Ticker(patient=False))
        assert "disk" not in {alarm["key"] for alarm in alarms.standing()}

    def test_is_patient_with_a_queue_that_is_only_starting(self, caplog: pytest.LogCaptureFixture) -> None:
        queue_is_dead(since=timedelta(hours=8))
        round_of(Ticker())
        assert not tick_has_poked()
        assert news(caplog) == []

    def test_repairs_the_schedules(self) -> None:
        round_of(Ticker())
        Schedule.objects.filter(name="billing-cycle").update(args="(")
        round_of(Ticker())
        assert Schedule.objects.get(name="billing-cycle").args is None

    def test_survives_a_database_that_drops_its_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        ticker = Ticker()
        round_of(ticker)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (backend,) = cursor.fetchone()
        caplog.clear()
        before = pulses.last_beats(pulses.TICK)

        with psycopg.connect(**second_connection()) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
        round_of(ticker)
        round_of(ticker)

        assert [level for level, _ in news(caplog)] == ["ERROR", "INFO"]
        assert pulses.last_beats(pulses.TICK) != before


def second_connection() -> dict[str, str]:
    named = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return {
        ours: str(connection.settings_dict[theirs])
        for ours, theirs in named.items()
        if connection.settings_dict[theirs]
    }


def address_of_the_test_database() -> str:
    at = second_connection()
    who = at.get("user", "") + (f":{at['password']}" if "password" in at else "")
    return f"postgres://{who}@{at.get('host', '')}:{at.get('port', 5432)}/{at['dbname']}"


@pytest.mark.django_db(transaction=True)
class TestTheCommand:
    @pytest.fixture
    def tick(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "tick", "--every", "60"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": address_of_the_test_database(), "DEBUG": "true"},
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = monotonic() + 60
        while not Pulse.objects.filter(name=pulses.TICK, pid=process.pid).exists():
            assert process.poll() is None, process.communicate()[1]
            assert monotonic() < deadline
            sleep(0.1)
        yield process
        process.kill()
        process.communicate()

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_stops_in_the_middle_of_its_pause_when_asked(
        self, tick: subprocess.Popen[str], how: signal.Signals
    ) -> None:
        tick.send_signal(how)
        assert tick.wait(timeout=60) == 0
        assert tick.stderr is not None
        assert "Traceback" not in tick.stderr.read()

    def test_does_one_round_for_cron(self) -> None:
        queue_is_dead()
        handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        try:
            call_command("tick", "--once")
        finally:
            signal.signal(signal.SIGTERM, handlers[0])
            signal.signal(signal.SIGINT, handlers[1])
        assert tick_has_poked()

    @pytest.mark.parametrize("seconds", ["0", "-1", "often"])
    def test_refuses_a_pause_that_is_none(self, seconds: str) -> None:
        with pytest.raises(CommandError):
            call_command("tick", "--once", f"--every={seconds}")
