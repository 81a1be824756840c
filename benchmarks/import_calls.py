"""How long importing call records from a CSV file takes, as a ratio to a raw COPY of the very same rows.

    DATABASE_URL=postgres://… python -m benchmarks.import_calls [--calls 1000000] [--customers 100000] [--rounds 3]

Works in a database of its own on that server, which it drops at the end. Each round takes, after a checkpoint each: a
raw COPY of ready bytes over one connection into a copy of the call records' table with all its indexes, constraints
and triggers; the same into a table without any; and the import, as the command does it, of a file of format `ivy` with
a region, looking for duplicates. The medians are compared. At the end the file is imported once more: all duplicates.
"""

import argparse
import csv
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit, urlunsplit

import django
import psycopg
from psycopg import sql

GOAL = 3.5
BLOCK = 1 << 20
FIRST_CALL = datetime(2026, 3, 1, tzinfo=UTC)
STEPS = ("raw COPY", "COPY without indexes", "import")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with own_database() as url, tempfile.TemporaryDirectory() as folder:
        os.environ["DATABASE_URL"] = url
        os.environ["DJANGO_SETTINGS_MODULE"] = "ivy.settings"
        django.setup()
        return measure(Path(folder), options)


@contextmanager
def own_database() -> Iterator[str]:
    """A database beside the one of DATABASE_URL, gone afterwards."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    name = f"{parts.path.strip('/')}_import_benchmark"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        server.execute(drop)
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            server.execute(drop)


def measure(folder: Path, options: argparse.Namespace) -> int:
    from django.core.management import call_command  # noqa: PLC0415 - Django knows its database only now
    from django.db import connection  # noqa: PLC0415

    from benchmarks import worlds  # noqa: PLC0415
    from billing import sources  # noqa: PLC0415
    from billing.imports import calls  # noqa: PLC0415
    from billing.imports.call_formats.ivy import COLUMNS  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    worlds.build(customers=options.customers)
    source = sources.register("benchmark", format="ivy", region="GB")
    cursor = connection.cursor()
    cursor.execute("SET ivy.allow_truncate = 'on'")
    cursor.execute(
        "INSERT INTO billing_callidentity (customer_id, kind, value)"
        " SELECT id, 'code', 'K' || substr(account, 2) FROM billing_customer"
    )
    # A copy, so that the real one keeps its history of vacuum and statistics as in service.
    cursor.execute(
        "CREATE TABLE full_copy (LIKE billing_callrecord INCLUDING ALL);"
        "CREATE TRIGGER full_copy_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON full_copy"
        " FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();"
        "CREATE TABLE bare_copy (LIKE billing_callrecord)"
    )
    cursor.execute("ANALYZE")
    file, ready = folder / "calls.csv", folder / "ready"
    write_calls(file, COLUMNS, options)

    def import_file() -> calls.CallImport:
        with file.open("rb") as stream:
            return calls.take_in(calls.read(stream, source=source), source=source, file_name=file.name)

    def copy_into(table: str) -> None:
        with ready.open("rb") as stream, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            while block := stream.read(BLOCK):
                copy.write(block)

    say(f"Warming up: {import_file().as_json()}")
    with ready.open("wb") as out, cursor.copy("COPY billing_callrecord TO STDOUT") as copy:
        for block in copy:
            out.write(block)

    work: dict[str, Callable[[], object]] = {
        STEPS[0]: lambda: copy_into("full_copy"),
        STEPS[1]: lambda: copy_into("bare_copy"),
        STEPS[2]: import_file,
    }
    seconds: dict[str, list[float]] = {step: [] for step in STEPS}
    for number in range(options.rounds):
        for step in STEPS:
            cursor.execute("TRUNCATE full_copy, bare_copy, billing_callrecord")
            cursor.execute("CHECKPOINT")
            seconds[step].append(timed(work[step]))
        say(f"Round {number + 1}: " + ", ".join(f"{step} {seconds[step][-1]:.1f} s" for step in STEPS))
    again = timed(import_file)

    raw, bare, imported = (median(seconds[step]) for step in STEPS)
    tell(f"{options.calls:,} calls, {options.customers:,} customers, medians of {options.rounds}\n")
    tell(f"{'work':<28}{'seconds':>9}{'calls/s':>10}{'x raw COPY':>12}{'x without indexes':>19}")
    for name, taken in (*zip(STEPS, (raw, bare, imported), strict=True), ("import again, all duplicates", again)):
        tell(f"{name:<28}{taken:>9.1f}{options.calls / taken:>10,.0f}{taken / raw:>12.2f}{taken / bare:>19.2f}")
    tell(f"\nGoal: import at most {GOAL} x raw COPY; {'reached' if imported <= GOAL * raw else 'missed'}.")
    return 0


def write_calls(file: Path, columns: Sequence[str], options: argparse.Namespace) -> None:
    """Outbound calls two seconds apart, numbers as dialled in Britain: every fifth at home, the others abroad."""
    chance = random.Random(1)
    with file.open("w", newline="") as out:
        write = csv.writer(out).writerow
        write(columns)
        for number in range(options.calls):
            started_at = FIRST_CALL + timedelta(seconds=2 * number)
            answered_at = started_at + timedelta(seconds=chance.randrange(1, 20))
            seconds = chance.randrange(1, 600)
            at_home = number % 5 == 0
            write(
                (
                    f"bench-{number:09d}.{chance.randrange(10**6)}",
                    f"{'CK'[number % 2]}{chance.randrange(options.customers) + 1}",
                    "outbound",
                    f"020 7946 0{chance.randrange(1000):03d}",
                    f"0{chance.randrange(20, 80) * 10**8 + number}"
                    if at_home
                    else f"00{chance.randrange(10**10, 10**12)}",
                    f"{started_at:%Y-%m-%dT%H:%M:%SZ}",
                    f"{answered_at:%Y-%m-%dT%H:%M:%SZ}",
                    f"{answered_at + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}",
                    seconds,
                    "answered",
                )
            )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(sentence: str) -> None:
    """How it is going."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def tell(line: str) -> None:
    """What came out."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
