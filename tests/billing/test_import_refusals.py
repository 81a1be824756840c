"""What files may not do to what is there, and what rows of one file do to each other; nothing is half done."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations

import pytest

from billing.imports.customers import import_customers
from billing.imports.items import import_items
from billing.imports.payments import import_payments
from billing.imports.rates import DeckTerms, import_rates
from billing.imports.whole import ImportResult
from billing.models import BillingItem, Customer, LedgerEntry, Rate
from tests.factories import make_customer, make_item

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def told(result: ImportResult) -> list[tuple[int | None, str]]:
    return [(error.line, error.error) for error in result.errors]


class TestAClosedCustomer:
    """Lindqvist, account 4711, was closed on 21 March 2026."""

    @pytest.fixture(autouse=True)
    def lindqvist(self) -> Customer:
        lindqvist = make_customer(account="4711")
        make_item(customer=lindqvist, reference="trunk", ends_on=date(2027, 1, 1))
        make_item(reference="seat")
        Customer.objects.filter(pk=lindqvist.pk).update(status="closed", closed_at=datetime(2026, 3, 21, tzinfo=UTC))
        return lindqvist

    @pytest.mark.parametrize(
        ("row", "sentence"),
        [
            ("number,4711,5,month,2026-04-01,", "and gets no new items."),
            ("number,4711,5,month,2026-01-01,2026-02-01", "and gets no new items."),
            ("trunk,,,,,-", "and its items with it: the item “trunk” ends then at the latest."),
            ("trunk,,,,,2027-01-01", "and its items with it: the item “trunk” ends then at the latest."),
            ("seat,4711,,,,", "and its items with it: the item “seat” ends then at the latest."),
        ],
    )
    def test_is_charged_for_no_item_of_a_file(self, row: str, sentence: str) -> None:
        result = import_items(f"reference,account,amount,interval,starts_on,ends_on\n{row}\n")
        assert told(result) == [(2, f"The customer “4711” was closed on 2026-03-21, {sentence}")]
        assert BillingItem.objects.count() == 2

    def test_keeps_its_items_as_they_ended(self) -> None:
        result = import_items("reference,account,amount,ends_on\ntrunk,4711,10,2026-03-21\nseat,,10,\n")
        assert (told(result), result.unchanged) == ([], 2)
        assert import_items("reference,ends_on\ntrunk,2026-03-20\n").updated == 1


class TestACreditLimit:
    def test_is_cleared_to_the_default(self) -> None:
        lindqvist = make_customer(account="4711", credit_limit=50)
        for updated in (1, 0):
            result = import_customers("account,credit_limit\n4711,-\n", at=AT)
            assert (told(result), result.updated) == ([], updated)
        lindqvist.refresh_from_db()
        assert lindqvist.credit_limit == 0


class TestRowsOfOnePrefix:
    """Whatever ends they state: the next one of their prefix ends them, in whichever order and files they come."""

    ROWS = (
        "44,0.10,,2026-12-31",
        "44,0.20,2026-03-01,2099-12-31",
        "44,0.30,2026-05-01,2026-06-01",
        "44,0.40,2026-08-01,",
    )

    def bring(self, rows: tuple[str, ...], deck: str) -> ImportResult:
        text = "\n".join(["prefix,price_per_minute,valid_from,valid_to", *rows])
        return import_rates(text, deck=deck, at=AT, terms=DeckTerms(currency="GBP"))

    def rates(self, deck: str) -> list[tuple[Decimal, str]]:
        found = Rate.objects.filter(deck__name=deck).order_by("price_per_minute")
        return [(rate.price_per_minute, f"{rate.valid_to:%m-%d}" if rate.valid_to else "") for rate in found]

    def test_come_to_the_same_in_one_file_and_in_four_whatever_their_order(self) -> None:
        together = self.bring(self.ROWS, "together")
        assert (told(together), together.created) == ([], 4)
        assert together.notes == ("2 end before their valid_to: where the next rate of their prefix begins.",)
        one_way = self.rates("together")
        assert one_way == [
            (Decimal("0.1"), "03-01"), (Decimal("0.2"), "05-01"), (Decimal("0.3"), "06-01"), (Decimal("0.4"), ""),
        ]  # fmt: skip
        for number, rows in enumerate(permutations(self.ROWS)):
            for row in rows:
                assert told(self.bring((row,), f"deck-{number}")) == []
            assert self.rates(f"deck-{number}") == one_way, rows

    def test_change_nothing_when_they_come_again(self) -> None:
        self.bring(self.ROWS, "together")
        again = self.bring(self.ROWS, "together")
        assert (told(again), again.created, again.updated, again.unchanged) == ([], 0, 0, 4)


class TestMoreMoneyThanABalanceHolds:
    def test_is_an_error_of_the_file(self) -> None:
        make_customer(account="4711")
        rows = "".join(f"{reference},4711,999999999999\n" for reference in ("first", "second"))
        result = import_payments(f"reference,account,amount\n{rows}", at=AT)
        assert told(result)[0][1].startswith("The database refuses the file: numeric field overflow.")
        assert not LedgerEntry.objects.exists()
