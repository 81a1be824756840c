"""What billing alarms about: each check tells its trouble, only when it is one, and is well again afterwards."""

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import checks, halting
from billing.checking import Check
from billing.cycle import run_cycle
from billing.models import (
    ArrivalBatch,
    BillingItem,
    BillingRun,
    BillingWorker,
    CallsByHour,
    Delivery,
    ItemKind,
    Partner,
    Process,
    ProcessSwitch,
    QuarantinedCall,
    QuarantineReason,
    RunState,
    Source,
)
from billing.quiet_sources import same_hours_last_week
from tests import factories
from tests.billing.at_once import real_commits
from tests.billing.call_files import ivy_call, ivy_file

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def found(key: str) -> Check:
    (check,) = [check for check in checks.checks() if check.key == key]
    return check


def told(key: str) -> str:
    """What is wrong; empty when it is well."""
    return found(key).wrong


def ago(gap: timedelta) -> datetime:
    return datetime.now(UTC) - gap


def today() -> date:
    return datetime.now(UTC).date()


def ended_run(gap: timedelta, **fields: Any) -> BillingRun:
    """A run that began and ended so long ago."""
    return factories.make_run(
        started_at=ago(gap + timedelta(seconds=1)), ended_at=ago(gap), business_at=ago(gap), **fields
    )


def halted(gap: timedelta, **fields: Any) -> ProcessSwitch:
    return factories.make_switch(since=ago(gap), **fields)


class TestAnEmptyDatabase:
    def test_is_well(self) -> None:
        assert [check.key for check in checks.checks() if not check.is_well] == []

    def test_is_looked_at_in_a_few_queries(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            checks.checks()
        assert len(queries) <= 14


class TestBillingRuns:
    def test_are_missed_after_five_minutes(self) -> None:
        ended_run(6 * MINUTE)
        check = found("billing-runs")
        assert check.wrong.startswith("No billing run has ended well since ")
        assert check.since is not None
        assert check.affects
        assert check.todo

    @pytest.mark.parametrize("state", [RunState.DONE, RunState.PARTIAL, RunState.HALTED])
    def test_are_well_again_with_the_next_one(self, state: RunState) -> None:
        ended_run(6 * MINUTE)
        assert told("billing-runs")
        ended_run(MINUTE, state=state)
        assert not told("billing-runs")

    def test_that_fail_are_no_good_runs(self) -> None:
        ended_run(6 * MINUTE)
        failed = ended_run(MINUTE, state=RunState.FAILED, ended_because="interrupted")
        assert f"Run {failed.pk} was the last to fail (interrupted)" in told("billing-runs")

    def test_that_never_went_well_are_missed_after_as_long(self) -> None:
        ended_run(2 * MINUTE, state=RunState.FAILED)
        assert not told("billing-runs")
        ended_run(7 * MINUTE, state=RunState.FAILED)
        assert told("billing-runs").startswith("No billing run has ended well ever")

    def test_may_take_long_while_they_move(self) -> None:
        ended_run(HOUR)
        run = factories.make_run(state=RunState.RUNNING, started_at=ago(58 * MINUTE), last_chunk_at=ago(MINUTE))
        worker = factories.make_worker(run=run)
        assert not told("billing-runs")
        BillingWorker.objects.filter(pk=worker.pk).update(heartbeat_at=ago(3 * MINUTE))
        assert told("billing-runs")


class TestARunThatHangs:
    def make(self, **fields: Any) -> BillingRun:
        return factories.make_run(state=RunState.RUNNING, **{"started_at": ago(20 * MINUTE)} | fields)

    def test_is_told_with_its_process_and_host(self) -> None:
        run = self.make(last_chunk_at=ago(3 * MINUTE))
        worker = factories.make_worker(run=run, heartbeat_at=ago(3 * MINUTE), host="worker-a pid:[4026531836]")
        assert f"Run {run.pk} is under way" in told("billing-hangs")
        assert f"process {worker.pid} on worker-a." in told("billing-hangs")

    def test_is_told_when_nobody_works_on_it(self) -> None:
        run = self.make()
        factories.make_worker(run=run, state="dead", heartbeat_at=ago(10 * MINUTE))
        assert "nobody works on it any more" in told("billing-hangs")

    def test_is_told_when_its_workers_live_and_do_nothing(self) -> None:
        run = self.make(planned_at=ago(15 * MINUTE), last_chunk_at=ago(11 * MINUTE))
        factories.make_worker(run=run)
        assert "ended no chunk since" in told("billing-hangs")

    def test_is_well_while_it_moves_and_once_somebody_took_over(self) -> None:
        run = self.make(last_chunk_at=ago(11 * MINUTE))
        factories.make_worker(run=run, heartbeat_at=ago(3 * MINUTE))
        assert told("billing-hangs")
        factories.make_worker(run=run)
        BillingRun.objects.filter(pk=run.pk).update(last_chunk_at=ago(MINUTE))
        assert not told("billing-hangs")

    def test_is_well_when_it_has_only_just_begun(self) -> None:
        self.make(started_at=ago(MINUTE))
        assert not told("billing-hangs")

    def test_is_well_once_it_has_ended(self) -> None:
        run = self.make()
        assert told("billing-hangs")
        BillingRun.objects.filter(pk=run.pk).update(state=RunState.FAILED, ended_at=ago(MINUTE))
        assert not told("billing-hangs")


class TestUnbilledCalls:
    def waiting(self, gap: timedelta, **fields: Any) -> ArrivalBatch:
        call = factories.make_call(**fields)
        ArrivalBatch.objects.filter(pk=call.batch_id).update(arrived_at=ago(gap))
        return call.batch

    def test_are_told_after_half_an_hour(self) -> None:
        self.waiting(29 * MINUTE)
        assert not told("calls-unbilled")
        batch = self.waiting(31 * MINUTE)
        ArrivalBatch.objects.filter(pk__lt=batch.pk).update(closed_at=ago(MINUTE))
        assert f"(batch {batch.pk})" in told("calls-unbilled")

    def test_are_well_once_each_has_its_outcome(self) -> None:
        batch = self.waiting(HOUR)
        assert told("calls-unbilled")
        batch.progress.create(outcome_count=1)  # not closed yet
        assert not told("calls-unbilled")

    def test_are_known_while_calls_are_halted(self) -> None:
        self.waiting(HOUR)
        switch = halted(HOUR)
        assert not told("calls-unbilled")
        ProcessSwitch.objects.filter(pk=switch.pk).update(is_halted=False, since=ago(MINUTE))
        assert not told("calls-unbilled"), "a long backlog is given time after a resume"
        ProcessSwitch.objects.filter(pk=switch.pk).update(since=ago(31 * MINUTE))
        assert told("calls-unbilled")

    def test_are_known_for_the_partner_whose_calls_are_halted(self) -> None:
        fjord, harbour = factories.make_partner(slug="fjord"), factories.harbour()
        self.waiting(HOUR, customer=factories.make_customer(partner=fjord))
        self.waiting(HOUR, customer=factories.make_customer(partner=harbour))
        halted(HOUR, partner=fjord)
        self.left_by_runs(fjord)
        assert not told("calls-unbilled")
        self.left_by_runs(fjord, harbour)
        assert told("calls-unbilled").startswith("Calls of harbour wait to be billed")

    def left_by_runs(self, *partners: Partner) -> None:
        BillingRun.objects.all().delete()
        for gap in (40 * MINUTE, MINUTE):
            run = ended_run(gap, state=RunState.PARTIAL, halted=[{"process": "calls", "partner": "fjord"}])
            for partner in partners:
                factories.make_chunk(run=run, partner=partner, state="left")


class TestOverdueItems:
    def test_far_behind_wait_for_a_person(self) -> None:
        start = today() - 400 * DAY
        item = factories.make_item(starts_on=start, reference="trunk-7")
        assert "more than 13 months behind and wait for a person: trunk-7" in told("items-overdue")
        run_cycle_now(charges_long_overdue=True)
        item.refresh_from_db()
        assert item.charged_through is not None
        assert not told("items-overdue")

    def test_that_only_catch_up_are_left_to_the_next_run(self) -> None:
        factories.make_item(starts_on=today() - 300 * DAY)
        assert not told("items-overdue")

    def test_are_told_when_the_last_run_left_them(self) -> None:
        item = factories.make_item(starts_on=today() - 10 * DAY)
        ended_run(MINUTE)
        assert not told("items-overdue"), "the run may have been before the item came"
        BillingItem.objects.filter(pk=item.pk).update(created_at=ago(HOUR))
        assert told("items-overdue").startswith(f"1 item due since {item.starts_on} and not charged")
        BillingItem.objects.filter(pk=item.pk).update(next_due_on=today())
        assert not told("items-overdue")

    @pytest.mark.parametrize("for_partner", [False, True])
    def test_are_known_while_items_are_halted(self, for_partner: bool) -> None:
        item = factories.make_item(starts_on=today() - 10 * DAY)
        BillingItem.objects.filter(pk=item.pk).update(created_at=ago(HOUR))
        ended_run(MINUTE)
        assert told("items-overdue")
        halted(MINUTE, process=Process.ITEMS, partner=factories.harbour() if for_partner else None)
        assert not told("items-overdue")

    def test_are_given_until_the_next_run_after_a_resume(self) -> None:
        item = factories.make_item(starts_on=today() - 10 * DAY, kind=ItemKind.ONE_OFF)
        BillingItem.objects.filter(pk=item.pk).update(created_at=ago(HOUR))
        ended_run(MINUTE, state=RunState.HALTED, halted=[{"process": "items", "partner": None}])
        assert not told("items-overdue")


class TestErrors:
    ERROR = {"kind": "item", "key": "trunk-7", "error": "an interval of no length"}

    def test_are_told_when_two_runs_in_a_row_had_them(self) -> None:
        ended_run(2 * MINUTE, state=RunState.PARTIAL, errors=[self.ERROR])
        assert not told("billing-errors")
        run = ended_run(MINUTE, state=RunState.PARTIAL, errors=[self.ERROR])
        check = found("billing-errors")
        assert check.wrong == "1 call or item cannot be charged, run after run: item trunk-7."
        assert f"page of run {run.pk}" in check.todo

    def test_are_well_with_a_run_that_has_none(self) -> None:
        for gap in (3, 2):
            ended_run(gap * MINUTE, state=RunState.PARTIAL, errors=[self.ERROR])
        assert told("billing-errors")
        ended_run(MINUTE)
        assert not told("billing-errors")

    def test_of_calls_are_not_hidden_by_a_run_of_items_alone(self) -> None:
        for gap in (4, 3):
            ended_run(gap * MINUTE, errors=[{"kind": "call", "key": "call:pbx-1:7", "error": "too large"}])
        ended_run(MINUTE, processes=["items"])
        assert "call call:pbx-1:7" in told("billing-errors")

    def test_tell_no_words_that_may_name_a_customer(self) -> None:
        for gap in (2, 1):
            ended_run(gap * MINUTE, errors=[self.ERROR | {"error": "no rate for 442079460123"}])
        assert "442079460123" not in told("billing-errors")

    def test_of_items_that_wait_for_a_person_are_told_elsewhere(self) -> None:
        factories.make_item(starts_on=today() - 400 * DAY)
        for _ in range(2):
            assert run_cycle_now().errors
        assert not told("billing-errors")
        assert told("items-overdue")


class TestQuarantine:
    def fill(self, count: int, *, reason: QuarantineReason = QuarantineReason.NO_RATE, gap: timedelta = MINUTE) -> None:
        call = factories.make_call()
        QuarantinedCall.objects.bulk_create(
            QuarantinedCall(
                call_key=f"call:pbx-1:{reason}-{number}", content_hash=call.content_hash, reason=reason, since=ago(gap)
            )
            for number in range(count)
        )

    def test_is_full_with_more_than_a_hundred(self) -> None:
        self.fill(100)
        assert not told("quarantine")
        self.fill(20, reason=QuarantineReason.NO_CUSTOMER)
        assert "120 calls wait in quarantine" in told("quarantine")
        assert told("quarantine").endswith(": 100 no rate, 20 no customer.")

    def test_is_told_of_a_single_call_after_three_days(self) -> None:
        self.fill(1, gap=3 * DAY - HOUR)
        assert not told("quarantine")
        self.fill(1, gap=3 * DAY + HOUR, reason=QuarantineReason.CONTRADICTORY)
        assert "1 contradictory" in told("quarantine")

    def test_is_well_once_it_was_worked_off(self) -> None:
        self.fill(120)
        assert told("quarantine")
        QuarantinedCall.objects.update(state="dismissed", dismissed_by="Astrid", dismissed_because="tests")
        assert not told("quarantine")


class TestAForgottenHalt:
    def test_is_told_after_four_hours_with_who_and_why(self) -> None:
        factories.make_call()
        switch = halted(3 * HOUR)
        assert not told("halt-forgotten:calls")
        ProcessSwitch.objects.filter(pk=switch.pk).update(since=ago(4 * HOUR + MINUTE))
        check = found("halt-forgotten:calls")
        assert "by astrid.holm@example.com: The new deck charges mobiles as landlines." in check.wrong
        assert check.affects == "Calls are taken in and not charged. 1 call waits."
        assert check.todo == "If it is over: resume calls --preview, then --reason …."
        assert check.page == "halt-forgotten"

    def test_is_well_once_it_was_resumed(self) -> None:
        switch = halted(5 * HOUR, process=Process.NOTIFICATIONS)
        assert told("halt-forgotten:notifications")
        ProcessSwitch.objects.filter(pk=switch.pk).update(is_halted=False)
        assert not told("halt-forgotten:notifications")

    def test_of_a_partner_has_an_alarm_of_its_own(self) -> None:
        halted(5 * HOUR, partner=factories.make_partner(slug="fjord"))
        assert told("halt-forgotten:calls:fjord").startswith("Calls of partner fjord are halted since")
        assert "halt-forgotten:calls" not in [check.key for check in checks.checks()]

    def test_by_the_breaker_is_told_elsewhere(self) -> None:
        halted(5 * HOUR, cause="breaker", process=Process.NOTIFICATIONS)
        assert [check for check in checks.checks() if not check.is_well] == []


def full_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


class TestASource:
    def make(self, *, last: timedelta = MINUTE, gap: timedelta = HOUR, **fields: Any) -> Source:
        source = factories.make_source(**{"name": "pbx-1", "expected_gap": gap, "created_at": ago(60 * DAY)} | fields)
        factories.make_delivery(source=source, started_at=ago(last), finished_at=ago(last))
        return source

    def deliver(self, source: Source, *, hours_ago: int, calls: int, later: timedelta = 20 * MINUTE) -> None:
        """Calls that began in an hour so long before this one, and came so long after it began."""
        hour = full_hour(datetime.now(UTC)) - hours_ago * HOUR
        batch = factories.make_batch(delivery=factories.make_delivery(source=source, started_at=hour))
        CallsByHour.objects.create(source=source, batch=batch, hour=hour, arrived_at=hour + later, call_count=calls)

    def deliver_last_week(self, source: Source, *, calls_an_hour: int, hours: int = 24) -> None:
        for hour in range(1, hours + 1):
            self.deliver(source, hours_ago=7 * 24 + hour, calls=calls_an_hour)

    def test_is_quiet_after_its_expected_gap(self) -> None:
        source = self.make(last=2 * HOUR)
        assert told("source-quiet:pbx-1").startswith("pbx-1 has delivered nothing since ")
        assert "its longest ordinary silence is 1 hours" in told("source-quiet:pbx-1")
        factories.make_delivery(source=source, started_at=ago(MINUTE), finished_at=None, read_count=1, accepted_count=1)
        assert not told("source-quiet:pbx-1")

    def test_is_not_revived_by_an_import_that_read_nothing(self) -> None:
        source = self.make(last=2 * HOUR)
        factories.make_delivery(source=source, started_at=ago(MINUTE), finished_at=None)
        assert told("source-quiet:pbx-1")

    def test_that_streams_gives_signs_of_life_without_new_deliveries(self) -> None:
        self.make(last=5 * DAY)
        Delivery.objects.update(finished_at=None, read_count=1, accepted_count=1, last_stored_at=ago(MINUTE))
        assert not told("source-quiet:pbx-1")

    def test_that_never_delivered_or_is_new_is_left_alone(self) -> None:
        factories.make_source(name="pbx-new", created_at=ago(60 * DAY))
        self.make(last=2 * HOUR, created_at=ago(30 * MINUTE))
        assert not told("source-quiet:pbx-new")
        assert not told("source-quiet:pbx-1")

    def test_that_was_retired_on_purpose_is_left_alone(self) -> None:
        source = self.make(last=30 * DAY)
        assert told("source-quiet:pbx-1")
        Source.objects.filter(pk=source.pk).update(is_retired=True)
        assert not told("source-quiet:pbx-1")

    def test_is_quiet_with_far_fewer_calls_than_in_the_same_hours_of_last_week(self) -> None:
        source = self.make()
        self.deliver_last_week(source, calls_an_hour=20, hours=3)
        self.deliver(source, hours_ago=2, calls=11)
        assert ": 11 that began from" in told("source-quiet:pbx-1")
        assert "60 in the same hours of last week" in told("source-quiet:pbx-1")
        self.deliver(source, hours_ago=1, calls=1)  # a fifth
        assert not told("source-quiet:pbx-1")

    def test_is_not_measured_by_fewer_than_fifty_calls(self) -> None:
        source = self.make()
        self.deliver_last_week(source, calls_an_hour=16, hours=3)
        assert not told("source-quiet:pbx-1")
        self.deliver(source, hours_ago=7 * 24 + 1, calls=2)
        assert told("source-quiet:pbx-1")

    def test_is_measured_by_the_same_day_of_the_week(self) -> None:
        """On a quiet Sunday it is last Sunday that counts, not the busy days between."""
        source = self.make()
        self.deliver_last_week(source, calls_an_hour=2)
        for hours_ago in range(4, 150):
            self.deliver(source, hours_ago=hours_ago, calls=500)
        assert not told("source-quiet:pbx-1")

    def test_is_not_misled_by_a_backlog_that_came_in_those_hours_of_last_week(self) -> None:
        source = self.make()
        for hours_ago in range(7 * 24 + 4, 7 * 24 + 40):
            self.deliver(source, hours_ago=hours_ago, calls=500, later=40 * HOUR)
        assert not told("source-quiet:pbx-1")

    def test_that_delivers_once_a_day_may_be_somewhat_late(self) -> None:
        source = self.make(last=25 * HOUR, gap=26 * HOUR)
        for hours_ago in range(7 * 24 + 2, 7 * 24 + 26):  # last week's file, an hour ago by now
            self.deliver(source, hours_ago=hours_ago, calls=100, later=(hours_ago - 7 * 24 - 1) * HOUR)
        for hours_ago in range(26, 50):
            self.deliver(source, hours_ago=hours_ago, calls=100)
        assert not told("source-quiet:pbx-1")

    def test_that_delivers_once_a_day_is_quiet_when_its_file_is_nearly_empty(self) -> None:
        source = self.make(last=timedelta(), gap=26 * HOUR)  # by the hour of its last sign
        for hours_ago in range(1, 25):
            self.deliver(source, hours_ago=7 * 24 + hours_ago, calls=100, later=(hours_ago - 1) * HOUR)
        self.deliver(source, hours_ago=20, calls=30, later=20 * HOUR)
        assert "2400 in the same hours of last week" in told("source-quiet:pbx-1")

    @pytest.mark.parametrize(
        ("end", "zone", "last_week"),
        [
            (datetime(2026, 4, 1, 8, tzinfo=UTC), "Europe/London", datetime(2026, 3, 25, 9, tzinfo=UTC)),  # into summer
            (
                datetime(2026, 10, 28, 9, tzinfo=UTC),
                "Europe/London",
                datetime(2026, 10, 21, 8, tzinfo=UTC),
            ),  # out of it
            (datetime(2026, 3, 11, 9, tzinfo=UTC), "Europe/London", datetime(2026, 3, 4, 9, tzinfo=UTC)),  # no change
            (datetime(2026, 4, 1, 8, tzinfo=UTC), "", datetime(2026, 3, 25, 8, tzinfo=UTC)),  # no zone: UTC
            (datetime(2026, 4, 1, 8, tzinfo=UTC), "Asia/Kolkata", datetime(2026, 3, 25, 8, tzinfo=UTC)),  # half an hour
        ],
    )
    def test_has_its_hours_by_the_clock_on_its_wall(self, end: datetime, zone: str, last_week: datetime) -> None:
        assert same_hours_last_week(end, 3 * HOUR, timezone=zone) == (last_week - 3 * HOUR, last_week)


class TestASourceWhoseLinesCannotBeRead:
    def deliver(self, *, unparsable: int, accepted: int, duplicates: int = 0, ago_: timedelta = HOUR) -> None:
        source = Source.objects.filter(name="pbx-1").first() or factories.make_source(name="pbx-1")
        factories.make_delivery(
            source=source,
            started_at=ago(ago_),
            read_count=unparsable + accepted + duplicates,
            unparsable_count=unparsable,
            accepted_count=accepted,
            duplicate_count=duplicates,
        )

    def test_is_told_with_how_many_of_how_many(self) -> None:
        self.deliver(unparsable=11, accepted=1_000)
        self.deliver(unparsable=20, accepted=2_000)
        assert told("source-garbled:pbx-1").startswith(
            "Of 3,031 lines that pbx-1 delivered within the last day, 31 could not be read."
        )

    def test_is_told_though_what_was_known_before_came_along(self) -> None:
        self.deliver(unparsable=11, accepted=1_000, duplicates=1_000_000)
        assert told("source-garbled:pbx-1")

    def test_is_well_with_a_stray_line_and_a_day_later(self) -> None:
        self.deliver(unparsable=10, accepted=0)
        assert not told("source-garbled:pbx-1")
        self.deliver(unparsable=20, accepted=2_990)
        assert not told("source-garbled:pbx-1")
        self.deliver(unparsable=500, accepted=0, ago_=25 * HOUR)
        assert not told("source-garbled:pbx-1")


@real_commits
class TestCallsByHour:
    def test_are_counted_as_they_are_taken_in_and_duplicates_are_not(self, tmp_path: Any) -> None:
        factories.make_customer(account="10001")
        factories.make_source(name="pbx-north", region="GB")
        path = tmp_path / "monday.csv"
        path.write_bytes(ivy_file(*(ivy_call() for _ in range(3))))
        for _ in range(2):
            call_command("import_calls", str(path), "--source", "pbx-north", "--json", stdout=io.StringIO())
        row = CallsByHour.objects.get()
        assert row.call_count == 3
        assert row.hour == full_hour(row.hour)
        assert row.batch.calls.filter(started_at__gte=row.hour, started_at__lt=row.hour + HOUR).count() == 3
        assert Delivery.objects.filter(last_stored_at__isnull=False).count() == 2


@real_commits
class TestARealRun:
    def test_notes_when_a_chunk_of_it_was_done_last(self) -> None:
        factories.make_rate()
        factories.make_call(customer=factories.make_customer(rate_deck=factories.standard_deck()))
        run = run_cycle_now()
        assert run.last_chunk_at is not None
        assert run.started_at < run.last_chunk_at < run.ended_at

    def test_leaves_nothing_to_alarm_about(self) -> None:
        factories.make_rate()
        call = factories.make_call(customer=factories.make_customer(rate_deck=factories.standard_deck()))
        ArrivalBatch.objects.filter(pk=call.batch_id).update(arrived_at=ago(HOUR))
        assert told("calls-unbilled")
        run_cycle_now()
        assert [check.key for check in checks.checks() if not check.is_well] == []

    def test_tells_a_halt_that_was_forgotten_until_it_is_resumed(self) -> None:
        halting.halt(Process.ITEMS, reason="a wrong amount", by="Astrid Holm")
        ProcessSwitch.objects.update(since=ago(5 * HOUR))
        assert told("halt-forgotten:items")
        halting.resume(Process.ITEMS, reason="mended", by="Astrid Holm")
        assert not told("halt-forgotten:items")


class TestLooking:
    def test_costs_as_many_queries_however_much_there_is(self) -> None:
        for _ in range(2):
            self.fill()
        with CaptureQueriesContext(connection) as few:
            checks.checks()
        for _ in range(10):
            self.fill()
        with CaptureQueriesContext(connection) as many:
            checks.checks()
        assert len(many) == len(few)

    def fill(self) -> None:
        partner = factories.make_partner()
        customer = factories.make_customer(partner=partner)
        call = factories.make_call(customer=customer, source=factories.make_source(created_at=ago(60 * DAY)))
        factories.make_quarantined_call(call)
        factories.make_item(customer=customer, starts_on=today() - 20 * DAY)
        run = ended_run(MINUTE, errors=[TestErrors.ERROR])
        factories.make_chunk(run=run, partner=partner, state="left")
        halted(5 * HOUR, partner=partner)


def run_cycle_now(**how: Any) -> BillingRun:
    return run_cycle(by="test", at=timezone.now(), **how)
