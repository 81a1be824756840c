"""What may be changed of customers and their alerts: done once, refused in words, and never half."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing import alerts
from billing.alerts import AlertNotChangeable, Terms
from billing.customer_changes import CustomerNotChangeable, change_credit_limit, change_status
from billing.models import BalanceAlert, CustomerStatus
from tests.factories import make_customer, make_item

pytestmark = pytest.mark.django_db


class TestAStatus:
    def test_is_changed_once_and_ends_items_where_the_account_is_closed(self) -> None:
        customer = make_customer()
        item = make_item(customer=customer, starts_on=timezone.now().date() - timedelta(days=50))
        assert change_status(customer.account, CustomerStatus.SUSPENDED)
        assert not change_status(customer.account, CustomerStatus.SUSPENDED)
        item.refresh_from_db()
        assert item.ends_on is None
        assert change_status(customer.account, CustomerStatus.CLOSED)
        item.refresh_from_db()
        customer.refresh_from_db()
        assert item.ends_on is not None
        assert customer.closed_at is not None
        assert change_status(customer.account, CustomerStatus.ACTIVE)
        customer.refresh_from_db()
        item.refresh_from_db()
        assert customer.closed_at is None
        assert item.ends_on is not None, "what ended stays ended"

    def test_is_that_of_somebody(self) -> None:
        with pytest.raises(CustomerNotChangeable, match="no customer “nobody”"):
            change_status("nobody", CustomerStatus.CLOSED)


class TestACreditLimit:
    def test_is_changed_once_and_the_built_in_alert_follows(self) -> None:
        customer = make_customer()
        assert change_credit_limit(customer.account, Decimal(30))
        assert not change_credit_limit(customer.account, Decimal(30))
        assert BalanceAlert.objects.get(customer=customer, kind="exhausted").threshold == -30

    @pytest.mark.parametrize("limit", ["-1", "NaN", "0.0000001", "1e12"])
    def test_is_zero_or_more(self, limit: str) -> None:
        with pytest.raises(CustomerNotChangeable, match="is no credit limit"):
            change_credit_limit(make_customer().account, Decimal(limit))


class TestAnAlert:
    def test_is_added_changed_and_ended_once(self) -> None:
        customer = make_customer()
        terms = Terms(remind_every_days=3, recipients=("Boss@okafor.example", "till@okafor.example"))
        alert = alerts.add(customer.account, Decimal(10), terms)
        with pytest.raises(AlertNotChangeable, match="already"):
            alerts.add(customer.account, Decimal(10), terms)
        assert alerts.terms_of(alert).recipients == ("boss@okafor.example", "till@okafor.example")

        fewer = Terms(recipients=("till@okafor.example",))
        assert alerts.change(alert.pk, Decimal(12), fewer)
        assert not alerts.change(alert.pk, Decimal(12), fewer)
        alert.refresh_from_db()
        assert (alert.threshold, alerts.terms_of(alert)) == (12, fewer)

        assert alerts.end(alert.pk)
        assert not alerts.end(alert.pk)
        with pytest.raises(AlertNotChangeable, match="was ended"):
            alerts.change(alert.pk, Decimal(13), fewer)
        assert alerts.add(customer.account, Decimal(12), Terms()).pk == alert.pk, "the same one begins anew"

    def test_has_a_threshold_of_its_own(self) -> None:
        customer = make_customer()
        alerts.add(customer.account, Decimal(10), Terms())
        other = alerts.add(customer.account, Decimal(20), Terms())
        with pytest.raises(AlertNotChangeable, match="another alert at this threshold"):
            alerts.change(other.pk, Decimal(10), Terms())

    def test_that_is_built_in_stays_at_the_credit_limit(self) -> None:
        built_in = make_customer().alerts.get()
        assert alerts.change(built_in.pk, built_in.threshold, Terms(remind_every_days=1))
        with pytest.raises(AlertNotChangeable, match="stays at the credit limit"):
            alerts.change(built_in.pk, Decimal(5), Terms())
        with pytest.raises(AlertNotChangeable, match="stays"):
            alerts.end(built_in.pk)

    def test_is_that_of_somebody(self) -> None:
        with pytest.raises(AlertNotChangeable, match="no customer “nobody”"):
            alerts.add("nobody", Decimal(1), Terms())
        with pytest.raises(AlertNotChangeable, match="no such alert"):
            alerts.end(0)
