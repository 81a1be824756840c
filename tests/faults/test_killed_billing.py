"""`kill -9` at any point, a frozen worker that wakes too late, two at once: every call is charged once all the same."""

import random
import signal

import pytest
from django.db import connection

from benchmarks import worlds
from billing.models import BillingRun, LedgerEntry
from tests.faults.processes import Running, another_connection, finish, run, start, wait_until, warm_up

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = 50_000
AT_A_TIME = 400
SLICED = ("run_billing", f"--calls-at-a-time={AT_A_TIME}", "--json")


@pytest.fixture
def world() -> None:
    warm_up()
    worlds.build(customers=5_000, prefixes=3_000)
    worlds.add_calls(CALLS)


@pytest.fixture
def small_world() -> None:
    warm_up()
    worlds.build(customers=2_000, prefixes=1_000)
    worlds.add_calls(20_000, batch_size=5_000)


def scalar(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        (value,) = cursor.fetchone()
    return int(value)


def assert_all_charged_once(calls: int) -> None:
    assert scalar("SELECT count(*) FROM billing_ledgerentry") == calls
    assert scalar("SELECT count(DISTINCT key) FROM billing_ledgerentry") == calls
    assert scalar("SELECT count(*) FROM billing_arrivalbatch WHERE closed_at IS NULL") == 0
    assert scalar("SELECT count(*) FROM billing_pendingcall") == 0
    with another_connection() as other:
        other.execute("ANALYZE")  # as autovacuum does within a minute: no plan is to depend on earlier tests
    status, answer = run("reconcile")
    assert (status, answer["ok"], answer["drift"]) == (0, True, [])


class TestKilledBilling:
    def test_charges_every_call_once_in_the_end(self, world: None) -> None:
        chance = random.Random(20191123)
        kills = 0
        while kills < 20:
            process = start(*SLICED)
            self.wait_for_chunks(chance.randint(1, 4), process)
            assert process.poll() is None, f"billing ended by itself before kill {kills + 1}: {process.communicate()}"
            process.kill()
            process.communicate()
            kills += 1
        assert 20 * AT_A_TIME <= LedgerEntry.objects.count() < CALLS

        status, answer = run(*SLICED[:2])

        assert (status, answer["state"]) == (0, "done")
        assert BillingRun.objects.filter(state="failed").count() == 20
        assert_all_charged_once(CALLS)

    def wait_for_chunks(self, chunks: int, process: Running) -> None:
        enough = LedgerEntry.objects.count() + AT_A_TIME * chunks
        with another_connection() as other:

            def there_are_enough() -> bool:
                entries = other.execute("SELECT count(*) FROM billing_ledgerentry").fetchone()
                return entries is not None and entries[0] >= enough

            wait_until(lambda: there_are_enough() or process.poll() is not None, what="some chunks")


class TestFrozenWorker:
    def test_commits_nothing_once_it_was_replaced(self, small_world: None) -> None:
        frozen = start("run_billing", "--calls-at-a-time=500", "--json")
        with another_connection() as other:
            wait_until(lambda: other.execute("SELECT count(*) FROM billing_ledgerentry").fetchone()[0] > 0)
            frozen.send_signal(signal.SIGSTOP)
            other.execute("UPDATE billing_billingworker SET heartbeat_at = heartbeat_at - interval '11 seconds'")

            status, answer = run("run_billing", "--calls-at-a-time=500")
            while answer["state"] == "partial":  # the frozen one held some customers until its connection was ended
                status, answer = run("run_billing", "--calls-at-a-time=500")
            assert (status, answer["state"]) == (0, "done")
            entries = other.execute("SELECT count(*), max(id) FROM billing_ledgerentry").fetchone()

            frozen.send_signal(signal.SIGCONT)
            finish(frozen)
            assert other.execute("SELECT count(*), max(id) FROM billing_ledgerentry").fetchone() == entries
        assert_all_charged_once(20_000)


class TestSecondBilling:
    def test_is_told_that_one_is_busy(self, small_world: None) -> None:
        first = start("run_billing", "--calls-at-a-time=200", "--json")
        with another_connection() as other:
            wait_until(lambda: other.execute("SELECT count(*) FROM billing_ledgerentry").fetchone()[0] > 0)

        status, answer = run("run_billing")

        assert (status, answer["state"]) == (3, "busy")
        assert finish(first)[0] == 0
        assert_all_charged_once(20_000)

    def test_works_on_the_same_run_when_it_joins(self, small_world: None) -> None:
        both = [start("run_billing", "--join", "--calls-at-a-time=100", "--json") for _ in range(2)]

        answers = [finish(one) for one in both]

        assert [status for status, _ in answers] == [0, 0]
        assert BillingRun.objects.filter(calls_billed__gt=0).count() == 1
        with connection.cursor() as cursor:
            cursor.execute("SELECT run_id, count(*) FROM billing_billingworker GROUP BY run_id")
            assert max(workers for _, workers in cursor.fetchall()) == 2
        assert_all_charged_once(20_000)

    def test_takes_over_at_once_when_the_process_of_the_first_is_gone(self, small_world: None) -> None:
        first = start("run_billing", "--calls-at-a-time=200", "--json")
        with another_connection() as other:
            wait_until(lambda: other.execute("SELECT count(*) FROM billing_ledgerentry").fetchone()[0] > 0)
        first.kill()
        first.communicate()

        status, answer = run("run_billing")

        assert (status, answer["state"]) == (0, "done")
        assert_all_charged_once(20_000)

    def test_helpers_of_the_command_share_the_work(self, small_world: None) -> None:
        status, answer = run("run_billing", "--workers=2", "--calls-at-a-time=200")

        assert (status, answer["calls_billed"]) == (0, 20_000)
        assert_all_charged_once(20_000)
