"""`kill -9` of each process of the queue's cluster: work goes on or the watchdog ends the cluster; nothing twice."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

import psycopg
import pytest
from django.db import connection
from django_q.models import OrmQ
from django_q.tasks import async_task
from psycopg import sql

from billing.models import Customer, ItemKind, LedgerEntry
from ivy import machinery
from ivy.models import Repair
from notifications.models import NotificationLog, State
from tests.billing.at_once import locked_balances
from tests.factories import make_alert, make_customer, make_item, make_partner
from tests.faults.clusters import RunningCluster, busy_schedule, canary, cluster, wait_for_the_canary, who_bills
from tests.faults.mailserver import At, MailServer, free_port, mail_server
from tests.faults.processes import database_url, wait_until

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["billing", "notifications", "ivy", "django_q"])

PATIENCE = 6.0  # more than a busy machine takes from a start to the first task
ADDRESS = "mei@example.net"


@cache
def steady_port() -> int:
    """The same for all tests, so that their clusters can be forked from one process."""
    return free_port()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server(port=steady_port(), deadline_seconds=60) as mails:
        monkeypatch.setenv("EMAIL_URL", mails.url)
        yield mails


@dataclass
class Mei:
    """A customer with an item that is due, which makes her balance fall below her alert's threshold."""

    customer: Customer

    def is_charged(self) -> bool:
        return LedgerEntry.objects.filter(kind="one_off").exists()

    def assert_charged_and_told_once(self, server: MailServer) -> None:
        assert LedgerEntry.objects.filter(kind="one_off").count() == 1
        assert [mail.to for mail in server.accepted] == [ADDRESS]
        assert NotificationLog.objects.get().state == State.SENT


@pytest.fixture
def mei() -> Mei:
    partner = make_partner(slug="quayside", name="Quayside", sender="billing@quayside.example")
    customer = make_customer(partner=partner, email=ADDRESS, name="Mei Tanaka", balance=20)
    make_alert(customer=customer, threshold=Decimal(10))
    make_item(customer=customer, kind=ItemKind.ONE_OFF, amount=Decimal(15))
    return Mei(customer)


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def goes_on(running: RunningCluster) -> None:
    """Work goes on by itself, or the watchdog ends the cluster, which its supervisor then starts anew."""
    before = canary()
    supervised(running, lambda: canary() != before, what="another canary")


def supervised(running: RunningCluster, is_so: Callable[[], object], *, what: str) -> None:
    """Wait until it is so, and start the cluster anew whenever its watchdog has ended it meanwhile."""

    def look() -> object:
        if running.status is not None:
            starts_anew(running)
        return is_so()

    wait_until(look, seconds=120, what=what)


def starts_anew(running: RunningCluster) -> None:
    wait_until(lambda: not running.is_left(), what="the end of all orphans")
    running.start()


class TestAKill:
    @pytest.mark.parametrize("role", ["main", "sentinel", "busy worker", "idle workers", "pusher", "monitor"])
    def test_stops_nothing_for_long_and_does_nothing_twice(self, role: str, mei: Mei, server: MailServer) -> None:
        with ExitStack() as others, busy_schedule() as schedule:
            others.enter_context(locked_balances(mei.customer.pk))  # billing is at work, and can't be done
            with cluster(patience=PATIENCE, stop_within=2) as running:
                if role == "busy worker":
                    kill(wait_until(who_bills, what="a billing run"))
                elif role == "idle workers":
                    with schedule.paused():
                        running.kill_idle_workers()
                else:
                    wait_for_the_canary()
                    kill(running.who_is(role)[0])
                if role in {"main", "sentinel"}:
                    assert running.wait() != 0
                    starts_anew(running)
                elif role == "idle workers":  # one of them held the queue's lock
                    assert running.wait() == 1
                    assert not machinery.checks()[0].is_well
                    starts_anew(running)
                goes_on(running)
                assert not mei.is_charged()
                others.close()
                supervised(running, lambda: server.accepted, what="the mail")
                goes_on(running)
                supervised(
                    running, lambda: NotificationLog.objects.get().state == State.SENT, what="the answer's commit"
                )
        mei.assert_charged_and_told_once(server)

    def test_of_the_monitor_is_seen_by_results_that_nobody_keeps(self) -> None:
        with busy_schedule(), cluster(patience=PATIENCE) as running:
            wait_for_the_canary()
            kill(running.who_is("monitor")[0])
            wait_for_the_canary()
            before = OrmQ.objects.count()
            wait_until(
                lambda: running.status is not None or OrmQ.objects.count() < before,
                what="results that are kept, or the cluster's end",
            )
            assert running.status in {None, 1}


class TestAWorkerThatIsHandingOverAMail:
    def test_ends_that_first_when_it_is_orphaned(self, mei: Mei, server: MailServer) -> None:
        hold = server.hold(At.REPLY)
        with busy_schedule(), cluster() as running:
            assert hold.reached.wait(60)
            workers = running.who_is("worker")
            running.send(signal.SIGKILL)
            wait_until(lambda: len(running.is_left()) == 1, what="the end of all others")
            assert set(running.is_left()) < set(workers)
            hold.release.set()
            wait_until(lambda: not running.is_left(), what="its own end")
        mei.assert_charged_and_told_once(server)

    def test_ends_that_first_when_the_cluster_is_to_stop(self, mei: Mei, server: MailServer) -> None:
        hold = server.hold(At.REPLY)
        with busy_schedule(), cluster(stop_within=0.3) as running:
            assert hold.reached.wait(60)
            running.send(signal.SIGTERM)
            time.sleep(1)  # longer than all others have
            assert running.status is None
            hold.release.set()
            assert running.wait() == 0
            wait_until(lambda: not running.is_left(), what="the end of all orphans")
        mei.assert_charged_and_told_once(server)


class TestAStop:
    def test_takes_a_moment_and_leaves_nobody(self, mei: Mei, server: MailServer) -> None:
        with busy_schedule(), cluster(stop_within=60) as running, locked_balances(mei.customer.pk):
            wait_until(who_bills, what="a billing run")
            began = time.monotonic()
            running.send(signal.SIGTERM)
            assert running.wait() == 0
            assert time.monotonic() - began < 30
            assert "ending what is left" not in running.said()
            wait_until(lambda: not running.is_left(), what="the end of all orphans")

    def test_is_forced_within_the_bound_where_a_killed_worker_holds_the_queue_s_lock(self) -> None:
        with busy_schedule() as schedule, cluster(stop_within=1) as running:
            wait_for_the_canary()
            with schedule.paused():
                running.kill_idle_workers()
                running.send(signal.SIGTERM)
                assert running.wait() == 0
            assert "ending what is left" in running.said()
            wait_until(lambda: not running.is_left(), what="the end of all orphans")


class TestTheWatchdog:
    def test_is_patient_while_the_database_is_away(self) -> None:
        with busy_schedule(), cluster(patience=4) as running:
            wait_for_the_canary()
            with away_database():
                time.sleep(6)
                assert running.status is None
                assert "beyond help" not in running.said()

    def test_is_patient_with_workers_that_are_busy(self) -> None:
        for _ in range(2):
            async_task("time.sleep", 30)
        with cluster(patience=4) as running:
            wait_until(lambda: running.said().count(" processing ") == 2, what="both at work")
            time.sleep(5)
            assert running.status is None

    def test_ends_a_cluster_that_nobody_gives_any_work(self) -> None:
        with cluster(patience=1, is_up=False) as running:
            assert running.wait() == 1
            wait_until(lambda: not running.is_left(), what="the end of all orphans")
        (repair,) = Repair.objects.all()
        assert repair.part == "queue"
        assert "it has done nothing for" in repair.what


@contextmanager
def away_database() -> Iterator[None]:
    """Nobody gets into the test's database as long as the block runs."""
    name = connection.settings_dict["NAME"]
    close = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(database_url().rpartition("/")[0] + "/postgres", autocommit=True) as other:
        other.execute(close.format(sql.Identifier(name), sql.SQL("false")))
        try:
            connection.close()
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            other.execute(close.format(sql.Identifier(name), sql.SQL("true")))
