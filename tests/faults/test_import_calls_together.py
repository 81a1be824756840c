"""Several imports at once, and imports that are killed: every record gets in exactly once all the same."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from billing.halting import halt
from billing.imports import calls
from billing.models import (
    ArrivalBatch,
    CallRecord,
    Customer,
    Delivery,
    Process,
    QuarantinedCall,
    Source,
    UnparsableLine,
)
from tests.billing.call_files import ivy_call, ivy_file
from tests.factories import make_customer, make_source
from tests.faults.processes import Running, another_connection, run, start, wait_for_the_dead, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

# Who waits for the lock in this database: others have one that is called the same.
WAITING = """
SELECT pid FROM pg_locks WHERE classid = %s AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def pbx() -> Source:
    return make_source(name="pbx-north")


@pytest.fixture
def lindqvist() -> Customer:
    return make_customer(account="10001", name="Café Lindqvist")


def at_once(*imports: Callable[[], calls.CallImport]) -> list[calls.CallImport]:
    """Run each in a thread with a connection of its own."""

    def one(work: Callable[[], calls.CallImport]) -> calls.CallImport:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(imports)) as pool:
        return list(pool.map(one, imports))


class TestTwoImportsAtOnce:
    def test_take_a_file_in_once(
        self, pbx: Source, lindqvist: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls, "RECORDS_AT_A_TIME", 40)
        file = tmp_path / "calls.csv"
        file.write_bytes(ivy_file(*[ivy_call() for _ in range(800)]) + b"garbage\n")

        def work() -> calls.CallImport:
            with file.open("rb") as stream:
                return calls.take_in(calls.read(stream, source=pbx), source=pbx, file_name=file.name)

        results = at_once(work, work, work)

        assert [result.read for result in results] == [801, 801, 801]
        assert sum(result.accepted for result in results) == 800
        assert sum(result.duplicate for result in results) == 2 * 801
        assert (CallRecord.objects.count(), UnparsableLine.objects.count()) == (800, 1)
        assert QuarantinedCall.objects.count() == 0

    def test_of_differing_records_accept_one_of_each_id(
        self, pbx: Source, lindqvist: Customer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls, "RECORDS_AT_A_TIME", 40)
        ids = [f"leg-{number}" for number in range(400)]
        files = {}
        for billsec in ("60", "61"):
            files[billsec] = tmp_path / f"{billsec}.csv"
            files[billsec].write_bytes(ivy_file(*[ivy_call(call_id=call_id, billsec=billsec) for call_id in ids]))

        def work(file: Path) -> calls.CallImport:
            with file.open("rb") as stream:
                return calls.take_in(calls.read(stream, source=pbx), source=pbx, file_name=file.name)

        results = at_once(*[lambda file=file: work(file) for file in files.values()])  # type: ignore[misc]

        assert sum(result.accepted for result in results) == 400
        assert sum(result.quarantined for result in results) == 400
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(DISTINCT call_key) FROM billing_pendingcall")
            assert cursor.fetchone() == (400, 400)

    def test_wait_for_each_other_chunk_by_chunk(self, pbx: Source, lindqvist: Customer, tmp_path: Path) -> None:
        """Also for one that has not committed yet: what it holds is not accepted again."""
        file = tmp_path / "calls.csv"
        file.write_bytes(ivy_file(ivy_call(call_id="leg-a")))
        with another_connection() as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s, 0)", [calls.IMPORT_LOCK])
            process = start("import_calls", str(file), "--source", "pbx-north", "--json")
            with another_connection() as watcher:
                wait_until(lambda: watcher.execute(WAITING, [calls.IMPORT_LOCK]).fetchone(), what="waiting")
                assert watcher.execute("SELECT count(*) FROM billing_callrecord").fetchone() == (0,)
        process.communicate(timeout=60)
        assert CallRecord.objects.count() == 1


class TestAnImport:
    def test_that_is_killed_again_and_again_gets_all_in_once(
        self, pbx: Source, lindqvist: Customer, tmp_path: Path
    ) -> None:
        chance = random.Random(20191123)
        count = 4 * calls.RECORDS_AT_A_TIME + 1_000
        file = tmp_path / "calls.csv"
        file.write_bytes(ivy_file(*[ivy_call() for _ in range(count)]) + b"garbage\n")
        for _ in range(3):
            process = start("import_calls", str(file), "--source", "pbx-north", "--json")
            self.wait_for_a_chunk_and_a_bit(process, bit_seconds=chance.uniform(0, 0.5))
            process.kill()
            process.communicate()
        wait_for_the_dead()
        left_behind = Delivery.objects.filter(finished_at__isnull=True)
        assert left_behind.exists()
        for delivery in left_behind:
            assert sum(batch.call_count for batch in delivery.batches.all()) == delivery.accepted_count
        stored_count = CallRecord.objects.count()
        assert stored_count % calls.RECORDS_AT_A_TIME == 0 or stored_count == count

        status, answer = run("import_calls", str(file), "--source", "pbx-north")

        assert (status, answer["read"]) == (0, count + 1)
        assert answer["accepted"] == count - stored_count
        assert CallRecord.objects.count() == count
        assert sum(ArrivalBatch.objects.values_list("call_count", flat=True)) == count
        status, answer = run("import_calls", str(file), "--source", "pbx-north")
        assert (status, answer["duplicate"]) == (0, count + 1)

    def wait_for_a_chunk_and_a_bit(self, process: Running, *, bit_seconds: float) -> None:
        enough = CallRecord.objects.count() + 1
        with another_connection() as other:

            def there_are_enough() -> bool:
                stored = other.execute("SELECT count(*) FROM billing_callrecord").fetchone()
                return stored is not None and stored[0] >= enough

            wait_until(lambda: there_are_enough() or process.poll() is not None, seconds=120, what="a chunk")
        time.sleep(bit_seconds)  # into the next chunk, wherever that is

    def test_goes_on_while_calls_are_halted(self, pbx: Source, lindqvist: Customer, tmp_path: Path) -> None:
        halt(Process.CALLS, reason="The new deck charges mobiles as landlines.", by="astrid.holm@example.com")
        file = tmp_path / "calls.csv"
        file.write_bytes(ivy_file(ivy_call()))
        status, answer = run("import_calls", str(file), "--source", "pbx-north")
        assert (status, answer["accepted"]) == (0, 1)

    def test_that_loses_its_database_says_so(self, pbx: Source, lindqvist: Customer, tmp_path: Path) -> None:
        file = tmp_path / "calls.csv"
        file.write_bytes(ivy_file(ivy_call()))
        with another_connection() as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s, 0)", [calls.IMPORT_LOCK])
            process = start("import_calls", str(file), "--source", "pbx-north")
            with another_connection() as watcher:
                wait_until(lambda: watcher.execute(WAITING, [calls.IMPORT_LOCK]).fetchone(), what="waiting")
                watcher.execute(
                    f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) waiting",  # type: ignore[arg-type]
                    [calls.IMPORT_LOCK],
                )
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "The database does not answer" in err
        assert "Traceback" not in err
        assert run("import_calls", str(file), "--source", "pbx-north")[1]["accepted"] == 1
