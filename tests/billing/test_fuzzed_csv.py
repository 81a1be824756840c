"""Damaged CSV files of everything that is imported: all of a file or nothing, and never a traceback.

The damage is chosen by a seed, so that a file that fails can be made again. More of it than in the suite:

    FUZZED_FILES=10000 FUZZ_SEED=7 pytest tests/billing/test_fuzzed_csv.py -s
"""

import csv
import io
import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from billing.imports.customers import import_customers
from billing.imports.items import import_items
from billing.imports.partners import import_partners
from billing.imports.payments import import_payments
from billing.imports.rates import import_rates
from billing.imports.whole import ImportResult
from tests.billing.damages import damaged
from tests.factories import harbour, make_customer, make_default_alert, make_item, make_rate, standard_deck

FILES = int(os.environ.get("FUZZED_FILES", "250"))
SEED = os.environ.get("FUZZ_SEED", "20191123")
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

# A header, and lines as people write them: what is new, what is there already, with and without what may be missing.
SHEETS = {
    "partners": [
        "slug,name,sender,reply_to,timezone,currency,language,rate_deck",
        "fjord-{n},Fjord Telecom,billing@fjord.example,,Europe/Oslo,NOK,nb,",
        'harbour,"Harbour, Voice",billing@harbour.example,help@harbour.example,Europe/London,GBP,en,standard',
    ],
    "customers": [
        "account,partner,name,email,currency,timezone,low_balance_threshold,credit_limit,opening_balance,call_identities",
        "new-{n},harbour,Café Lindqvist,lindqvist@example.com,GBP,Europe/London,5.00,,20.00,code:{n};+4420794{n:05}",
        '10001,harbour,"Okafor & ""Sons""",okafor@example.com,GBP,Europe/London,-,50,,',
        "new-{n}b,harbour,Ngozi,,GBP,UTC,,,,",
    ],
    "items": [
        "reference,account,description,kind,amount,quantity,interval,interval_count,bill_cycle_day,timing,starts_on,ends_on",
        "trunk-{n},10001,SIP trunk,recurring,10.00,2,month,1,31,advance,2026-01-15,",
        'port-{n},10001,"Porting, of a number",one_off,25,,,,,,2026-03-01,',
        "trunk-7,10001,SIP trunk,recurring,12.50,1,month,,,,2026-03-01,2027-01-01",
    ],
    "rates": [
        "prefix,destination,price_per_minute,connect_fee,minimum_charge,first_increment,increment,valid_from",
        "4479{n:03},United Kingdom mobile,0.031,0.01,,30,6,2026-04-01",
        "49,Germany,0.012,,,1,1,",
        "447,United Kingdom mobile,0.04,,,,,2026-05-01T00:00:00+01:00",
    ],
    "payments": [
        "reference,account,amount,received_at,description",
        "bank-{n},10001,20.00,2026-03-01T10:00:00Z,standing order",
        '"bank-{n}, 2",10001,-5.5,2026-03-01,refund',
        "bank-{n}c,10001,1,,",
    ],
}
IMPORTS: dict[str, Callable[[bytes], ImportResult]] = {
    "partners": import_partners,
    "customers": lambda content: import_customers(content, at=NOW),
    "items": import_items,
    "rates": lambda content: import_rates(content, deck="standard", at=NOW),
    "payments": lambda content: import_payments(content, at=NOW),
}
TABLES = (
    "partner",
    "customer",
    "customerbalance",
    "balancealert",
    "episode",
    "callidentity",
    "billingitem",
    "ratedeck",
    "rate",
    "ledgerentry",
)


def good_file(kind: str, dice: random.Random) -> bytes:
    header, *lines = SHEETS[kind]
    chosen = [dice.choice(lines) for _ in range(dice.choice([1, 2, 3, 8]))]
    text = "".join(f"{line.format(n=dice.randrange(1000))}\n" for line in dict.fromkeys([header, *chosen]))
    return text.encode()


def everything() -> list[str]:
    """What stands in the tables, row by row."""
    with connection.cursor() as cursor:
        rows = " UNION ALL ".join(f"SELECT '{table} ' || t::text FROM billing_{table} t" for table in TABLES)
        cursor.execute(rows)
        return sorted(row for (row,) in cursor.fetchall())


def take(kind: str, content: bytes) -> ImportResult:
    """Import the file: everything, once, or nothing with the lines that stood in the way."""
    before = everything()
    result = IMPORTS[kind](content)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    if result.errors:
        assert everything() == before, "not all, and not nothing"
        assert (result.created, result.updated, result.unchanged) == (0, 0, 0)
        last_line = 2 + sum(content.count(end) for end in (b"\n", b"\r"))
        for error in result.errors:
            assert error.line is None or 1 <= error.line <= last_line, error
            assert error.error.strip(), "no word of what is wrong"
        return result
    assert result.read == result.created + result.updated + result.unchanged
    assert result.read == rows_in(content), "a line has come to nothing"
    again = IMPORTS[kind](content)
    assert (again.errors, again.created, again.updated) == ((), 0, 0), "the same file again changed something"
    return result


def rows_in(content: bytes) -> int:
    """How many rows another reader finds below the header, but for blank ones."""
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    return sum(1 for row in rows if any(cell.strip() for cell in row)) - 1


@pytest.mark.django_db
def test_damaged_files_are_taken_whole_or_refused_with_their_lines() -> None:
    harbour()
    make_rate(deck=standard_deck(), prefix="447")
    make_item(reference="trunk-7", customer=make_customer(account="10001", rate_deck=standard_deck()))
    make_default_alert(partner=harbour(), threshold=5)
    tally: Counter[str] = Counter()
    for number in range(FILES):
        dice = random.Random(f"{SEED}-{number}")
        kind = dice.choice(list(SHEETS))
        content, damages = damaged(good_file(kind, dice), dice)
        try:
            with transaction.atomic():
                result = take(kind, content)
                transaction.set_rollback(True)
        except Exception as error:
            error.add_note(f"file {number} of seed {SEED}: {kind}, {', '.join(damages) or 'whole'}\n{content[:2000]!r}")
            raise
        assert damages or not result.errors, (kind, result.errors, content)
        tally["refused" if result.errors else "taken"] += 1
    print(dict(tally))  # noqa: T201 - for who runs more of them
    assert tally["refused"] > FILES / 4
    assert tally["taken"] > FILES / 4
