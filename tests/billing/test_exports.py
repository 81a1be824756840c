"""What other programs read: the ledger and the balances, as CSV or as JSON, in columns that stay."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from billing import exports
from billing.models import Customer, LedgerEntry
from tests.factories import (
    harbour,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_item,
    make_partner,
    make_period,
    make_reversal,
)

pytestmark = pytest.mark.django_db

LEDGER_HEADER = "posted_at,occurred_at,account,kind,amount,currency,key,reverses,description,period_start,period_end"
BALANCES_HEADER = "account,partner,status,currency,balance,credit_limit,as_of"
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def export(*words: str) -> str:
    """What the command prints; it must end well and say nothing on standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*words, stdout=out, stderr=err)
    assert err.getvalue() == ""
    return out.getvalue()


def rows(*words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export(*words), newline="")))


def keys(*words: str) -> list[str]:
    return [row["key"] for row in rows("export_ledger", *words)]


@pytest.fixture
def lindqvist() -> Customer:
    return make_customer(account="10001", partner=harbour())


class TestTheLedger:
    def test_has_the_columns_that_programs_rely_on(self, lindqvist: Customer) -> None:
        assert export("export_ledger") == f"{LEDGER_HEADER}\n"
        make_entry(customer=lindqvist)
        header, line, end = export("export_ledger").split("\n")
        assert (header, end) == (LEDGER_HEADER, "")
        assert len(line.split(",")) == len(header.split(","))

    def test_tells_each_entry_in_utc_and_decimal_strings(self, lindqvist: Customer) -> None:
        item = make_item(customer=lindqvist, reference="trunk-7")
        period = make_period(item=item)
        charge = make_entry(
            customer=lindqvist,
            kind="recurring",
            key=period.entry_key,
            amount=Decimal("-10.500000"),
            occurred_at=datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=1, minutes=30))),
            description="SIP trunk, “thirty” channels",
            period_start=date(2026, 3, 1),
            period_end=date(2026, 4, 1),
        )
        make_reversal(charge)
        first, second = rows("export_ledger")
        assert first == {
            "posted_at": LedgerEntry.objects.get(pk=charge.pk).posted_at.isoformat(),
            "occurred_at": "2026-03-01T00:00:00+00:00",
            "account": "10001",
            "kind": "recurring",
            "amount": "-10.50",
            "currency": "GBP",
            "key": "item:trunk-7:2026-03-01",
            "reverses": "",
            "description": "SIP trunk, “thirty” channels",
            "period_start": "2026-03-01",
            "period_end": "2026-04-01",
        }
        assert first["posted_at"].endswith("+00:00")
        assert (second["kind"], second["amount"], second["reverses"]) == (
            "reversal",
            "10.50",
            "item:trunk-7:2026-03-01",
        )
        assert (second["period_start"], second["period_end"]) == ("", "")

    @pytest.mark.parametrize(
        ("amount", "text"),
        [
            ("10", "10.00"),
            ("-0.0312", "-0.0312"),
            ("0.000001", "0.000001"),
            ("-999999999999.999999", "-999999999999.999999"),
            ("1E+3", "1000.00"),
        ],
    )
    def test_writes_amounts_with_two_decimals_or_as_many_as_there_are(self, amount: str, text: str) -> None:
        make_entry(amount=Decimal(amount))
        assert [row["amount"] for row in rows("export_ledger")] == [text]

    def test_comes_in_the_order_of_posting(self, lindqvist: Customer) -> None:
        for number, occurred_at in enumerate([MARCH, MARCH - timedelta(days=40), MARCH + timedelta(days=3)]):
            make_entry(customer=lindqvist, key=f"payment:bank:{number}", occurred_at=occurred_at)
        assert keys() == ["payment:bank:0", "payment:bank:1", "payment:bank:2"]

    @pytest.mark.parametrize(
        ("options", "found", "because"),
        [
            (["--from=2026-03-01"], ["at", "after"], "what occurred at that instant is in"),
            (["--to=2026-03-01"], ["before"], "what occurred at that instant is out"),
            (["--from=2026-03-01", "--to=2026-03-01"], [], "half-open: nothing"),
            (
                ["--from=2026-02-28T23:59:59", "--to=2026-03-01T00:00:01Z"],
                ["before", "at"],
                "times, with and without Z",
            ),
            (["--from=2026-03-01T01:00:00+01:00"], ["at", "after"], "an instant in another zone"),
            (["--from=2026-03-01T00:00:00.000001"], ["after"], "a microsecond later"),
        ],
    )
    def test_is_cut_half_open_by_when_things_occurred(self, options: list[str], found: list[str], because: str) -> None:
        second = timedelta(seconds=1)
        for key, occurred_at in [("before", MARCH - second), ("at", MARCH), ("after", MARCH + second)]:
            make_entry(key=key, occurred_at=occurred_at)
        assert keys(*options) == found, because

    def test_is_cut_by_account(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, key="payment:bank:1")
        make_entry(key="payment:bank:2")
        make_customer(account="10009")
        assert keys("--account=10001") == ["payment:bank:1"]
        assert keys("--account=10009") == []

    def test_quotes_what_a_spreadsheet_would_take_apart(self, lindqvist: Customer) -> None:
        odd = 'Trunk "7", first line\nsecond; line'
        make_entry(customer=lindqvist, description=odd, key="payment:bank:a,b")
        (row,) = rows("export_ledger")
        assert (row["description"], row["key"]) == (odd, "payment:bank:a,b")

    def test_is_one_object_for_programs(self, lindqvist: Customer) -> None:
        assert json.loads(export("export_ledger", "--json")) == {"rows": []}
        call = make_call(customer=lindqvist, started_at=MARCH)
        charge = make_call_charge(call, amount=Decimal("-0.0312"))
        make_entry(customer=lindqvist, occurred_at=MARCH - timedelta(days=1))
        assert json.loads(export("export_ledger", "--json", "--from=2026-03-01")) == {
            "rows": [
                {
                    "posted_at": LedgerEntry.objects.get(pk=charge.pk).posted_at.isoformat(),
                    "occurred_at": "2026-03-01T00:00:00+00:00",
                    "account": "10001",
                    "kind": "call",
                    "amount": "-0.0312",
                    "currency": "GBP",
                    "key": charge.key,
                    "reverses": None,
                    "description": "",
                    "period_start": None,
                    "period_end": None,
                }
            ]
        }

    def test_is_complete_when_it_is_read_bit_by_bit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exports, "ROWS_AT_A_TIME", 2)
        for number in range(5):
            make_entry(key=f"payment:bank:{number}")
        assert keys() == [f"payment:bank:{number}" for number in range(5)]
        assert keys() == [f"payment:bank:{number}" for number in range(5)]

    @pytest.mark.parametrize(
        ("option", "sentence"),
        [
            ("--account=10099", "There is no customer “10099”."),
            ("--from=march", "--from: “march” is no time; write it like 2026-03-31 or 2026-03-31T18:00:00+02:00."),
            (
                "--to=2026-02-30",
                "--to: “2026-02-30” is no time; write it like 2026-03-31 or 2026-03-31T18:00:00+02:00.",
            ),
        ],
    )
    def test_is_refused_in_a_sentence(self, lindqvist: Customer, option: str, sentence: str) -> None:
        for form in ([], ["--json"]):
            out = io.StringIO()
            with pytest.raises(CommandError) as refusal:
                call_command("export_ledger", option, *form, stdout=out)
            assert (str(refusal.value), refusal.value.returncode) == (sentence, 2)
            assert out.getvalue() == (json.dumps({"error": sentence}) + "\n" if form else "")


class TestTheBalances:
    def test_have_the_columns_that_switches_rely_on(self) -> None:
        assert export("export_balances") == f"{BALANCES_HEADER}\n"
        assert ",".join(exports.BALANCE_COLUMNS) == BALANCES_HEADER
        assert ",".join(exports.LEDGER_COLUMNS) == LEDGER_HEADER

    def test_tell_everybodys_at_one_instant_by_account(self) -> None:
        fjord = make_partner(slug="fjord", currency="EUR")
        make_customer(account="20002", balance=Decimal("-3.5"), credit_limit=Decimal(50))
        make_customer(account="10001", partner=fjord, balance=Decimal("12.345678"), status="suspended")
        make_customer(account="30003", status="closed")
        found = rows("export_balances")
        assert [
            (row["account"], row["partner"], row["status"], row["currency"], row["balance"], row["credit_limit"])
            for row in found
        ] == [
            ("10001", "fjord", "suspended", "EUR", "12.345678", "0.00"),
            ("20002", "harbour", "active", "GBP", "-3.50", "50.00"),
            ("30003", "harbour", "closed", "GBP", "0.00", "0.00"),
        ]
        (as_of,) = {row["as_of"] for row in found}
        assert datetime.fromisoformat(as_of).utcoffset() == timedelta(0)

    def test_are_one_object_for_programs(self) -> None:
        make_customer(account="10001", balance=Decimal(5))
        (row,) = json.loads(export("export_balances", "--json"))["rows"]
        assert list(row) == BALANCES_HEADER.split(",")
        assert (row["account"], row["balance"]) == ("10001", "5.00")
