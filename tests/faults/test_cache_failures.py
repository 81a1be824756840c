"""Redis fails in every known way, for real: nobody notices but staff, and it heals without anything started anew."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection
from django.db.models import F

from billing.models import EntryKind, Episode, ItemKind, LedgerEntry
from ivy import cache, health, probing, tasks
from ivy.cache import Kind
from ivy.models import CacheFailure, Probe, Role
from ivy.probes import cache as cache_probe
from notifications.models import BreakerLimits
from tests.billing.at_once import real_commits
from tests.factories import make_alert, make_customer, make_item, make_partner
from tests.faults.mailserver import MailServer, free_port, mail_server
from tests.faults.processes import another_connection, database_url, wait_until
from tests.faults.redis_server import FAILURES, RedisServer, redis_server

CHECKOUT = Path(__file__).resolve().parents[2]
ANSWER = 42
MOST_SECONDS_LOST = 10.0  # on a busy machine; a second and a half elsewhere, and a minute where each use pays

pytestmark = real_commits


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as one:
        yield one


@pytest.fixture(autouse=True)
def _ivy_uses_it(server: RedisServer, settings: Any) -> Iterator[None]:
    settings.CACHES = {**settings.CACHES, "redis": {**settings.CACHES["redis"], "LOCATION": server.url}}
    cache._forget()
    yield
    cache._forget()


def use_it_often() -> set[int]:
    """What a pass full of sums would do: twenty, each looked for, made and kept."""
    return {cache.get_or_make(f"sum-{number}", lambda: ANSWER, seconds=60) for number in range(20)}


def counted() -> dict[str, int]:
    probing.write_failures()
    return dict(CacheFailure.objects.values_list("kind", "count"))


def hears_a_stop(web_worker: int) -> bool:
    """Whether the worker of gunicorn is past its fork: until it has handlers of its own, it loses a signal."""
    status = Path(f"/proc/{web_worker}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGABRT - 1) & 1)  # the last that it sets, and none that the main process has


def works() -> bool:
    """Whether the cache keeps what it is given, in this process and as it is now."""
    cache.set("sign", "of life", seconds=60)
    return cache.get("sign") == "of life"


@pytest.mark.parametrize("kind", FAILURES)
class TestACacheThatFails:
    def test_costs_one_time_out_and_nothing_else_and_heals(
        self, server: RedisServer, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache, "SKIP_SECONDS", 600)  # however long it takes to mend the server
        assert works()
        with FAILURES[kind](server):
            began = time.monotonic()
            assert use_it_often() == {ANSWER}
            assert use_it_often() == {ANSWER}
            lost = time.monotonic() - began
            assert cache.is_skipped()
            assert counted() == {kind.value: 1}
            assert (found := cache_probe.look()).kind == kind.value, found
            assert not found.is_well
        assert cache.is_skipped()
        assert lost < MOST_SECONDS_LOST
        assert cache_probe.look().is_well
        assert not cache.is_skipped()
        assert works()
        assert counted() == {kind.value: 2}

    def test_is_tried_again_by_itself_when_nobody_probes(
        self, server: RedisServer, kind: Kind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache, "SKIP_SECONDS", 0.05)
        with FAILURES[kind](server):
            cache.set("sign", "nobody keeps this", seconds=60)
        wait_until(works)


@pytest.mark.django_db(
    transaction=True,  # as `real_commits`, and with whom alarms are mailed to
    available_apps=[
        *("billing", "notifications", "ivy", "ivy.accounts"),
        *("django.contrib.auth", "django.contrib.contenttypes"),
    ],
)
@pytest.mark.parametrize("kind", FAILURES)
class TestBillingAndTelling:
    @pytest.fixture
    def mails(self, settings: Any) -> Iterator[MailServer]:
        with mail_server(port=free_port()) as mails:
            settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
            settings.EMAIL_HOST, settings.EMAIL_PORT, settings.MAIL_SECONDS = "127.0.0.1", mails.port, 60.0
            yield mails

    @pytest.fixture
    def looking(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """As in a queue worker."""
        monkeypatch.setattr(probing, "LEAST_SECONDS_BETWEEN_LOOKS", 0.05)
        monkeypatch.setattr(probing, "STOP_SECONDS", 60)
        probing.start(Role.WORKER)
        yield
        probing.stop()

    @pytest.mark.usefixtures("looking")
    def test_go_on_as_without_it(self, server: RedisServer, mails: MailServer, kind: Kind) -> None:
        BreakerLimits.objects.create(pk=1, mails_an_hour=1000, customers_a_pass=1000, mails_a_recipient_a_day=100)
        without = self.a_cycle(mails, "before")
        with FAILURES[kind](server):
            probing.look_now()
            wait_until(lambda: self.told_kind() == kind.value, what=f"{kind} in the table of probes")
            with_it = self.a_cycle(mails, "during")
        assert with_it - without < MOST_SECONDS_LOST
        probing.look_now()
        wait_until(lambda: self.told_kind() == "", what="the end of it in the table of probes")
        assert counted()[kind.value] >= 1

    def a_cycle(self, mails: MailServer, name: str) -> float:
        """Two customers fall by an item that is charged; who was charged and told what, and the seconds it took."""
        partner = make_partner(slug=f"{name}-quay", name="Quayside", sender="billing@quayside.example")
        addresses = [f"{name}-{who}@example.net" for who in ("astrid", "bruno")]
        for address in addresses:
            customer = make_customer(partner=partner, email=address, name=address, balance=20)
            make_alert(customer=customer, threshold=Decimal(10))
            make_item(customer=customer, amount=Decimal(15), kind=ItemKind.ONE_OFF, reference=f"setup-{address}")
        began = time.monotonic()
        tasks.billing_cycle()
        seconds = time.monotonic() - began
        tasks.billing_cycle()
        charged = LedgerEntry.objects.filter(customer__partner=partner, kind=EntryKind.ONE_OFF)
        assert [entry.amount for entry in charged] == [Decimal(-15), Decimal(-15)]
        assert Episode.objects.filter(alert__customer__partner=partner).count() == 2
        told = sorted(mail.to for mail in mails.accepted if mail.to.startswith(name))
        assert told == addresses
        return seconds

    def told_kind(self) -> str | None:
        row = Probe.objects.filter(part="cache", pid=os.getpid()).first()
        return row and ("" if row.is_well else row.kind)


class TestStatus:
    def test_is_honest_and_quick_while_the_cache_is_frozen(self, server: RedisServer) -> None:
        began = time.monotonic()
        health.parts()
        usual = time.monotonic() - began
        with FAILURES[Kind.FROZEN](server):
            began = time.monotonic()
            (found,) = [part for part in health.parts() if part.part == "cache"]
            assert time.monotonic() - began - usual < MOST_SECONDS_LOST
        assert not found.ok
        assert found.detail.startswith("frozen: ")


class TestWhatIsNoFailure:
    def test_connections_that_were_killed_are_made_anew(self, server: RedisServer) -> None:
        assert works()
        server.drop_clients()
        assert works()
        server.drop_clients()
        assert cache_probe.look().is_well
        assert counted() == {}

    def test_a_restart_while_idle_is_noticed_by_what_is_gone(self, server: RedisServer) -> None:
        assert works()
        probing.look(Role.WORKER)
        assert not Probe.objects.filter(part="cache-server", is_well=False)
        server.restart()
        assert cache.get("sign") is None
        assert works()
        probing.look(Role.WORKER)
        probing.look(Role.WORKER)
        assert counted() == {}
        (told,) = [check for check in health.checks() if check.key == "cache-server"]
        assert "started anew" in told.wrong
        Probe.objects.filter(part="cache-server").update(since=F("since") - timedelta(minutes=31))
        probing.look(Role.WORKER)
        assert all(check.is_well for check in health.checks() if check.key == "cache-server")

    def test_a_server_that_throws_away_is_told(self, server: RedisServer) -> None:
        probing.look(Role.WORKER)
        server.set(maxmemory_policy="allkeys-lru")
        try:
            with server.client() as client:
                client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
                for number in range(200):
                    client.set(f"large-{number}", "x" * 10_000)
                probing.look(Role.WORKER)
        finally:
            server.set(maxmemory="0", maxmemory_policy="noeviction")
        odd = Probe.objects.get(part="cache-server")
        assert (odd.is_well, odd.kind) == (False, "evicts")
        assert "allkeys-lru" in odd.words

    def test_a_pool_that_is_used_up_is_its_own_trouble(self) -> None:
        pool = cache.raw_client().connection_pool
        taken = [pool.get_connection() for _ in range(pool.max_connections)]
        try:
            cache.set("sign", "of life", seconds=60)
        finally:
            for connection_taken in taken:
                pool.release(connection_taken)
        assert counted() == {Kind.POOL.value: 1}
        assert cache_probe.look().is_well
        assert works()


class TestEachProcess:
    """Real processes, which look by themselves, and are told from those that are gone."""

    @pytest.fixture
    def environment(self, server: RedisServer) -> dict[str, str]:
        return {**os.environ, "DATABASE_URL": database_url(), "CACHE_URL": server.url, "EMAIL_URL": "consolemail://"}

    def start(self, environment: dict[str, str], *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *command], cwd=CHECKOUT, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def looking(self, role: Role) -> set[int]:
        return set(Probe.objects.filter(part="cache", role=role, is_well=True).values_list("pid", flat=True))

    @pytest.mark.parametrize("preloads", [False, True])
    def test_of_the_web_server_looks_and_is_forgotten_when_killed(
        self, environment: dict[str, str], preloads: bool
    ) -> None:
        gunicorn = ["-m", "gunicorn", "ivy.wsgi", "--bind=127.0.0.1:0", "--workers=2", "--no-control-socket"]
        web = self.start(environment, *gunicorn, *(["--preload"] if preloads else []))
        try:
            wait_until(
                lambda: len(self.children(web) & self.looking(Role.WEB)) == 2, seconds=60, what="both web processes"
            )
            killed = min(self.children(web))
            os.kill(killed, signal.SIGKILL)
            # Counted without the dead, who is a child until gunicorn takes note, and looks until somebody else does. To
            # stop while the other begins would lose the signal to it, and gunicorn would wait half a minute for it.
            wait_until(
                lambda: len((self.children(web) & self.looking(Role.WEB)) - {killed}) == 2, what="another in its place"
            )
            wait_until(lambda: killed not in self.looking(Role.WEB), what="its row's end")
            wait_until(lambda: all(hears_a_stop(pid) for pid in self.children(web)), what="workers that hear a stop")
        finally:
            web.terminate()
            web.wait(60)
        assert self.looking(Role.WEB) == set()

    def test_of_the_queue_looks_and_leaves(self, environment: dict[str, str]) -> None:
        queue = self.start(environment, "manage.py", "qcluster")
        try:
            wait_until(lambda: len(self.looking(Role.WORKER)) == 2, what="both queue workers")
        finally:
            queue.terminate()
            queue.wait(60)
        assert self.looking(Role.WORKER) == set()

    def test_survives_a_database_that_closes_its_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("SECONDS_BETWEEN_LOOKS", "SECONDS_BETWEEN_LOOKS_AT_TROUBLE", "LEAST_SECONDS_BETWEEN_LOOKS"):
            monkeypatch.setattr(probing, name, 0.01)
        monkeypatch.setattr(probing, "STOP_SECONDS", 60)
        probing.start(Role.TICK)
        try:
            for _ in range(3):
                wait_until(lambda: self.looking(Role.TICK) == {os.getpid()}, what="a look")
                with another_connection() as other:
                    for _ in range(20):
                        other.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                            [self.own_backend()],
                        )
                Probe.objects.all().delete()
        finally:
            probing.stop()
        assert self.looking(Role.TICK) == set()

    def children(self, process: subprocess.Popen[bytes]) -> set[int]:
        return {child.pid for child in psutil.Process(process.pid).children()}

    def own_backend(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])
