"""What a balance was at some time."""

from decimal import Decimal

import pytest
from django.utils import timezone

from billing import balances
from billing.balances import balance_at
from tests.factories import make_customer, make_entry

pytestmark = pytest.mark.django_db


class TestABalanceOfThePast:
    def test_is_todays_without_what_was_posted_since(self) -> None:
        customer = make_customer(balance=Decimal("12.50"))
        then = timezone.now()
        make_entry(customer=customer, amount=Decimal(30))
        make_entry(customer=customer, amount=Decimal("-2.25"), kind="credit")
        make_entry(amount=Decimal(99))  # somebody else's
        assert balance_at(customer.pk, then) == Decimal("12.50")
        assert balance_at(customer.pk, timezone.now()) == Decimal("40.25")

    def test_is_not_known_where_very_much_was_posted_since(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(balances, "LOOKED_AT", 2)
        customer = make_customer(balance=Decimal(1))
        then = timezone.now()
        make_entry(customer=customer, amount=Decimal(1))
        assert balance_at(customer.pk, then) == Decimal(1)
        make_entry(customer=customer, amount=Decimal(1))
        assert balance_at(customer.pk, then) is None
