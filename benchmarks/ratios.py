"""What the benchmarks of money share: COPY of ledger rows that a run has written, and a table of ratios to it.

"Raw COPY": the client streams ready bytes over one connection into a copy of the real ledger table, with all its
indexes, constraints and triggers.
"""

import statistics
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import psycopg

from benchmarks import databases

WORLD = "ivy_benchmark_world"
WORK = "ivy_benchmark_work"
RAW, BARE, LOOP = "raw COPY", "COPY without indexes", "ORM loop"

COLUMNS = """
    key, customer_id, kind, amount, currency, occurred_at, posted_at, booked_month, charge_number, reverses,
    description, period_start, period_end, rate_id, billed_seconds, run_id, reason, entered_by
"""


class Run(Protocol):
    """Charges all that there is; how many seconds that took."""

    def __call__(self, url: str, *, workers: int = 1) -> float: ...


def compare(*, build: str, run: Run, what: str, loop: str, entries: int, loop_entries: int, rounds: int) -> None:
    """Measure COPY, the run (`what` it does) and the ORM loop so many times, and print one table.

    Each on a fresh copy of the world that `build` makes, after a checkpoint. `loop` prints its seconds for
    `loop_entries`, from which those for all `entries` are reckoned.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    with databases.temporary(WORLD) as world, TemporaryDirectory() as folder:
        databases.manage(world, "migrate", "-v0")
        databases.inside(world, build)
        rows = Path(folder) / "entries"
        with databases.temporary(WORK, like=WORLD) as work:
            run(work)
            save_entries(work, rows)
        for number in range(1, rounds + 1):
            for name, measure in (
                (RAW, lambda work: copy_entries(work, rows)),
                (BARE, lambda work: copy_entries(work, rows, into_a_bare_table=True)),
                (f"{what}, one worker", run),
                (f"{what}, two workers", lambda work: run(work, workers=2)),
                (LOOP, lambda work: float(databases.inside(work, loop)) * entries / loop_entries),
            ):
                with databases.temporary(WORK, like=WORLD) as work:
                    checkpoint()
                    seconds[name].append(measure(work))
                print(f"round {number}: {name}: {seconds[name][-1]:.1f} s", flush=True)
    print_table(seconds, entries)


def seconds_of_the_run(url: str) -> float:
    """By the run's own clock (the database's), from its beginning to its end."""
    with psycopg.connect(url) as database:
        row = database.execute("SELECT extract(epoch FROM ended_at - started_at) FROM billing_billingrun").fetchone()
    return float(row[0]) if row else 0.0


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
