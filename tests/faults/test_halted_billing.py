"""`halt` while workers are at it, one of them frozen inside a chunk: after it returned nothing is charged any more."""

import signal
import time
from pathlib import Path

import pytest
from django.db import connection

from benchmarks import worlds
from billing.models import Customer
from tests.faults.processes import another_connection, finish, run, start, wait_until, warm_up

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.alone]  # it measures how long a halt takes

CALLS = 20_000
SECONDS_ALLOWED = 20  # on a busy machine; a halt takes a fraction of a second, or three beside a frozen worker
WORKER = ("run_billing", "--join", "--calls-at-a-time=200", "--json")


@pytest.fixture
def world() -> None:
    warm_up()
    worlds.build(customers=2_000, prefixes=1_000)
    worlds.add_calls(CALLS, batch_size=10_000)


def charges(other: object) -> int:
    return other.execute("SELECT count(*) FROM billing_ledgerentry WHERE kind = 'call'").fetchone()[0]  # type: ignore[attr-defined,no-any-return]


class TestHaltedBilling:
    @pytest.mark.parametrize("is_frozen", [False, True])
    def test_charges_nothing_any_more(self, world: None, tmp_path: Path, is_frozen: bool) -> None:
        workers = [start(*WORKER) for _ in range(2)]
        with another_connection() as other:
            wait_until(lambda: charges(other) > 1_000, what="two busy workers")
            if is_frozen:
                self.freeze_inside_a_chunk(workers[0].pid, other)

            halting = start("halt", "billing", "--reason", "calls are charged twice", "--json")
            wait_until(lambda: other.execute("SELECT count(*) FROM billing_processswitch").fetchone()[0] == 2)
            began = time.monotonic()
            status, answer = finish(halting)
            took = time.monotonic() - began
            charged = charges(other)

            assert status == 0
            assert {process["state"] for process in answer["processes"]} == {"halted"}
            assert took < SECONDS_ALLOWED
            assert charged < CALLS
            if is_frozen:
                workers[0].send_signal(signal.SIGCONT)
            outcomes = [finish(worker) for worker in workers]
            time.sleep(1)
            assert charges(other) == charged, "something was charged after halt had returned"
        assert all(status in (1, 3) for status, _ in outcomes)

        self.still_accepts_calls_and_payments(tmp_path)
        assert run("run_billing")[0] == 3
        assert run("resume", "billing", "--reason", "understood")[0] == 0
        status, answer = run("run_billing")
        assert (status, answer["state"]) == (0, "done")
        with another_connection() as other:
            assert charges(other) == CALLS + 1
            other.execute("ANALYZE")  # as autovacuum does within a minute: no plan is to depend on earlier tests
        assert run("reconcile")[1]["drift"] == []

    def freeze_inside_a_chunk(self, pid: int, other: object) -> None:
        """Stop the process at a moment at which its connection holds the shared lock of a chunk."""
        import os

        def caught() -> bool:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.2)  # a statement under way comes to its end in the server
            held = other.execute(  # type: ignore[attr-defined]
                "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND a.state = 'idle in transaction'"
                " AND a.datname = current_database()"
            ).fetchone()[0]
            if not held:
                os.kill(pid, signal.SIGCONT)
            return bool(held)

        wait_until(caught, what="a worker frozen inside a chunk")

    def still_accepts_calls_and_payments(self, folder: Path) -> None:
        account = Customer.objects.order_by("pk")[0].account
        calls = folder / "calls.csv"
        calls.write_text(
            "call_id,account,direction,from_number,to_number,started_at,answered_at,ended_at,billsec,disposition\n"
            f"late-1,{account},outbound,442079460001,1234567,2026-03-05T10:00:00Z,2026-03-05T10:00:00Z,"
            "2026-03-05T10:01:00Z,60,answered\n"
        )
        payments = folder / "payments.csv"
        payments.write_text(f"reference,account,amount\nbank-1,{account},25.00\n")
        status, answer = run("import_calls", str(calls), "--source", "benchmark")
        assert (status, answer["accepted"]) == (0, 1)
        status, answer = run("import_payments", str(payments))
        assert (status, answer["created"]) == (0, 1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM billing_ledgerentry WHERE kind = 'payment'")
            assert cursor.fetchone()[0] == 1
