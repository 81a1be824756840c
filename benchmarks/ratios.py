"""What the benchmarks of money share: COPY of ledger rows that a run has written, and a table of ratios to it.

"Raw COPY": the client streams ready bytes over one connection into a copy of the real ledger table, with all its
indexes, constraints and triggers.
"""

import statistics
import time
from pathlib import Path

import psycopg

from benchmarks import databases

RAW, BARE, LOOP = "raw COPY", "COPY without indexes", "ORM loop"

COLUMNS = """
    key, customer_id, kind, amount, currency, occurred_at, posted_at, booked_month, charge_number, reverses,
    description, period_start, period_end, rate_id, billed_seconds, run_id, reason, entered_by
"""


def save_entries(url: str, rows: Path) -> None:
    """Keep the ledger that a run has written, as the bytes that COPY takes."""
    with (
        psycopg.connect(url) as database,
        database.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {COLUMNS} FROM billing_ledgerentry WHERE run_id IS NOT NULL) TO STDOUT") as copy,
        rows.open("wb") as file,
    ):
        for block in copy:
            file.write(block)


def copy_entries(url: str, rows: Path, *, into_a_bare_table: bool = False) -> float:
    """Seconds that COPY of the rows takes, into the real table or into one without anything on it."""
    table = "billing_ledgerentry"
    with psycopg.connect(url) as database:
        if into_a_bare_table:
            table = "bare_ledger"
            database.execute(
                "CREATE TABLE bare_ledger (LIKE billing_ledgerentry INCLUDING DEFAULTS INCLUDING IDENTITY)"
            )
            database.commit()
        began = time.perf_counter()
        with (
            database.cursor() as cursor,
            rows.open("rb") as file,
            cursor.copy(f"COPY {table} ({COLUMNS}) FROM STDIN") as copy,
        ):
            while block := file.read(1 << 20):
                copy.write(block)
        database.commit()
        return time.perf_counter() - began


def checkpoint() -> None:
    """Let nobody pay for what the one before has left to write."""
    with psycopg.connect(databases.server_url(), autocommit=True) as server:
        server.execute("CHECKPOINT")


def print_table(seconds: dict[str, list[float]], entries: int) -> None:
    """One line a way of doing it: median, entries a second, and the ratios."""
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"\n{entries:,} entries, medians of {len(seconds[RAW])}")
    print(f"{'':28}{'seconds':>10}{'entries/s':>12}{'x raw COPY':>12}{'x bare COPY':>13}{'ORM loop x':>12}")
    for name, taken in median.items():
        print(
            f"{name:28}{taken:10.1f}{entries / taken:12,.0f}{taken / median[RAW]:12.2f}"
            f"{taken / median[BARE]:13.2f}{median[LOOP] / taken:12.0f}"
        )
