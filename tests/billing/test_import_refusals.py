"""What files may not do to what is there, and what rows of one file do to each other; nothing is half done."""

from datetime import UTC, datetime

import pytest

from billing.imports.payments import import_payments
from billing.imports.whole import ImportResult
from billing.models import LedgerEntry
from tests.factories import make_customer

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def told(result: ImportResult) -> list[tuple[int | None, str]]:
    return [(error.line, error.error) for error in result.errors]


class TestMoreMoneyThanABalanceHolds:
    def test_is_an_error_of_the_file(self) -> None:
        make_customer(account="4711")
        rows = "".join(f"{reference},4711,999999999999\n" for reference in ("first", "second"))
        result = import_payments(f"reference,account,amount\n{rows}", at=AT)
        assert told(result)[0][1].startswith("The database refuses the file: numeric field overflow.")
        assert not LedgerEntry.objects.exists()
