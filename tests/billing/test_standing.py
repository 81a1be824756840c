"""Where customers stand, and up to when their calls are billed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import standing
from billing.models import CallsByHour, CustomerStatus
from tests.factories import (
    MORNING,
    harbour,
    make_alert,
    make_batch,
    make_call,
    make_call_charge,
    make_customer,
    make_delivery,
    make_partner,
    make_source,
)

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class TestCustomers:
    @pytest.mark.parametrize(
        ("balance", "threshold", "credit_limit", "state"),
        [
            ("10", None, "0", "fine"),
            ("10", "10", "0", "fine"),  # not below it
            ("9.99", "10", "0", "low"),
            ("0", None, "0", "fine"),  # nothing left, nothing owed
            ("-0.01", None, "0", "exhausted"),
            ("-0.01", "10", "5", "low"),  # within its credit
            ("-5.01", "-10", "5", "exhausted"),  # whatever its threshold
        ],
    )
    def test_are_fine_low_or_exhausted(
        self, balance: str, threshold: str | None, credit_limit: str, state: str
    ) -> None:
        customer = make_customer(balance=Decimal(balance), credit_limit=Decimal(credit_limit))
        if threshold is not None:
            make_alert(customer=customer, threshold=Decimal(threshold))
        found = standing.of_customers(customer.partner_id)
        assert {one: getattr(found, one) for one in ("fine", "low", "exhausted")} == {
            one: int(one == state) for one in ("fine", "low", "exhausted")
        }
        listed = [one.account for one in (*found.lowest, *found.most_exhausted)]
        assert listed == ([] if state == "fine" else [customer.account])

    def test_are_the_partner_s_alone_the_worst_first_and_closed_ones_apart(self) -> None:
        make_customer(partner=make_partner(), balance=-100)
        make_customer(balance=-50, status=CustomerStatus.CLOSED, closed_at=NOON)
        worse, bad = make_customer(balance=-9), make_customer(balance=-5)
        make_alert(customer=make_customer(balance=5), is_active=False)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            found = standing.of_customers(bad.partner_id, listed=1)
        assert len(queries) == 1
        assert (found.fine, found.low, found.exhausted, found.closed) == (1, 0, 2, 1)
        assert [one.account for one in found.most_exhausted] == [worse.account]
        assert bad.account not in str(found)


def through(*, counted: int = standing.COUNTED_CALLS) -> standing.BilledThrough:
    return standing.billed_through(harbour().pk, sources=standing.sources_of(harbour().pk), counted=counted)


class TestBilledThrough:
    def test_is_unknown_before_anything_was_delivered(self) -> None:
        make_customer()
        assert through() == standing.BilledThrough(None)

    def test_is_the_oldest_of_the_last_deliveries_of_their_sources(self) -> None:
        sources = {
            name: make_source(name=name, is_retired=name == "retired")
            for name in ("late", "early", "retired", "foreign")
        }
        for name, source in sources.items():
            customer = make_customer(partner=make_partner()) if name == "foreign" else make_customer()
            finished_at = {"late": NOON, "early": NOON - HOUR}.get(name, MORNING)
            make_delivery(source=source, finished_at=finished_at - 5 * HOUR)
            batch = make_batch(delivery=make_delivery(source=source, finished_at=finished_at), closed_at=NOON)
            make_call_charge(make_call(source=source, batch=batch, customer=customer))
        assert through() == standing.BilledThrough(NOON - HOUR, source="early")

    def test_is_the_start_of_the_oldest_call_that_waits(self) -> None:
        batch = make_batch(delivery=make_delivery(finished_at=NOON), call_count=3)
        make_call_charge(make_call(batch=batch, started_at=MORNING - 2 * HOUR))
        make_call(batch=batch, started_at=MORNING)
        make_call(batch=batch, started_at=MORNING + HOUR)
        make_call(batch=batch, started_at=MORNING - 3 * HOUR, customer=make_customer(partner=make_partner()))
        assert through() == standing.BilledThrough(MORNING, is_waiting=True)

    def test_is_never_later_than_that_where_very_many_wait(self) -> None:
        batch = make_batch(delivery=make_delivery(finished_at=NOON))
        call = make_call(batch=batch, started_at=MORNING)
        CallsByHour.objects.create(source=call.source, batch=batch, hour=MORNING.replace(minute=0), call_count=1)
        assert through(counted=0) == standing.BilledThrough(MORNING.replace(minute=0), is_waiting=True)

    def test_counts_a_delivery_that_broke_off_up_to_what_was_stored(self) -> None:
        delivery = make_delivery(finished_at=None, last_stored_at=MORNING)
        make_call_charge(make_call(batch=make_batch(delivery=delivery, closed_at=NOON)))
        assert through() == standing.BilledThrough(MORNING, source="pbx-north")
