"""The first page: where customers stand, what they used, what they heard, and up to when that is known."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from billing.models import EntryKind
from ivy.portal import overview, words
from ivy.portal.models import PortalUser
from tests import factories

pytestmark = pytest.mark.django_db
MID_MARCH = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def owner(settings: Settings) -> PortalUser:
    settings.AXES_ENABLED = False
    return factories.make_portal_user()


@pytest.fixture
def mei(owner: PortalUser) -> Client:
    client = Client()
    client.force_login(owner.user)
    return client


def used(at: datetime = MID_MARCH, zone: str = "Europe/London") -> overview.Used:
    with words.written_for("en", zone):
        (found,) = overview.used(factories.harbour().pk, zone=zone, now=at)
    return found


def charge(amount: str, at: datetime, kind: EntryKind = EntryKind.RECURRING) -> None:
    factories.make_entry(kind=kind, amount=-Decimal(amount), occurred_at=at, key=f"item:{amount}:{at}")


class TestMoneyUsed:
    def test_is_by_kind_this_month_beside_the_last(self) -> None:
        charge("10", MID_MARCH)
        charge("2.50", MID_MARCH - DAY, EntryKind.ONE_OFF)
        charge("7", MID_MARCH - 20 * DAY)  # 23 February
        charge("4", MID_MARCH - 28 * DAY)  # 15 February
        factories.make_entry(amount=Decimal(100))  # a payment is no use
        found = used()
        assert found.by_kind == [
            ("Calls", Decimal(0), Decimal(0)),
            ("Recurring", Decimal(10), Decimal(11)),
            ("One-off", Decimal("2.5"), Decimal(0)),
        ]
        assert (found.this_month, found.last_month, found.last_month_so_far) == (Decimal("12.5"), 11, 4)

    def test_has_a_chart_whose_table_comes_to_the_same(self) -> None:
        charge("10", MID_MARCH)
        charge("7", MID_MARCH - 20 * DAY)
        rows = used().chart.rows
        assert [row for row in rows if any(cell not in {"£0.00", row[0]} for cell in row)] == [
            ["15 Mar", "£0.00", "£10.00", "£0.00", "£10.00", "£0.00"],
            ["23 Mar", "£0.00", "£0.00", "£0.00", "£0.00", "£7.00"],
        ]

    def test_goes_by_the_reader_s_days(self) -> None:
        charge("10", datetime(2026, 2, 28, 23, 30, tzinfo=UTC))
        assert (used().this_month, used().last_month) == (0, 10)
        assert (used(zone="Europe/Berlin").this_month, used(zone="Europe/Berlin").last_month) == (10, 0)

    def test_counts_what_was_taken_back_as_not_used(self) -> None:
        entry = factories.make_call_charge(factories.make_call())
        assert used().this_month == Decimal("0.03")
        factories.make_reversal(entry)
        assert used().this_month == 0

    @pytest.mark.parametrize("today", [datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 12, 31, 12, tzinfo=UTC)])
    def test_knows_where_a_year_begins_and_ends(self, today: datetime) -> None:
        charge("1", today)
        charge("2", today.replace(day=1) - DAY)
        assert (used(today).this_month, used(today).last_month) == (1, 2)


class TestTheFirstPage:
    def test_says_what_to_expect_where_nothing_is_there_yet(self, mei: Client) -> None:
        page = mei.get("/portal/").text
        for word in ("No call was delivered yet", "Nothing was charged", "No customer was mailed yet"):
            assert word in page

    def test_lists_who_needs_money(self, mei: Client) -> None:
        low, out = factories.make_customer(balance=5), factories.make_customer(balance=-3)
        factories.make_alert(customer=low)
        page = mei.get("/portal/").text
        assert low.account in page
        assert out.account in page
        assert "-£3.00" in page

    def test_asks_as_little_for_many_as_for_one(self, mei: Client) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as asked:
                mei.get("/portal/")
            return len(asked)

        factories.make_call_charge(factories.make_call())
        mei.get("/portal/")
        few = queries()
        for _ in range(5):
            factories.make_call_charge(factories.make_call())
            factories.make_customer(balance=-1)
        assert queries() == few
        assert few <= 20

    def test_knows_of_the_first_calls_as_soon_as_they_come(self, mei: Client) -> None:
        assert "No call was delivered yet" in mei.get("/portal/").text
        batch = factories.make_batch(delivery=factories.make_delivery(finished_at=MID_MARCH))
        factories.make_call_charge(factories.make_call(batch=batch, started_at=MID_MARCH))
        assert "15 Mar 2026, 12:00 GMT" in mei.get("/portal/").text

    def test_is_right_without_the_cache(self, mei: Client, settings: Settings) -> None:
        nobody_listens = {**settings.CACHES["redis"], "LOCATION": "redis://127.0.0.1:1/0"}
        settings.CACHES = {**settings.CACHES, "redis": nobody_listens}
        batch = factories.make_batch(delivery=factories.make_delivery(finished_at=MID_MARCH))
        factories.make_call_charge(factories.make_call(batch=batch, started_at=MID_MARCH))
        with time_machine.travel(MID_MARCH, tick=True):
            page = mei.get("/portal/").text
        assert "£0.03" in page
        assert "15 Mar 2026, 12:00 GMT" in page
