"""Each failure of Redis, made for real while Ivy runs: how long until it is told, and until it is cleared.

    python -m tests.faults.redis_failures [--only KIND ...]

Starts private servers, a web server, the queue, tick, and a load: every second a customer falls below its threshold,
and a billing cycle and a notification pass follow. Then Redis fails in one way after the other; each time until the
standing alarm `cache` names it, and until it is cleared after the end. In the end every fall was charged once and told
once, or the exit status is 1, as it is where something took longer than 90 s. Ends by itself within a quarter of an
hour, and ends what it has started.
"""

import argparse
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from ivy.cache import Kind
from tests.faults.mailserver import MailServer, free_port
from tests.faults.redis_server import FAILURES, Child, Family, RedisServer, servers

CHECKOUT = Path(__file__).resolve().parents[2]
CUSTOMERS = 1500
LONGEST_SECONDS = 14 * 60.0
GOAL_SECONDS = 90.0
QUIET_SECONDS = 20.0
LEAST_CYCLES = 5

WORLD = """
INSERT INTO notifications_breakerlimits (id, mails_a_recipient_a_day, held_customers_an_hour, mails_an_hour,
    busiest_hour_factor, customers_a_pass, share_of_customers_a_pass, released_a_minute)
    VALUES (1, 10000, 100000, 1000000, 3, 1000000, 0.25, 60)
"""
STANDING = "SELECT key FROM ivy_alarm WHERE cleared_at IS NULL"
LOOKING = "SELECT count(*) FROM ivy_probe WHERE part = 'cache' AND is_well"
NOT_WELL = "SELECT count(*) FROM ivy_probe WHERE part = 'cache' AND NOT is_well"
CHARGED = """
SELECT i.reference, count(l.id) FROM billing_billingitem i
LEFT JOIN billing_ledgerentry l ON l.key LIKE 'item:' || i.reference || ':%%' GROUP BY 1
"""


@dataclass
class Row:
    """One failure: seconds until it was told and cleared, and by how much the slowest cycle was slower than usual."""

    name: str
    told: float | None
    cleared: float | None
    slower: float
    note: str = ""


def main() -> int:
    """All failures, one after the other; the table, and whether everybody was charged and told once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[kind.value for kind in FAILURES], help="these kinds alone")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running_ivy() as stage:
        rows = stage.all_failures([kind for kind in FAILURES if not options.only or kind.value in options.only])
        trouble = stage.reckon()
    print("\n" + "\n".join(table(rows)))
    print("".join(f"trouble: {line}\n" for line in trouble) or "Every fall was charged once and told once.")
    is_quick = all(max(row.told or 0, row.cleared or 0) < GOAL_SECONDS and row.slower < 2 for row in rows)
    return 0 if is_quick and not trouble else 1


def table(rows: list[Row]) -> list[str]:
    """As it stands in docs/reliability.md."""
    lines = ["| failure | told after | cleared after | slowest cycle slower by |", "|---|---|---|---|"]
    for row in rows:
        told = f"{row.told:.0f} s" if row.told is not None else row.note
        cleared = f"{row.cleared:.0f} s" if row.cleared is not None else "-"
        lines.append(f"| {row.name} | {told} | {cleared} | {max(row.slower, 0):.2f} s |")
    return lines


class Stage:
    """Ivy's processes on private servers."""

    def __init__(self, folder: Path, family: Family, redis: RedisServer, mails: MailServer, url: str) -> None:
        self.folder = folder
        self.family = family
        self.redis = redis
        self.mails = mails
        self.url = url
        self.deadline = time.monotonic() + LONGEST_SECONDS
        self.cycles = folder / "cycles"
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "CACHE_URL": redis.url,
            "EMAIL_URL": mails.url,
            "JOURNAL_URL": "",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DEBUG": "true",
            "PYTHONPATH": str(CHECKOUT),
        }

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as database:
            found = database.execute(query.encode())
            return found.fetchall() if found.description else []

    def manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT, env=self.environment, check=False, capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def set_up(self) -> None:
        """A world of customers, and the processes."""
        self.manage("migrate", "-v0")
        partners, customers = self.folder / "partners.csv", self.folder / "customers.csv"
        partners.write_text("slug,name,sender,currency,timezone\nquayside,Quayside,billing@quayside.example,EUR,UTC\n")
        header = "account,partner,name,email,currency,timezone,low_balance_threshold,opening_balance"
        rows = [f"C{n},quayside,Customer {n},c{n}@example.net,EUR,UTC,10,20" for n in range(CUSTOMERS)]
        customers.write_text("\n".join([header, *rows, ""]))
        self.manage("import_partners", str(partners))
        self.manage("import_customers", str(customers))
        self.sql(WORLD)
        self.manage("run_billing")
        gunicorn = ["gunicorn", "ivy.wsgi", "--bind=127.0.0.1:0", "--workers=1", "--no-control-socket"]
        for name, *command in (
            ("web", "-m", *gunicorn),
            ("queue", "manage.py", "qcluster"),
            ("tick", "manage.py", "tick"),
            ("load", "-m", "tests.faults.redis_load", str(self.cycles)),
        ):
            self.family.start(
                Child(
                    name=name, command=[sys.executable, *command], log=self.folder / f"{name}.log",
                    env=self.environment, cwd=CHECKOUT, patience_seconds=15,
                )
            )  # fmt: skip
        self.wait(lambda: self.sql(LOOKING)[0][0] >= 5, 60)

    def all_failures(self, kinds: list[Kind]) -> list[Row]:
        """One after the other, each on a world that is well again."""
        self.wait(lambda: len(self.seconds_of_cycles()) >= 3 * LEAST_CYCLES, 60)
        usual = statistics.median(self.seconds_of_cycles())
        print(f"A cycle usually takes {usual:.2f} s.", flush=True)
        rows = []
        for kind in kinds:
            if time.monotonic() > self.deadline:
                print("Out of time.")
                break
            rows.append(self.one_failure(kind, usual))
            print(table(rows)[-1], flush=True)
        for name, break_it in (("killed connections", self.redis.drop_clients), ("empty restart", self.redis.restart)):
            if time.monotonic() < self.deadline:
                rows.append(self.no_failure(name, break_it, usual))
                print(table(rows)[-1], flush=True)
        return rows

    def one_failure(self, kind: Kind, usual: float) -> Row:
        before = len(self.seconds_of_cycles())
        began = time.monotonic()
        with FAILURES[kind](self.redis):
            told = self.wait(lambda: f"cache:{kind}" in self.standing(), GOAL_SECONDS, began)
            self.wait(lambda: len(self.seconds_of_cycles()) >= before + LEAST_CYCLES, 30)
        ended = time.monotonic()
        cleared = self.wait(lambda: not self.cache_alarms(), GOAL_SECONDS, ended)
        slowest = max(self.seconds_of_cycles()[before:], default=0.0)
        self.wait(lambda: not self.sql(NOT_WELL)[0][0], 30)
        missing = f"not within {GOAL_SECONDS:.0f} s"
        return Row(kind.value, told or GOAL_SECONDS, cleared or GOAL_SECONDS, slowest - usual, missing)

    def no_failure(self, name: str, break_it: Callable[[], object], usual: float) -> Row:
        """What no write notices: told, if at all, as a server that changed (which stands for half an hour)."""
        self.sql("UPDATE ivy_probe SET is_well = true, kind = '', words = '' WHERE part = 'cache-server'")
        self.wait(lambda: "cache-server" not in self.standing(), GOAL_SECONDS)
        before = len(self.seconds_of_cycles())
        began = time.monotonic()
        break_it()
        told = self.wait(lambda: self.cache_alarms() | (self.standing() & {"cache-server"}), 2 * QUIET_SECONDS, began)
        slowest = max(self.seconds_of_cycles()[before:], default=0.0)
        return Row(name, told, None, slowest - usual, "nothing fails, nothing is told")

    def standing(self) -> set[str]:
        return {key for (key,) in self.sql(STANDING)}

    def cache_alarms(self) -> set[str]:
        return {key for key in self.standing() if key.startswith("cache:")}

    def seconds_of_cycles(self) -> list[float]:
        if not self.cycles.exists():
            return []
        return [float(line) for line in self.cycles.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait(self, is_so: Callable[[], object], seconds: float, began: float | None = None) -> float | None:
        """Until it is so: how long that took; None if it did not come."""
        began = time.monotonic() if began is None else began
        while not is_so():
            if time.monotonic() - began > seconds:
                return None
            time.sleep(0.2)
        return time.monotonic() - began

    def reckon(self) -> list[str]:
        """Stop the load, let the rest be done, and compare what was charged and told with what fell."""
        self.family.stop([child for child in self.family.children if child.name != "PostgreSQL"])
        self.manage("run_billing")
        self.manage("run_notifications")
        self.manage("reconcile")
        charges = self.sql(CHARGED.replace("%%", "%"))
        trouble = [f"{reference} was charged {count} times" for reference, count in charges if count != 1]
        for reference, _ in charges:
            address = f"c{reference.rpartition('-')[2]}@example.net"
            if (count := len(self.mails.mails_to(address))) != 1:
                trouble.append(f"{address} was told {count} times")
        print(f"{len(charges)} falls.")
        return trouble


@contextmanager
def running_ivy() -> Iterator[Stage]:
    """Everything, and its end whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="ivy-redis-failures-"))
    folder.chmod(0o755)
    family = Family(folder / "processes.json")
    where = servers.place(folder)
    mails = MailServer()
    redis = RedisServer()
    try:
        mails.start()
        url = servers.postgres(where, family, port=free_port(), is_throwaway=True)
        stage = Stage(folder, family, redis, mails, url)
        stage.set_up()
        yield stage
    finally:
        family.stop([child for child in family.children if child.name != "PostgreSQL"])
        family.stop()
        redis.end()
        mails.stop()
        for leftover in {folder, where.folder}:
            shutil.rmtree(leftover, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
