"""Runs and their workers: one run at a time, nothing by the dead, nothing lost with them; and how a run ends."""

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from billing import chunks, cycle, halting, runs
from billing.models import (
    BillingChunk,
    BillingRun,
    BillingWorker,
    CallRecord,
    ChunkState,
    Customer,
    FreeCall,
    LedgerEntry,
    Process,
    RunState,
    WorkerState,
)
from billing.runs import RunBusy, WorkerReplaced
from tests.billing.at_once import at_once, locked_balances, meanwhile, real_commits
from tests.factories import (
    MORNING,
    harbour,
    key_of,
    make_call,
    make_chunk,
    make_customer,
    make_item,
    make_partner,
    make_rate,
    make_run,
    make_worker,
    standard_deck,
)
from tests.faults.processes import another_connection, wait_until

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def begin(**options: Any) -> tuple[BillingRun, BillingWorker]:
    return runs.begin(**{"by": "Astrid Holm", "at": NOON, "processes": halting.BILLING} | options)


def run(**options: Any) -> BillingRun:
    return cycle.run_cycle(**{"by": "Astrid Holm", "at": NOON} | options)


def change(worker: BillingWorker, **fields: Any) -> None:
    BillingWorker.objects.filter(pk=worker.pk).update(**fields)


def make_charged_customer() -> Customer:
    """A customer whose calls to British mobiles have a price."""
    partner = harbour()
    if partner.rate_deck is None:
        partner.rate_deck = make_rate().deck
        partner.save()
    return make_customer(partner=partner)


def is_charged(call: CallRecord) -> bool:
    return LedgerEntry.objects.filter(key=key_of(call)).exists()


@contextmanager
def postgres_refusing(key: str) -> Iterator[None]:
    """Entries of this key fail in the database, whoever posts them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse_one_entry() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'the disk is odd about %', NEW.key USING ERRCODE = 'data_exception'; END $$;
            """
        )
        cursor.execute(
            "CREATE TRIGGER refuse_one_entry BEFORE INSERT ON billing_ledgerentry FOR EACH ROW"
            f" WHEN (NEW.key = '{key}') EXECUTE FUNCTION refuse_one_entry()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse_one_entry() CASCADE")


@pytest.mark.django_db
class TestBeginningARun:
    def test_makes_this_process_its_first_worker(self) -> None:
        started, worker = begin(max_periods=3, charges_long_overdue=True)

        assert (started.state, started.started_by, started.business_at) == ("running", "Astrid Holm", NOON)
        assert (started.processes, started.max_periods, started.charges_long_overdue) == (["calls", "items"], 3, True)
        assert worker.run == started
        assert worker.pid == os.getpid()
        assert worker.process_started.isdigit()

    def test_is_refused_while_another_is_under_way(self) -> None:
        begin(by="the schedule")
        for _ in range(2):
            with pytest.raises(RunBusy, match=r"is under way since .* UTC, started by the schedule"):
                begin()
        assert BillingRun.objects.count() == 1

    @pytest.mark.parametrize(
        ("worker", "because"),
        [
            ({"host": "worker-b.example.net", "silent": 11}, "on another host, not heard of for eleven seconds"),
            ({"pid": 2**22 + 1}, "on this host, and the process is gone"),
            ({"process_started": "1"}, "on this host, and its number belongs to a later process"),
        ],
    )
    def test_takes_over_from_workers_who_are_dead(self, worker: dict[str, Any], because: str) -> None:
        abandoned, dead = begin()
        change(dead, heartbeat_at=Now() - timedelta(seconds=worker.pop("silent", 0)), **worker)

        started, _ = begin()

        abandoned.refresh_from_db()
        dead.refresh_from_db()
        assert (abandoned.state, dead.state) == ("failed", "dead"), because
        assert abandoned.ended_because == "every process that worked on it was gone"
        assert abandoned.ended_at is not None
        assert started.state == "running"

    @pytest.mark.parametrize(
        ("worker", "because"),
        [
            ({"host": "worker-b.example.net", "pid": 2**22 + 1, "silent": 5}, "elsewhere: only its silence tells"),
            ({"silent": 5}, "on this host, and alive"),
        ],
    )
    def test_waits_for_workers_who_may_be_alive(self, worker: dict[str, Any], because: str) -> None:
        _, silent = begin()
        change(silent, heartbeat_at=Now() - timedelta(seconds=worker.pop("silent")), **worker)
        with pytest.raises(RunBusy):
            begin()
        silent.refresh_from_db()
        assert silent.state == "running", because

    def test_gives_up_a_process_of_this_host_that_has_hung(self) -> None:
        _, hung = begin()
        change(hung, heartbeat_at=Now() - timedelta(seconds=11))
        begin()
        hung.refresh_from_db()
        assert hung.state == "dead"

    def test_waits_while_one_of_several_workers_is_alive(self) -> None:
        started, dead = begin()
        runs.join()
        change(dead, host="worker-b.example.net", heartbeat_at=Now() - timedelta(minutes=1))
        with pytest.raises(RunBusy):
            begin()
        started.refresh_from_db()
        assert started.state == "running"


@real_commits
class TestSeveralWhoBeginAtOnce:
    def test_make_one_run(self) -> None:
        def try_to_begin() -> str:
            try:
                begin()
            except RunBusy:
                return "busy"
            return "begun"

        assert sorted(at_once(*[try_to_begin] * 4)) == ["begun", "busy", "busy", "busy"]
        assert BillingRun.objects.filter(state="running").count() == 1


@pytest.mark.django_db
class TestJoiningARun:
    def test_finds_none_when_none_is_under_way(self) -> None:
        make_run()
        assert runs.join() is None
        assert cycle.join_cycle() is None

    def test_adds_a_worker_with_a_token_of_its_own(self) -> None:
        started, first = begin()
        joined = runs.join()
        assert joined is not None
        assert joined[0] == started
        assert joined[1].token != first.token
        assert started.workers.count() == 2

    def test_helps_to_its_end(self) -> None:
        item = make_item()
        begun, first = begin()
        runs.sign_off(first)
        done = cycle.join_cycle()
        assert done == begun
        assert (done.state, done.item_charges) == ("done", 1)
        assert LedgerEntry.objects.get().run_id == begun.pk
        assert item.periods.count() == 1


@pytest.mark.django_db
class TestAWorker:
    def test_shows_by_its_beat_that_it_is_alive(self) -> None:
        _, worker = begin()
        change(worker, heartbeat_at=Now() - timedelta(seconds=9))
        for _ in range(2):
            runs.beat(worker)
        assert BillingWorker.objects.filter(heartbeat_at__gt=Now() - timedelta(seconds=5)).count() == 1

    @pytest.mark.parametrize(
        ("of_worker", "of_run", "because"),
        [
            ({"state": WorkerState.DEAD}, {}, "given up as dead"),
            ({"state": WorkerState.DONE}, {}, "signed off"),
            ({"token": "7c4f2b1e-0000-4000-8000-000000000007"}, {}, "its row is somebody else's now"),
            ({}, {"state": RunState.FAILED, "ended_at": NOON}, "the run has ended"),
        ],
    )
    def test_is_told_when_it_counts_no_more(
        self, of_worker: dict[str, Any], of_run: dict[str, Any], because: str
    ) -> None:
        begun, worker = begin()
        change(worker, **of_worker or {"pid": F("pid")})
        BillingRun.objects.filter(pk=begun.pk).update(**of_run or {"started_by": F("started_by")})
        for _ in range(2):
            with pytest.raises(WorkerReplaced):
                runs.beat(worker)

    def test_leaves_what_it_had_taken_when_it_signs_off(self) -> None:
        begun, worker = begin()
        make_chunk(run=begun)
        make_chunk(run=begun, state=ChunkState.DONE, worker=worker)
        assert chunks.claim(worker) is not None
        for _ in range(2):
            runs.sign_off(worker)
        worker.refresh_from_db()
        assert worker.state == "done"
        assert list(begun.chunks.order_by("pk").values_list("state", "worker")) == [
            ("open", None),
            ("done", worker.pk),
        ]

    def test_that_died_leaves_what_it_had_taken_to_the_others(self) -> None:
        begun, dead = begin()
        make_chunk(run=begun)
        claimed = chunks.claim(dead)
        change(dead, host="worker-b.example.net", heartbeat_at=Now() - timedelta(seconds=11))

        assert [runs.bury_the_dead(begun), runs.bury_the_dead(begun)] == [1, 0]

        joined = runs.join()
        assert joined is not None
        assert chunks.claim(joined[1]) == claimed


@real_commits
class TestAWorkerThatWasReplaced:
    def test_commits_nothing_of_the_chunk_it_had_in_hand(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "TRIES", 1_000)
        item = make_item()
        call = make_call(customer=make_charged_customer())
        with locked_balances(item.customer_id, call.customer_id), meanwhile(run) as frozen:  # type: ignore[arg-type]
            # It tries again and again, until somebody gives it up in between.
            wait_until(BillingChunk.objects.filter(tries__gt=0).exists, what="a chunk put back")
            wait_until(lambda: runs.give_up(BillingWorker.objects.get()), what="a moment between two beats")
        assert frozen.result().state == "running"
        assert not LedgerEntry.objects.exists()

        done = cycle.join_cycle()

        assert done is not None
        assert (done.state, done.item_charges, done.calls_billed) == ("done", 1, 1)
        assert LedgerEntry.objects.count() == 2

    def test_rolls_back_what_it_has_posted_by_then(self) -> None:
        item = make_item()
        begun, frozen = begin()
        cycle._plan(begun, frozen, cycle.ChunkSizes())
        chunk = chunks.claim(frozen)
        assert chunk is not None
        change(frozen, state=WorkerState.DEAD)

        with pytest.raises(WorkerReplaced):
            cycle._settle(chunk, frozen, None)

        item.refresh_from_db()
        begun.refresh_from_db()
        assert not LedgerEntry.objects.exists()
        assert (item.charged_through, begun.item_charges) == (None, 0)

    def test_takes_no_chunk_away_from_the_others(self) -> None:
        make_item()
        begun, frozen = begin()
        cycle._plan(begun, frozen, cycle.ChunkSizes())
        helper = runs.join()
        assert helper is not None
        change(frozen, host="worker-b.example.net", heartbeat_at=Now() - timedelta(seconds=11))
        runs.bury_the_dead(begun)

        assert chunks.claim(frozen) is None
        assert cycle._work(begun, frozen, cycle.ChunkSizes(), None).state == "running"

        assert begun.chunks.get().state == "open"
        done = cycle._work(*helper, cycle.ChunkSizes(), None)
        assert (done.state, done.item_charges) == ("done", 1)


@pytest.mark.django_db
class TestAChunk:
    def test_is_claimed_by_one_worker(self) -> None:
        begun, worker = begin()
        first, second = make_chunk(run=begun), make_chunk(run=begun)
        make_chunk(run=begun, state=ChunkState.LEFT)
        make_chunk()  # of another run
        joined = runs.join()
        assert joined is not None
        assert [chunks.claim(worker), chunks.claim(joined[1]), chunks.claim(worker)] == [first, second, None]
        assert chunks.is_anything_left(begun)

    def test_that_is_put_back_comes_last_and_is_left_after_some_tries(self) -> None:
        begun, worker = begin()
        make_chunk(run=begun)
        later = make_chunk(run=begun)
        outcomes = []
        while (chunk := chunks.claim(worker)) is not None:
            if chunk == later:
                outcomes.append("another")
                chunks.done(chunk)
            else:
                outcomes.append("put back" if chunks.put_back(chunk) else "left")
        assert outcomes == ["put back", "another", "put back", "put back", "left"]
        assert not chunks.is_anything_left(begun)
        assert list(begun.chunks.exclude(state="done").values_list("state", "tries")) == [("left", 3)]

    def test_is_cut_in_half_by_customers_and_then_by_records(self) -> None:
        begun = make_run()
        assert chunks.split(make_chunk(run=begun, first_customer=1, last_customer=3), None)
        assert self.open_ranges(begun) == [(1, 2, None, None), (3, 3, None, None)]
        assert chunks.split(begun.chunks.get(state="open", first_customer=3), (70, 72))
        assert self.open_ranges(begun) == [(1, 2, None, None), (3, 3, 70, 71), (3, 3, 72, 72)]
        assert not chunks.split(begun.chunks.get(first_record=72), None)
        assert self.open_ranges(begun) == [(1, 2, None, None), (3, 3, 70, 71)]
        assert begun.chunks.get(first_record=72).state == "left"

    def test_that_holds_nothing_any_more_is_left(self) -> None:
        chunk = make_chunk(first_customer=3, last_customer=3)
        assert not chunks.split(chunk, None)
        chunk.refresh_from_db()
        assert chunk.state == "left"

    def open_ranges(self, of: BillingRun) -> list[tuple[int, int, int | None, int | None]]:
        ranges = of.chunks.filter(state="open").order_by("first_customer", "first_record")
        return list(ranges.values_list("first_customer", "last_customer", "first_record", "last_record"))


@real_commits
class TestWorkersWhoClaimAtOnce:
    def test_share_the_chunks(self) -> None:
        begun, _ = begin()
        for _ in range(12):
            make_chunk(run=begun)

        def claim_all() -> list[int]:
            joined = runs.join()
            assert joined is not None
            mine = []
            while (chunk := chunks.claim(joined[1])) is not None:
                mine.append(chunk.pk)
            return mine

        claimed = at_once(*[claim_all] * 3)
        assert sorted(pk for mine in claimed for pk in mine) == sorted(begun.chunks.values_list("pk", flat=True))

    def test_charge_everything_once(self) -> None:
        customers = [make_charged_customer() for _ in range(6)]
        calls = [make_call(customer=customer) for customer in customers for _ in range(3)]
        items = [make_item(customer=customer) for customer in customers]
        sizes = cycle.ChunkSizes(calls=2, items=1)
        _, idle = begin()

        def work() -> BillingRun | None:
            return cycle.join_cycle(sizes=sizes)

        with meanwhile(lambda: runs.sign_off(idle)):
            ends = {done.state for done in at_once(*[work] * 3) if done is not None}

        assert ends == {"done"}
        assert LedgerEntry.objects.count() == len(calls) + len(items)


@pytest.mark.django_db
class TestACallThatPostgresRefuses:
    def test_is_noted_and_all_others_are_charged(self) -> None:
        customers = [make_charged_customer() for _ in range(4)]
        calls = [make_call(customer=customer) for customer in customers for _ in range(5)]
        broken = calls[7]

        with postgres_refusing(key_of(broken)):
            first = run()
            assert (first.state, first.calls_billed, first.amount) == ("partial", 19, {"GBP": "0.5700"})
            assert first.errors == [
                {"kind": "call", "key": key_of(broken), "error": f"the disk is odd about {key_of(broken)}"}
            ]
            assert first.chunks.get().state == "left"
            again = run()
            assert (again.state, again.calls_billed, len(again.errors)) == ("partial", 0, 1)
        assert [call for call in calls if not is_charged(call)] == [broken]
        assert not connection.needs_rollback

        assert run().state == "done"
        assert is_charged(broken)

    def test_is_found_among_the_calls_of_one_customer_cut_by_calls(self) -> None:
        lindqvist = make_charged_customer()
        calls = [make_call(customer=lindqvist) for _ in range(9)]
        with postgres_refusing(key_of(calls[4])):
            done = run(sizes=cycle.ChunkSizes(calls=4))
        assert [error["key"] for error in done.errors] == [key_of(calls[4])]
        assert [call for call in calls if not is_charged(call)] == [calls[4]]

    def test_keeps_its_batch_open(self) -> None:
        call = make_call(customer=make_charged_customer())
        with postgres_refusing(key_of(call)):
            run()
        call.batch.refresh_from_db()
        assert call.batch.closed_at is None
        run()
        call.batch.refresh_from_db()
        assert call.batch.closed_at is not None


@pytest.mark.django_db
class TestAnItemThatPostgresRefuses:
    def test_is_noted_and_all_others_are_charged(self) -> None:
        lindqvist = make_customer()
        items = [make_item(customer=lindqvist) for _ in range(5)] + [make_item() for _ in range(4)]
        key = f"item:{items[2].reference}:2026-03-01"
        with postgres_refusing(key):
            done = run()
        assert (done.state, done.item_charges) == ("partial", 8)
        assert [error["key"] for error in done.errors] == [items[2].reference]
        assert not LedgerEntry.objects.filter(key=key).exists()

    def test_is_called_an_item_as_in_every_other_error(self) -> None:
        item = make_item()
        make_item(starts_on=NOON.date() - timedelta(days=500))
        with postgres_refusing(f"item:{item.reference}:2026-03-01"):
            assert [error["kind"] for error in run().errors] == ["item", "item"]


@real_commits
class TestACustomerWhoseBalanceIsBeingChangedElsewhere:
    def test_is_skipped_and_charged_by_the_next_run(self) -> None:
        lindqvist, okafor = make_charged_customer(), make_charged_customer()
        calls = [make_call(customer=customer) for customer in (lindqvist, okafor)]
        make_item(customer=lindqvist)
        make_item(customer=okafor)

        with locked_balances(lindqvist.pk):
            done = run()
        assert (done.state, done.calls_billed, done.item_charges) == ("partial", 1, 1)
        assert [error["error"] for error in done.errors] == ["1 busy elsewhere: left for the next run"] * 2
        assert [is_charged(call) for call in calls] == [False, True]

        done = run()
        assert (done.state, done.calls_billed, done.item_charges, done.errors) == ("done", 1, 1, [])

    def test_is_charged_by_the_same_run_when_it_is_free_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "TRIES", 1_000)
        item = make_item()
        with ExitStack() as held:
            held.enter_context(locked_balances(item.customer_id))
            with meanwhile(run) as running:
                wait_until(BillingChunk.objects.filter(tries__gt=0).exists, what="a chunk put back")
                held.close()
        assert (running.result().state, running.result().item_charges) == ("done", 1)


@real_commits
class TestAWorkerThatWasFrozenInsideAChunk:
    @pytest.mark.parametrize("end", ["idle_in_transaction_session_timeout", "pg_terminate_backend"])
    def test_does_the_chunk_again_when_it_wakes(self, end: str) -> None:
        item = make_item()
        asleep = threading.Event()

        def fall_asleep(execute: Any, sql: str, *arguments: Any) -> Any:
            answer = execute(sql, *arguments)
            if "UPDATE billing_billingitem" in sql and not asleep.is_set():
                asleep.set()
                self.lose_the_connection(end)
            return answer

        def work() -> BillingRun:
            with connection.execute_wrapper(fall_asleep):
                return run()

        (done,) = at_once(work)
        assert asleep.is_set()
        assert (done.state, done.item_charges, done.errors) == ("done", 1, [])
        assert item.periods.count() == 1

    def lose_the_connection(self, end: str) -> None:
        with connection.cursor() as cursor:
            if end == "idle_in_transaction_session_timeout":
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 100")
                time.sleep(0.5)
            else:
                cursor.execute("SELECT pg_backend_pid()")
                with another_connection() as other:
                    other.execute("SELECT pg_terminate_backend(%s)", cursor.fetchone())


@pytest.mark.django_db
class TestCountingWhatARunDid:
    def test_adds_up_over_chunks_and_currencies(self) -> None:
        begun = make_run()
        for amount in ("0.0004", "0.9996"):
            runs.count(begun, runs.Tally(calls_billed=2, calls_free=1, amount={"GBP": Decimal(amount)}))
        runs.count(begun, runs.Tally(item_charges=3, one_off_charges=1, amount={"EUR": Decimal(-5)}))
        runs.count(begun, runs.Tally(calls_quarantined=4))
        begun.refresh_from_db()
        assert (begun.calls_billed, begun.calls_free, begun.calls_quarantined) == (4, 2, 4)
        assert (begun.item_charges, begun.one_off_charges) == (3, 1)
        assert runs.amounts(begun) == {"EUR": Decimal(-5), "GBP": Decimal("1.0000")}

    def test_keeps_a_thousand_different_errors(self) -> None:
        begun = make_run()
        runs.note_error(begun, kind="item", key="trunk-7", error="too dear")
        runs.note_error(begun, kind="item", key="trunk-7", error="too dear")
        begun.refresh_from_db()
        assert begun.errors == [{"kind": "item", "key": "trunk-7", "error": "too dear"}]
        BillingRun.objects.filter(pk=begun.pk).update(errors=[{"n": n} for n in range(999)])
        for n in range(3):
            runs.note_error(begun, kind="item", key=f"trunk-{n}", error="too dear")
        begun.refresh_from_db()
        assert len(begun.errors) == 1000

    def test_ends_a_run_once(self) -> None:
        begun, _ = begin()
        assert runs.finish(begun, state=RunState.DONE)
        assert not runs.finish(begun, state=RunState.FAILED, because="too late")
        begun.refresh_from_db()
        assert (begun.state, begun.ended_because) == ("done", "")


KEYS_OF_A_RUN = {
    "run",
    "state",
    "calls_billed",
    "calls_free",
    "calls_quarantined",
    "item_charges",
    "one_off_charges",
    "amount",
    "episodes_opened",
    "episodes_closed",
    "halted",
    "errors",
}


def run_billing(*options: str) -> tuple[int, dict[str, Any]]:
    """The command in this process, with `--json`: its exit status and its answer, which is all it prints."""
    out = io.StringIO()
    status = 0
    try:
        call_command("run_billing", f"--at={NOON.isoformat()}", "--json", *options, stdout=out)
    except SystemExit as end:
        status = int(str(end.code))
    answer = json.loads(out.getvalue())
    assert set(answer) == KEYS_OF_A_RUN
    return status, answer


@pytest.fixture
def due() -> None:
    """Something to charge for the customers of two partners."""
    for partner in (harbour(), make_partner(slug="fjord", name="Fjord", rate_deck=standard_deck())):
        customer = make_charged_customer() if partner.slug == "harbour" else make_customer(partner=partner)
        make_item(customer=customer, amount=Decimal("10.5"))
        make_call(customer=customer)


def halt(process: Process, partner: str | None = None) -> None:
    halting.halt(
        process,
        reason="The new deck is wrong.",
        by="Astrid Holm",
        partner=None if partner is None else harbour() if partner == "harbour" else make_partner(slug=partner),
    )


EVERYONE: tuple[str, ...] = ("calls", "items")
HALTS: list[tuple[str, list[tuple[Process, str | None]], list[str], int, str, int]] = [
    # why; halts of process and partner; options; exit status; state; charges of four
    ("nothing is halted", [], [], 0, "done", 4),
    ("calls are, for everyone: something asked for was refused", [(Process.CALLS, None)], [], 3, "partial", 2),
    ("both are", [(Process.CALLS, None), (Process.ITEMS, None)], [], 3, "halted", 0),
    ("calls are, and nothing else was asked for", [(Process.CALLS, None)], ["--only=calls"], 3, "halted", 0),
    ("calls are, and only items were asked for", [(Process.CALLS, None)], ["--only=items"], 0, "done", 2),
    ("one partner's calls are: the others' are charged", [(Process.CALLS, "harbour")], [], 0, "partial", 3),
    ("that partner's are", [(Process.CALLS, "harbour")], ["--partner=harbour"], 3, "partial", 1),
    (
        "all of that partner is",
        [(Process.CALLS, "harbour"), (Process.ITEMS, "harbour")],
        ["--partner=harbour"],
        3,
        "halted",
        0,
    ),
    ("another partner's are", [(Process.CALLS, "harbour")], ["--partner=fjord"], 0, "done", 2),
    ("notifications are: billing goes on", [(Process.NOTIFICATIONS, None)], [], 0, "done", 4),
]


@pytest.mark.django_db
class TestTheAnswerOfRunBilling:
    @pytest.mark.parametrize(
        ("halts", "options", "status", "state", "charges"), [pytest.param(*case[1:], id=case[0]) for case in HALTS]
    )
    def test_tells_what_was_halted(
        self,
        due: None,
        halts: list[tuple[Process, str | None]],
        options: list[str],
        status: int,
        state: str,
        charges: int,
    ) -> None:
        for process, partner in halts:
            halt(process, partner)
        for charged in (charges, 0):
            found, answer = run_billing(*options)
            assert (found, answer["state"]) == (status, state)
            assert answer["calls_billed"] + answer["item_charges"] == charged
            expected = [{"process": process.value, "partner": partner} for process, partner in halts]
            if state != "done":
                assert sorted(answer["halted"], key=str) == sorted(expected, key=str)
            else:
                assert answer["halted"] == []
            assert answer["errors"] == []

    def test_tells_what_was_charged(self, due: None) -> None:
        make_call(customer=None, is_answered=False, seconds=0)
        make_call(customer=make_charged_customer(), to_number="99")
        status, answer = run_billing()
        assert status == 0
        assert answer == {
            "run": BillingRun.objects.get().pk,
            "state": "done",
            "calls_billed": 2,
            "calls_free": 1,
            "calls_quarantined": 1,
            "item_charges": 2,
            "one_off_charges": 0,
            "amount": {"GBP": "21.06"},
            "episodes_opened": 2,  # the built-in alert: exhausted
            "episodes_closed": 0,
            "halted": [],
            "errors": [],
        }
        assert FreeCall.objects.count() == 1

    def test_is_1_when_something_failed_and_the_rest_is_charged(self, due: None) -> None:
        broken = make_item(starts_on=NOON.date() - timedelta(days=500))
        status, answer = run_billing()
        assert (status, answer["state"]) == (1, "partial")
        assert answer["item_charges"] == 2
        assert [set(error) for error in answer["errors"]] == [{"kind", "key", "error"}]
        assert answer["errors"][0]["key"] == broken.reference
        assert run_billing("--yes")[1]["item_charges"] == 17

    def test_is_1_when_something_failed_and_something_is_halted(self, due: None) -> None:
        make_item(starts_on=NOON.date() - timedelta(days=500))
        halt(Process.CALLS)
        status, answer = run_billing()
        assert (status, answer["state"], len(answer["halted"]), len(answer["errors"])) == (1, "partial", 1, 1)

    def test_is_3_while_another_run_is_under_way(self, due: None) -> None:
        other = make_run(state=RunState.RUNNING)
        make_worker(run=other)
        status, answer = run_billing()
        assert (status, answer["state"], answer["run"]) == (3, "busy", other.pk)
        assert not LedgerEntry.objects.exists()


@real_commits
class TestARunThatSomebodyElseEnded:
    def test_is_told_as_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunks, "TRIES", 1_000)
        item = make_item()

        def end_it() -> None:
            wait_until(BillingChunk.objects.filter(tries__gt=0).exists, what="a chunk put back")
            with another_connection() as other, other.transaction():
                other.execute("UPDATE billing_billingworker SET state = 'dead'")
                other.execute(
                    "UPDATE billing_billingrun SET state = 'failed', ended_at = now(), ended_because = 'gone'"
                )

        with locked_balances(item.customer_id), meanwhile(end_it):
            status, answer = run_billing()
        assert (status, answer["state"]) == (1, "failed")
        assert not LedgerEntry.objects.exists()
        assert run_billing()[1]["item_charges"] == 1


@pytest.mark.django_db
class TestTheSchedule:
    def test_runs_a_cycle_at_the_present_time(self) -> None:
        make_item(starts_on=datetime.now(UTC).date() - timedelta(days=2), interval="year")
        done = cycle.scheduled()
        assert done is not None
        assert (done.state, done.item_charges, done.started_by) == ("done", 1, "schedule")

    def test_leaves_the_work_to_the_run_that_is_under_way(self) -> None:
        make_worker(run=make_run(state=RunState.RUNNING))
        assert cycle.scheduled() is None


@pytest.mark.django_db
class TestTheTimeOfARun:
    def test_has_no_say_in_who_is_alive(self) -> None:
        """Heartbeats go by the database's clock, whatever business time a run acts at."""
        make_worker(run=make_run(state=RunState.RUNNING, business_at=MORNING - timedelta(days=900)))
        with pytest.raises(RunBusy):
            run(at=MORNING + timedelta(days=900))
