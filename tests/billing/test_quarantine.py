"""Calls that could not be charged: they come back once their cause is mended, or by a person's word, and once only."""

import threading
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from billing import quarantine
from billing.cycle import run_cycle
from billing.models import BillingRun, CallRecord, Customer, LedgerEntry, QuarantinedCall, QuarantineReason
from billing.preview import preview
from billing.waiting import Selection
from tests.billing.at_once import meanwhile
from tests.factories import (
    key_of,
    make_call,
    make_customer,
    make_deck,
    make_identity,
    make_quarantined_call,
    make_rate,
    make_source,
)
from tests.faults.processes import wait_until
from tests.plans import naive_plans, rows_read_from_steps

pytestmark = pytest.mark.django_db(transaction=True)


def bill() -> BillingRun:
    return run_cycle(by="test", at=timezone.now())


def state_of(call: CallRecord) -> tuple[str, str]:
    row = QuarantinedCall.objects.get(content_hash=call.content_hash)
    return row.state, row.reason


def lindqvist() -> Customer:
    return make_customer(name="Café Lindqvist", rate_deck=make_deck(name="standard-2", currency="EUR"), currency="EUR")


def nobodys_call(reason: QuarantineReason = QuarantineReason.NO_CUSTOMER, **fields: object) -> CallRecord:
    call = make_call(customer=None, from_number="442079460123", **fields)
    make_quarantined_call(call, reason=reason, customer=None)
    call.batch.__class__.objects.filter(pk=call.batch.pk).update(closed_at=timezone.now())
    return call


def somebody_waits_for_a_release() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE classid = %s AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [quarantine.RELEASE_LOCK],
        )
        return cursor.fetchone() is not None


class TestAMendedCause:
    def test_brings_calls_without_a_rate_back_by_itself(self) -> None:
        customer = lindqvist()
        call = make_call(customer=customer)
        assert bill().calls_quarantined == 1
        assert state_of(call) == ("waiting", "no_rate")

        make_rate(deck=customer.rate_deck, price_per_minute=Decimal("0.06"))

        assert bill().calls_billed == 1
        assert LedgerEntry.objects.get(key=key_of(call)).amount == Decimal("-0.06")
        assert state_of(call) == ("settled", "no_rate")

    def test_brings_calls_without_a_customer_back_once_an_identity_names_one(self) -> None:
        call = nobodys_call()
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        bill()
        assert state_of(call) == ("waiting", "no_customer")

        make_identity(customer=customer, kind="number", value="442079460123")

        assert bill().calls_billed == 1
        entry = LedgerEntry.objects.get(key=key_of(call))
        assert (entry.customer, entry.currency) == (customer, "EUR")

    def test_does_not_bring_back_what_still_names_nobody(self) -> None:
        call = nobodys_call()

        make_identity(customer=lindqvist(), kind="number", value="442079460999")

        assert bill().calls_quarantined == 0
        assert state_of(call) == ("waiting", "no_customer")

    def test_that_was_not_enough_lets_the_call_wait_for_the_next_reason(self) -> None:
        call = nobodys_call()
        customer = lindqvist()

        make_identity(customer=customer, kind="number", value="442079460123")
        assert bill().calls_quarantined == 1
        assert state_of(call) == ("waiting", "no_rate")

        make_rate(deck=customer.rate_deck)
        assert bill().calls_billed == 1

    def test_makes_a_call_to_a_customer_inbound(self) -> None:
        switch = make_source(name="pbx-south", format="asterisk", timezone="Europe/London")
        call = nobodys_call(to_number="442079460777", source=switch)

        make_identity(customer=lindqvist(), kind="number", value="442079460777")

        assert bill().calls_free == 1
        assert QuarantinedCall.objects.get(content_hash=call.content_hash).direction == "inbound"

    def test_is_seen_by_a_preview_which_changes_nothing(self) -> None:
        call = nobodys_call()
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        make_identity(customer=customer, kind="number", value="442079460123")

        for _ in range(2):
            assert preview(at=timezone.now()).charges["call"].amount == {"EUR": Decimal("0.03")}
            assert state_of(call) == ("waiting", "no_customer")
        assert bill().calls_billed == 1

    def test_is_looked_at_once(self) -> None:
        lindqvist()
        quarantine.recall_mended()
        assert quarantine.recall_mended() == 0

    def test_that_names_two_customers_now_is_told_as_it_is_now(self) -> None:
        call = nobodys_call()
        for account, source in (("10001", None), ("10002", call.source)):
            make_identity(customer=make_customer(account=account), kind="number", value=call.from_number, source=source)
        for _ in range(2):
            bill()
            row = QuarantinedCall.objects.get(content_hash=call.content_hash)
            assert (row.state, row.reason) == ("waiting", "ambiguous_customer")
            assert row.detail == "It names the customers 10001 and 10002."


class TestAReleasedCall:
    @pytest.mark.parametrize("reason", [QuarantineReason.CONTRADICTORY, QuarantineReason.POSSIBLE_DUPLICATE])
    def test_is_charged_like_any_other(self, reason: QuarantineReason) -> None:
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        make_identity(customer=customer, kind="number", value="442079460123")
        call = nobodys_call(reason)

        assert quarantine.release(Selection(reasons=(reason,))) == 1
        assert quarantine.release(Selection(reasons=(reason,))) == 0
        assert bill().calls_billed == 1
        assert state_of(call) == ("settled", reason)

    def test_stays_where_it_is_when_its_id_was_billed_with_other_content(self) -> None:
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        first = make_call(customer=customer)
        assert bill().calls_billed == 1
        second = make_call(
            customer=customer, call_id=first.call_id, source=first.source, seconds=600, batch=first.batch
        )
        make_quarantined_call(second, reason=QuarantineReason.CONFLICTING_DUPLICATE)

        assert quarantine.release() == 0
        assert bill().calls_billed == 0
        assert LedgerEntry.objects.filter(kind="call").count() == 1

    def test_stays_where_it_is_while_another_with_its_id_is_about_to_be_billed(self) -> None:
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        first = make_call(customer=customer)
        second = make_call(customer=customer, call_id=first.call_id, source=first.source, seconds=600)
        make_quarantined_call(second, reason=QuarantineReason.CONFLICTING_DUPLICATE, customer=customer)

        assert [fate.outcome for fate in quarantine.fates()] == ["left"]
        assert quarantine.release() == 0
        run = bill()
        assert (run.state, run.calls_billed) == ("done", 1)
        assert state_of(second) == ("waiting", "conflicting_duplicate")
        assert quarantine.release() == 0

    def test_of_two_with_one_id_is_one(self) -> None:
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        first = make_call(customer=customer)
        second = make_call(customer=customer, call_id=first.call_id, source=first.source, batch=first.batch)
        for call in (first, second):
            make_quarantined_call(call, reason=QuarantineReason.CONTRADICTORY, customer=customer)

        assert quarantine.release() == 1
        assert quarantine.release() == 0
        assert bill().calls_billed == 1

    def test_of_two_with_one_id_is_one_though_two_people_release_at_once(self) -> None:
        customer = lindqvist()
        make_rate(deck=customer.rate_deck)
        first = make_call(customer=customer)
        second = make_call(customer=customer, call_id=first.call_id, source=first.source, batch=first.batch)
        rows = [
            make_quarantined_call(call, reason=QuarantineReason.CONTRADICTORY, customer=customer).pk
            for call in (first, second)
        ]
        first_is_released = threading.Event()

        def release_the_second() -> int:
            assert first_is_released.wait(60)
            return quarantine.release(Selection(ids=(rows[1],)))

        with meanwhile(release_the_second) as other:
            with transaction.atomic():
                assert quarantine.release(Selection(ids=(rows[0],))) == 1
                first_is_released.set()
                wait_until(somebody_waits_for_a_release)
            assert other.result(timeout=60) == 0
        assert bill().calls_billed == 1


class TestADismissedCall:
    def test_never_comes_back(self) -> None:
        call = nobodys_call()

        assert quarantine.dismiss(by="Astrid Holm", why="test calls of the installer") == 1
        assert quarantine.dismiss(by="Astrid Holm", why="test calls of the installer") == 0

        make_identity(customer=lindqvist(), kind="number", value="442079460123")
        assert bill().calls_billed == 0
        assert quarantine.release() == 0
        assert state_of(call) == ("dismissed", "no_customer")


@pytest.mark.parametrize("verb", [quarantine.release, partial(quarantine.dismiss, by="Astrid Holm", why="tests")])
def test_no_more_are_decided_about_than_asked_for_whatever_the_plan(verb: Callable[..., int]) -> None:
    customer = lindqvist()
    for _ in range(5):
        make_quarantined_call(make_call(customer=customer), reason=QuarantineReason.NO_RATE, customer=customer)
    with connection.cursor() as cursor, naive_plans(cursor.execute):
        assert verb(at_most=2) == 2
    assert QuarantinedCall.objects.filter(state="waiting").count() == 3


@pytest.mark.parametrize("look", [quarantine.release, quarantine.fates])
def test_calls_are_never_compared_with_each_other_whatever_the_plan(look: Callable[[], object]) -> None:
    """A step's rows are read once, not anew for each call: a night's calls would take hours.

    Where statistics are from before that night they say that next to none wait: each step is taken for a row.
    """
    customer = lindqvist()
    for _ in range(50):
        make_quarantined_call(make_call(customer=customer), reason=QuarantineReason.CONTRADICTORY, customer=customer)
    quarantine.dismiss(by="Astrid Holm", why="test calls of the installer")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE billing_quarantinedcall")
    make_identity(customer=customer, kind="number", value="442079460123")
    for _ in range(20):
        nobodys_call()
        make_quarantined_call(make_call(customer=customer), reason=QuarantineReason.CONTRADICTORY, customer=customer)
    counts: list[float] = []

    def explain_as_well(execute: Callable[..., Any], sql: str, values: Any, many: bool, context: Any) -> Any:
        if "attributed" in sql:
            with transaction.atomic(), connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values)
                counts.extend(rows_read_from_steps(cursor.fetchone()[0][0]["Plan"]))
                transaction.set_rollback(True)
        return execute(sql, values, many, context)

    with (
        connection.cursor() as cursor,
        naive_plans(cursor.execute, by_index=True),
        connection.execute_wrapper(explain_as_well),
    ):
        look()
    assert max(counts) == 40


class TestTheCommands:
    def test_refuse_an_unknown_reason_or_source(self) -> None:
        with pytest.raises(CommandError, match="no reason for quarantine"):
            call_command("release_quarantine", because="bad weather")
        with pytest.raises(CommandError, match="no source"):
            call_command("release_quarantine", source="pbx-nowhere")

    def test_dismiss_only_with_a_reason(self) -> None:
        with pytest.raises(CommandError, match="Say why"):
            call_command("dismiss_quarantine")

    def test_take_reasons_as_people_write_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        nobodys_call()
        call_command("dismiss_quarantine", because="no customer", reason="installer's tests", json=True)
        assert capsys.readouterr().out == '{"dismissed": 1}\n'
