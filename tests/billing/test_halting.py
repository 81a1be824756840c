"""The barrier: when `halt` has returned, nothing of the process is in flight and nothing new begins. And back again.

Real commits and real connections throughout: within one transaction none of this could be seen.
"""

import io
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connection, transaction

from billing import halting
from billing.halting import ProcessHalted
from billing.models import (
    Customer,
    CustomerToJudge,
    HaltCause,
    LedgerEntry,
    Partner,
    Process,
    ProcessSwitch,
    SwitchHistory,
)
from tests.billing.at_once import meanwhile, real_commits
from tests.factories import harbour, make_customer, make_entry, make_partner, make_switch
from tests.faults.processes import another_connection, start, wait_until

WRONG_DECK = {"reason": "The new deck charges mobiles as landlines.", "by": "Astrid Holm"}
MENDED = {"reason": "The deck is mended.", "by": "Samuel Adeyemi"}


def works(process: Process, partner: Partner | None = None) -> bool:
    """Whether a new chunk of the process (of the partner's customers) is let through."""
    try:
        with halting.chunk(process, partner_id=partner.pk if partner else None):
            return True
    except ProcessHalted:
        return False


class Chunk:
    """A worker in the midst of a chunk: it has posted an entry, is busy or hangs, and commits when told to.

    The database ends the one that hangs after seconds; here it does not, so that on a slow machine, too, a halt does.
    """

    def __init__(self, process: Process, partner: Partner | None, customer: Customer, *, hangs: bool = False) -> None:
        self.process, self.partner, self.customer, self.hangs = process, partner, customer, hangs
        self._is_inside, self._may_leave = threading.Event(), threading.Event()

    def work(self) -> str:
        try:
            with halting.chunk(self.process, partner_id=self.partner.pk if self.partner else None):
                make_entry(customer=self.customer)
                if self.hangs:
                    with connection.cursor() as cursor:
                        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                self._is_inside.set()
                while not self._may_leave.wait(timeout=60 if self.hangs else 0.2):
                    CustomerToJudge.objects.exists()
        except ProcessHalted:
            return "halted"
        except (OperationalError, InterfaceError):
            return "ended"
        return "committed"

    def leave(self) -> None:
        self._may_leave.set()

    def wait_until_inside(self) -> None:
        assert self._is_inside.wait(timeout=60)


@contextmanager
def in_flight(
    process: Process, partner: Partner | None = None, *, hangs: bool = False
) -> Iterator[tuple[Chunk, Future[str]]]:
    """A chunk that is under way at least as long as the block runs; with what it will have come to."""
    chunk = Chunk(process, partner, make_customer(partner=partner or harbour()), hangs=hangs)
    with meanwhile(chunk.work) as outcome:
        chunk.wait_until_inside()
        try:
            yield chunk, outcome
        finally:
            chunk.leave()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is ended, and nobody gives up on a lock, while a slow machine gets as far as to let a chunk go."""
    monkeypatch.setattr(halting, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(halting, "CHUNK_LOCK_SECONDS", 60)
    monkeypatch.setattr(halting, "CHUNK_STATEMENT_SECONDS", 60)


def is_somebody_waiting() -> bool:
    """Whether a connection waits for an advisory lock: `halt` for the chunks, or a chunk behind it."""
    with another_connection() as other:
        (waiting,) = other.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone() or (0,)
    return bool(waiting)


@real_commits
class TestHalting:
    def test_lets_no_new_chunk_through(self) -> None:
        fjord = make_partner()
        assert works(Process.CALLS, fjord)

        halted = halting.halt(Process.CALLS, **WRONG_DECK)

        assert (halted.is_halted, halted.changed, halted.ended_backends) == (True, True, 0)
        assert not works(Process.CALLS, fjord)
        assert not works(Process.CALLS)
        assert works(Process.ITEMS, fjord)
        assert works(Process.NOTIFICATIONS)

    def test_again_changes_nothing(self) -> None:
        halting.halt(Process.CALLS, **WRONG_DECK)
        since = ProcessSwitch.objects.get().since

        again = halting.halt(Process.CALLS, reason="Somebody else's reason.", by="Samuel Adeyemi")

        assert (again.is_halted, again.changed) == (True, False)
        switch = ProcessSwitch.objects.get()
        assert (switch.since, switch.reason, switch.changed_by) == (since, *WRONG_DECK.values())
        assert SwitchHistory.objects.count() == 1

    def test_waits_for_the_chunk_in_flight(self, patient: None) -> None:
        with ExitStack() as stack:
            chunk, outcome = stack.enter_context(in_flight(Process.CALLS))
            halted = stack.enter_context(meanwhile(lambda: halting.halt(Process.CALLS, **WRONG_DECK)))
            wait_until(is_somebody_waiting, what="a halt that waits")
            assert ProcessSwitch.objects.get().is_halted  # committed before it waits
            assert not halted.done()
            chunk.leave()
            assert halted.result(timeout=60).ended_backends == 0
            assert outcome.result(timeout=60) == "committed"
        assert LedgerEntry.objects.count() == 1

    def test_holds_back_a_chunk_that_would_begin_while_it_waits(self, patient: None) -> None:
        with ExitStack() as stack:
            chunk, _ = stack.enter_context(in_flight(Process.CALLS))
            halted = stack.enter_context(meanwhile(lambda: halting.halt(Process.CALLS, **WRONG_DECK)))
            wait_until(is_somebody_waiting, what="a halt that waits")
            late = stack.enter_context(meanwhile(Chunk(Process.CALLS, None, chunk.customer).work))
            time.sleep(0.2)
            assert not late.done()
            chunk.leave()
            assert halted.result(timeout=60).is_halted
            assert late.result(timeout=60) == "halted"
        assert LedgerEntry.objects.count() == 1

    def test_ends_the_connection_of_a_chunk_that_hangs(self) -> None:
        with in_flight(Process.CALLS, hangs=True) as (chunk, outcome):
            began = time.monotonic()
            halted = halting.halt(Process.CALLS, **WRONG_DECK)
            assert time.monotonic() - began >= halting.PATIENCE_SECONDS
            assert halted.ended_backends == 1
            chunk.leave()
            assert outcome.result(timeout=60) == "ended"
        assert not LedgerEntry.objects.exists()

    def test_is_not_done_inside_a_transaction(self) -> None:
        with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
            halting.halt(Process.CALLS, **WRONG_DECK)
        assert not ProcessSwitch.objects.exists()


@real_commits
class TestHaltingOnePartner:
    def test_leaves_the_others_working(self) -> None:
        fjord = make_partner()
        halted = halting.halt(Process.CALLS, partner=harbour(), **WRONG_DECK)
        assert halted.partner == "harbour"
        assert [works(Process.CALLS, harbour()), works(Process.CALLS, fjord)] == [False, True]
        assert works(Process.CALLS), "calls that are nobody's"
        assert works(Process.ITEMS, harbour())

    def test_waits_for_its_chunks_and_for_no_others(self, patient: None) -> None:
        fjord = make_partner()
        with ExitStack() as stack:
            others, _ = stack.enter_context(in_flight(Process.CALLS, fjord))
            harbours, _ = stack.enter_context(in_flight(Process.CALLS, harbour()))
            halted = stack.enter_context(
                meanwhile(lambda: halting.halt(Process.CALLS, partner=harbour(), **WRONG_DECK))
            )
            wait_until(is_somebody_waiting, what="a halt that waits")
            assert not halted.done()
            harbours.leave()
            assert halted.result(timeout=60).ended_backends == 0
            others.leave()
        assert LedgerEntry.objects.count() == 2

    def test_does_not_end_everyones_halt(self) -> None:
        halting.halt(Process.CALLS, **WRONG_DECK)
        halting.halt(Process.CALLS, partner=harbour(), **WRONG_DECK)

        one = halting.resume(Process.CALLS, partner=harbour(), **MENDED)
        assert (one.changed, one.is_halted) == (True, True)
        assert not works(Process.CALLS, harbour())

        assert not halting.resume(Process.CALLS, **MENDED).is_halted
        assert works(Process.CALLS, harbour())

    def test_outlasts_everyones_halt(self) -> None:
        halting.halt(Process.CALLS, **WRONG_DECK)
        halting.halt(Process.CALLS, partner=harbour(), **WRONG_DECK)
        halting.resume(Process.CALLS, **MENDED)
        assert [works(Process.CALLS, harbour()), works(Process.CALLS, make_partner())] == [False, True]


@real_commits
class TestResuming:
    def test_lets_chunks_through_again(self) -> None:
        halting.halt(Process.CALLS, **WRONG_DECK)
        resumed = halting.resume(Process.CALLS, **MENDED)
        assert (resumed.is_halted, resumed.changed) == (False, True)
        assert works(Process.CALLS)
        again = halting.resume(Process.CALLS, reason="Once more.", by="Mei Tanaka")
        assert (again.is_halted, again.changed) == (False, False)
        assert SwitchHistory.objects.count() == 2

    def test_what_was_never_halted_changes_nothing(self) -> None:
        assert not halting.resume(Process.ITEMS, **MENDED).changed
        assert not ProcessSwitch.objects.exists()
        assert not SwitchHistory.objects.exists()

    def test_tells_in_the_history_who_did_what_and_why(self) -> None:
        for _ in range(2):
            halting.halt(Process.CALLS, **WRONG_DECK)
            halting.resume(Process.CALLS, **MENDED)
        history = SwitchHistory.objects.order_by("pk")
        assert [(line.is_halted, line.reason, line.changed_by) for line in history] == [
            (True, *WRONG_DECK.values()),
            (False, *MENDED.values()),
        ] * 2
        assert sorted(line.changed_at for line in history) == [line.changed_at for line in history]

    @pytest.mark.parametrize("partner", [None, "harbour"])
    def test_ends_the_halt_by_staff_and_leaves_the_breakers(self, partner: str | None) -> None:
        whose = None if partner is None else harbour()
        halting.halt(Process.NOTIFICATIONS, partner=whose, **WRONG_DECK)
        halting.halt(
            Process.NOTIFICATIONS, partner=whose, reason="501 mails an hour.", by="breaker", cause=HaltCause.BREAKER
        )
        assert [halt.cause for halt in halting.active_halts()] == ["staff", "breaker"]

        by_staff = halting.resume(Process.NOTIFICATIONS, partner=whose, **MENDED)
        assert (by_staff.changed, by_staff.is_halted) == (True, True)
        assert not works(Process.NOTIFICATIONS, whose)

        reset = halting.resume(Process.NOTIFICATIONS, partner=whose, cause=HaltCause.BREAKER, **MENDED)
        assert (reset.changed, reset.is_halted) == (True, False)
        assert works(Process.NOTIFICATIONS, whose)
        assert halting.active_halts() == []


@real_commits
class TestTheHaltsInForce:
    def test_are_listed_by_process_those_for_everyone_first(self) -> None:
        fjord = make_partner()
        halts: list[tuple[Process, Partner | None]] = [
            (Process.ITEMS, None),
            (Process.CALLS, fjord),
            (Process.CALLS, harbour()),
            (Process.CALLS, None),
        ]
        for process, partner in halts:
            halting.halt(process, partner=partner, **WRONG_DECK)
        halting.resume(Process.CALLS, partner=harbour(), **MENDED)

        listed = [(halt.process, halt.partner) for halt in halting.active_halts()]
        assert listed == [("calls", None), ("calls", fjord), ("items", None)]
        assert [halt.process for halt in halting.active_halts((Process.ITEMS,))] == ["items"]


@real_commits
class TestAChunk:
    def test_says_by_whom_it_was_refused(self) -> None:
        make_switch(partner=harbour())
        with (
            pytest.raises(ProcessHalted, match="calls halted: The new deck") as refusal,
            halting.chunk(Process.CALLS, partner_id=harbour().pk),
        ):
            pass
        assert (refusal.value.process, refusal.value.is_for_everyone) == (Process.CALLS, False)

        make_switch()
        with pytest.raises(ProcessHalted) as refusal, halting.chunk(Process.CALLS, partner_id=harbour().pk):
            pass
        assert refusal.value.is_for_everyone

    def test_gives_up_on_a_lock_that_somebody_else_holds(self) -> None:
        lindqvist = make_customer()
        with another_connection() as other, other.transaction():
            other.execute("SELECT FROM billing_customerbalance FOR UPDATE")
            with (
                pytest.raises(OperationalError, match="lock timeout"),
                halting.chunk(Process.CALLS, partner_id=None),
            ):
                make_entry(customer=lindqvist)
        assert not LedgerEntry.objects.exists()

    def test_is_a_transaction_of_its_own(self) -> None:
        with (
            transaction.atomic(),
            pytest.raises(RuntimeError, match="durable"),
            halting.chunk(Process.CALLS, partner_id=None),
        ):
            pass


@real_commits
class TestAHaltThatWasKilled:
    def test_has_halted_all_the_same(self) -> None:
        with in_flight(Process.CALLS) as (chunk, outcome):
            killed = start("halt", "calls", "--reason", "Killed while it waits.", "--json")
            wait_until(ProcessSwitch.objects.exists, what="the committed switch")
            wait_until(lambda: is_somebody_waiting() or killed.poll() is not None, what="a halt that waits")
            killed.send_signal(signal.SIGKILL)
            out, _ = killed.communicate()
            assert out == ""
            chunk.leave()
            assert outcome.result(timeout=60) == "committed"

        assert not works(Process.CALLS)
        assert SwitchHistory.objects.get().reason == "Killed while it waits."
        again = halting.halt(Process.CALLS, **WRONG_DECK)
        assert (again.is_halted, again.changed) == (True, False)


def refused(*words: str) -> str:
    """What the command says to bad usage, upon which it ends with 2 and has written nothing."""
    with pytest.raises(CommandError) as refusal:
        call_command(*words, stdout=io.StringIO())
    assert refusal.value.returncode == 2
    assert not ProcessSwitch.objects.exists()
    return str(refusal.value)


@pytest.mark.django_db
class TestTheCommands:
    @pytest.mark.parametrize("command", ["halt", "resume"])
    def test_refuse_what_they_do_not_know(self, command: str) -> None:
        reason = "--reason=The new deck is wrong."
        assert refused(command, "invoices", reason) == (
            "There is no process “invoices”: calls, items, billing or notifications."
        )
        assert refused(command, "calls", reason, "--partner=fiord") == "There is no partner “fiord”."
        assert refused(command, "calls") == "Say why: --reason “…”. It is kept in the history."
        assert refused(command, "calls", "--reason= ") == "Say why: --reason “…”. It is kept in the history."

    def test_keep_who_sat_at_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "astrid")
        call_command("halt", "billing", "--reason=The new deck is wrong.", stdout=io.StringIO())
        assert set(ProcessSwitch.objects.values_list("process", "changed_by")) == {
            ("calls", "astrid (command line)"),
            ("items", "astrid (command line)"),
        }

    def test_are_the_same_for_one_partner(self) -> None:
        partner = harbour()
        call_command("halt", "calls", "--partner=harbour", "--reason=Wrong prices.", stdout=io.StringIO())
        assert ProcessSwitch.objects.get().partner == partner
        call_command("resume", "calls", "--partner=harbour", "--reason=Mended.", stdout=io.StringIO())
        assert not ProcessSwitch.objects.get().is_halted


def test_locks_of_processes_are_all_different() -> None:
    locks: dict[Any, int] = dict(halting.LOCKS)
    assert set(locks) == set(Process)
    assert len(set(locks.values())) == len(Process)
