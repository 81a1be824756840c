"""Tick goes on whatever becomes of what it pokes, and stops within a bound."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psutil
import pytest
from django.db.models.functions import Now

from billing.models import BillingRun, ItemKind, LedgerEntry
from ivy import pulses
from ivy.models import Alarm, Pulse
from ivy.queue import ticking
from ivy.queue.poking import Poke
from ivy.queue.ticking import Ticker
from tests.billing.at_once import locked_balances
from tests.factories import make_customer, make_item
from tests.faults.clusters import lives, who_bills
from tests.faults.processes import another_connection, start, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dead_queue() -> None:
    for name in ticking.WATCHED:
        pulses.beat(name)
    Pulse.objects.update(beaten_at=Now() - timedelta(minutes=3))


@contextmanager
def billing_hangs() -> Iterator[None]:
    """No billing run can begin as long as the block runs; who tries, waits."""
    with another_connection() as other, other.transaction():
        other.execute("LOCK TABLE billing_billingrun IN SHARE ROW EXCLUSIVE MODE")
        yield


class TestACycleThatHangs:
    def test_keeps_tick_neither_from_its_rounds_nor_from_mails_and_alarms(self, dead_queue: None) -> None:
        ticker = Ticker(patient=False)
        try:
            with billing_hangs():
                ticker.round()
                wait_until(lambda: Alarm.objects.filter(key="queue").exists(), what="the alarm")
                wait_until(lambda: pulses.last_beats(pulses.NOTIFICATIONS_BY_TICK), what="the notification pass")
                before = pulses.last_beats(pulses.TICK)
                ticker.round()
                assert pulses.last_beats(pulses.TICK) != before
                assert not ticker.wait(seconds=0)
            assert ticker.wait(seconds=60)
            assert BillingRun.objects.exclude(state="running").exists()
        finally:
            ticker.kill()


class TestAPoke:
    def test_is_one_at_a_time(self) -> None:
        poke = Poke("nap", lambda: time.sleep(60))
        assert poke.start()
        assert not poke.start()
        assert poke.is_under_way()
        poke.kill()
        wait_until(lambda: not poke.is_under_way())
        assert poke.start()
        poke.kill()
        wait_until(lambda: not poke.is_under_way())

    def test_that_takes_long_gets_company_and_is_killed_when_a_third_is_due(self) -> None:
        poke = Poke("nap", lambda: time.sleep(60), company_after_seconds=0)
        me = psutil.Process()
        before = {child.pid for child in me.children()}
        started = []
        for _ in range(3):
            assert poke.start()
            (new,) = {child.pid for child in me.children()} - before - set(started)
            started.append(new)
        assert not psutil.pid_exists(started[0])
        assert psutil.pid_exists(started[1])
        poke.kill()
        wait_until(lambda: not poke.is_under_way())

    def test_that_fails_is_over(self) -> None:
        def fail() -> None:
            raise ValueError

        poke = Poke("failure", fail)
        for _ in range(2):
            assert poke.start()
            wait_until(lambda: not poke.is_under_way())


class TestAStop:
    def test_lets_what_was_poked_end_after_its_chunk(self, dead_queue: None) -> None:
        customer = make_customer(balance=20)
        make_item(customer=customer, kind=ItemKind.ONE_OFF, amount=15)
        with locked_balances(customer.pk):  # billing is at work, and can't be done
            running = start("tick", "--once")
            billing = wait_until(who_bills, what="a billing run of tick")
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=60)
            assert running.returncode == 0
            assert billing is not None
            assert not psutil.pid_exists(billing)
        assert not LedgerEntry.objects.filter(kind="one_off").exists()

    def test_by_a_kill_lets_it_end_as_well(self, dead_queue: None) -> None:
        customer = make_customer(balance=20)
        make_item(customer=customer, kind=ItemKind.ONE_OFF, amount=15)
        with locked_balances(customer.pk):
            running = start("tick", "--once")
            billing = wait_until(who_bills, what="a billing run of tick")
            poked = psutil.Process(running.pid).children()
            assert billing in {process.pid for process in poked}
            os.kill(running.pid, signal.SIGKILL)
            wait_until(lambda: not any(lives(process) for process in poked), what="the end of all that was poked")
            running.communicate(timeout=60)
