"""What came since a moment, found by ids; how far a run has come; what waits, at a glance."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from billing import backlog, runs, since
from billing.models import BillingRun, ChunkState, LedgerEntry, RunState
from tests.factories import (
    MORNING,
    harbour,
    make_call,
    make_call_charge,
    make_chunk,
    make_customer,
    make_entry,
    make_item,
    make_partner,
    make_run,
)

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def make_entries(count: int) -> list[LedgerEntry]:
    """So many payments, an hour apart, the last an hour before MORNING."""
    customer = make_customer()
    return [make_entry(customer=customer, posted_at=MORNING - (count - number) * HOUR) for number in range(count)]


class TestTheFirstId:
    def test_since_a_moment_is_that_of_the_first_row_that_came_no_earlier(self) -> None:
        entries = make_entries(9)
        moments = [entry.posted_at for entry in entries]
        assert since.first_ids("billing_ledgerentry", "posted_at", moments) == [entry.pk for entry in entries]
        just_after = [moment + timedelta(seconds=1) for moment in moments]
        beyond = entries[-1].pk + 1
        expected = [*(entry.pk for entry in entries[1:]), beyond]
        found = since.first_ids("billing_ledgerentry", "posted_at", just_after)
        assert all(found[place] <= expected[place] for place in range(9))
        assert [LedgerEntry.objects.filter(pk__gte=first).count() for first in found] == [
            8 - place for place in range(9)
        ]

    def test_of_nothing_is_beyond_all(self) -> None:
        assert since.first_ids("billing_ledgerentry", "posted_at", [MORNING]) == [1]
        make_entries(2)
        (first,) = since.first_ids("billing_ledgerentry", "posted_at", [datetime(2200, 1, 1, tzinfo=UTC)])
        assert not LedgerEntry.objects.filter(pk__gte=first).exists()

    def test_asks_one_question_for_all_moments(self) -> None:
        make_entries(5)
        with CaptureQueriesContext(connection) as queries:
            since.first_ids("billing_ledgerentry", "posted_at", [MORNING, MORNING - HOUR])
        assert len(queries) == 1


class TestMovements:
    def test_are_those_posted_since_by_kind_and_currency(self) -> None:
        begin = Now() - HOUR
        make_entry(posted_at=MORNING)
        make_entry(amount=Decimal(7))
        make_entry(amount=Decimal(8))
        lighthouse = make_customer(partner=make_partner(currency="SEK"))
        make_entry(customer=lighthouse, amount=Decimal(100))
        moment = BillingRun.objects.create(business_at=MORNING, processes=[], started_by="x", started_at=begin)
        moment.refresh_from_db()
        found, is_all = since.movements_since(moment.started_at)
        assert [(one.kind, one.currency, one.count, one.amount) for one in found] == [
            ("payment", "GBP", 2, Decimal(15)),
            ("payment", "SEK", 1, Decimal(100)),
        ]
        assert is_all
        of_harbour, _ = since.movements_since(moment.started_at, partner=harbour())
        assert [one.currency for one in of_harbour] == ["GBP"]

    def test_of_a_run_are_its_own_and_positive_where_charged(self) -> None:
        run, other = make_run(), make_run()
        BillingRun.objects.update(started_at=Now() - timedelta(seconds=5))
        run.refresh_from_db()
        mine = make_call_charge(make_call(), run_id=run.pk)
        make_call_charge(make_call(), run_id=other.pk)
        (charged,) = since.charged_by_run(run)
        assert (charged.kind, charged.count, charged.charged) == ("call", 1, Decimal("0.03"))
        assert list(since.entries_of_run(run)) == [mine]


class TestHowFarARunIs:
    def test_is_told_by_its_chunks_at_the_pace_so_far(self) -> None:
        run = make_run(state=RunState.RUNNING, calls_billed=900, calls_free=100)
        BillingRun.objects.update(planned_at=Now() - timedelta(seconds=1_000))
        for state in (ChunkState.DONE, ChunkState.OPEN, ChunkState.TAKEN, ChunkState.LEFT):
            make_chunk(run=run, state=state)
        found = runs.how_far(run)
        assert (found.chunks_done, found.chunks, found.percent, found.records) == (1, 3, 33, 1_000)
        assert 0.9 < found.records_a_second <= 1
        assert found.seconds_left is not None
        assert 2_000 <= found.seconds_left < 2_200

    def test_is_nothing_before_its_work_is_cut_up(self) -> None:
        found = runs.how_far(make_run(state=RunState.RUNNING))
        assert (found.percent, found.records, found.seconds_left) == (0, 0, None)


class TestAGlance:
    def test_tells_the_same_as_the_whole_look(self) -> None:
        make_call()
        make_item()
        whole, glance = backlog.backlog(at=MORNING), backlog.at_a_glance(at=MORNING, counted_to=100)
        assert (glance.pending_calls, glance.due_items) == (whole.pending_calls, whole.due_items) == (1, 1)
        assert glance.oldest_batch_arrived_at == whole.oldest_batch_arrived_at
        assert str(glance.oldest_due_on) == str(whole.oldest_due_on)

    def test_counts_only_so_far(self) -> None:
        for _ in range(4):
            make_item()
        assert backlog.at_a_glance(at=MORNING, counted_to=2).due_items == 3
