"""The alerts that customers begin with."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import alerts, episodes
from billing.imports.customers import import_customers
from billing.models import AlertKind, BalanceAlert, Customer, Episode
from tests.factories import make_alert, make_customer, make_default_alert, make_partner

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def thresholds(customer: Customer) -> set[Decimal]:
    """Of the alerts that somebody set; the built-in one aside."""
    return set(customer.alerts.filter(kind=AlertKind.LOW_BALANCE).values_list("threshold", flat=True))


def bring(*lines: str, columns: str = "account,partner") -> Any:
    return import_customers("\n".join([columns, *lines]) + "\n", at=NOON)


class TestDefaultAlerts:
    def test_are_given_with_all_their_terms(self) -> None:
        make_default_alert(threshold=25, rearm_margin=5, remind_every_days=7, remind_at_most=2, tells_restored=True)
        lindqvist = make_customer()
        assert alerts.give_defaults([lindqvist.pk]) == 1
        alert = lindqvist.alerts.get(kind=AlertKind.LOW_BALANCE)
        assert (alert.threshold, alert.rearm_margin, alert.is_active) == (25, 5, True)
        assert (alert.remind_every_days, alert.remind_at_most, alert.tells_restored) == (7, 2, True)

    def test_are_given_once(self) -> None:
        make_default_alert(threshold=25)
        make_default_alert(threshold=5)
        lindqvist = make_customer()
        assert [alerts.give_defaults([lindqvist.pk]) for _ in range(2)] == [2, 0]
        assert thresholds(lindqvist) == {25, 5}

    def test_are_not_given_to_whom_has_one(self) -> None:
        make_default_alert(threshold=25)
        alert = make_alert(threshold=3)
        assert alerts.give_defaults([alert.customer_id]) == 0

    def test_are_not_given_in_another_currency(self) -> None:
        make_default_alert(threshold=25)
        assert alerts.give_defaults([make_customer(currency="EUR").pk]) == 0

    def test_are_the_own_partners(self) -> None:
        make_default_alert(partner=make_partner(slug="fjord"), threshold=99)
        make_default_alert(threshold=25)
        lindqvist = make_customer()
        alerts.give_defaults([lindqvist.pk])
        assert thresholds(lindqvist) == {25}

    def test_change_nothing_for_those_who_are_there(self) -> None:
        lindqvist = make_customer()
        make_default_alert()
        alerts.give_defaults([])
        assert thresholds(lindqvist) == set()

    def test_of_nobody_are_given_to_nobody(self) -> None:
        assert alerts.give_defaults([make_customer().pk]) == 0


class TestAnImportedCustomer:
    @pytest.fixture(autouse=True)
    def _defaults(self) -> None:
        make_default_alert(threshold=25)
        make_default_alert(threshold=5)

    @pytest.mark.parametrize(
        ("threshold", "has", "because"),
        [
            ("", {25, 5}, "an empty cell means the default"),
            ("3", {3}, "its own and no other"),
            ("-", set(), "none, and it was said"),
        ],
    )
    def test_begins_with_what_its_line_says(self, threshold: str, has: set[Decimal], because: str) -> None:
        bring(f"20001,harbour,{threshold}", columns="account,partner,low_balance_threshold")
        assert thresholds(Customer.objects.get(account="20001")) == has, because

    def test_gets_the_defaults_without_the_column(self) -> None:
        result = bring("20001,harbour", "20002,harbour")
        assert result.created == 2
        assert all(thresholds(customer) == {25, 5} for customer in Customer.objects.all())

    def test_gets_none_in_another_currency_and_of_a_new_partner(self) -> None:
        bring("20001,harbour,EUR", "20002,newcomer,GBP", columns="account,partner,currency")
        assert not BalanceAlert.objects.filter(kind=AlertKind.LOW_BALANCE).exists()

    def test_is_not_given_them_later(self) -> None:
        lindqvist = make_customer(account="20001")
        result = bring("20001,harbour,New name", columns="account,partner,name")
        assert (result.updated, thresholds(lindqvist)) == (1, set())
        assert bring("20001,harbour,New name", columns="account,partner,name").unchanged == 1

    def test_that_comes_in_below_them_is_not_told(self) -> None:
        bring("20001,harbour,12", "20002,harbour,100", columns="account,partner,opening_balance")
        lindqvist = Customer.objects.get(account="20001")
        assert list(Episode.objects.values_list("alert__customer", "alert__threshold", "is_silent")) == [
            (lindqvist.pk, 25, True)
        ]
        assert episodes.judge(at=NOON).opened == 0

    def test_leaves_the_cost_of_a_file_to_its_bytes(self) -> None:
        def queries(*lines: str) -> int:
            with CaptureQueriesContext(connection) as captured:
                bring(*lines)
            return len(captured)

        assert queries("20001,harbour") == queries(*(f"2{number:04d},harbour" for number in range(100, 300)))
