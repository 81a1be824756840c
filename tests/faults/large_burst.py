"""Halting notifications in the middle of a burst of ten thousand mails, on the server of DATABASE_URL.

    python -m tests.faults.large_burst [--mails 10000]

Two workers hand mails over to a real mail server. Halfway `halt notifications` is called; from the moment it returns no
mail may reach the point of no return, while the answers of mails in flight are kept and billing goes on. Some customers
are topped up meanwhile. After `resume` all others are told, once. Exit status 1 if anything of that did not hold.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from typing import Any

import psycopg

from benchmarks import databases
from benchmarks.hand_over import WORLD
from tests.faults.mailserver import MailServer

WORK = "ivy_large_burst"
TOPPED_UP = 500

TOP_UP = """
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
                                 description, reason, entered_by)
    SELECT 'payment:bank:again-' || customer_id, customer_id, 'payment', 50, 'EUR', now(),
        date_trunc('month', now())::date, 1, 'Payment', '', ''
    FROM notifications_notificationlog WHERE state = 'pending' ORDER BY id DESC LIMIT %s
"""


def main() -> int:
    """Do it, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=10_000)
    mails = parser.parse_args().mails
    server = MailServer()
    server.start()
    try:
        with databases.temporary(WORK) as url:
            return halt_halfway(url, mails, server)
    finally:
        server.stop()


def halt_halfway(url: str, mails: int, server: MailServer) -> int:
    databases.manage(url, "migrate", "-v0")
    with psycopg.connect(url) as database:
        database.execute(WORLD.replace("%(mails)s", str(mails)).encode())
    databases.manage(url, "run_billing")
    command(url, server, "halt", "notifications", "--reason", "owed first")
    owed = command(url, server, "run_notifications")
    command(url, server, "resume", "notifications", "--reason", "now they go out")
    print(f"{owed['pending']} mails owed", flush=True)

    sender = threading.Thread(
        target=command, args=(url, server, "run_notifications", "--workers=2"), kwargs={"may_fail": True}
    )
    sender.start()
    while len(server.accepted) < mails // 2:
        time.sleep(0.01)
    began = time.monotonic()
    command(url, server, "halt", "notifications", "--reason", "halfway")
    took = time.monotonic() - began
    with psycopg.connect(url, autocommit=True) as database:
        returned, begun = one(
            database, "SELECT clock_timestamp(), count(sending_at) FROM notifications_notificationlog"
        )
        print(f"halt returned after {took:.1f} s, its own start included; {begun} mails had begun")
        sender.join()
        database.execute(TOP_UP, [TOPPED_UP])
        billed = command(url, server, "run_billing")
        time.sleep(2)
        later, states = began_after(database, returned), by_state(database)
        print(f"afterwards: {later} more began; {states}; {len(server.accepted)} taken; billing: {billed['state']}")
        command(url, server, "resume", "notifications", "--reason", "go on")
        command(url, server, "run_notifications", "--workers=2")
        final = by_state(database)
    told = Counter(mail.to for mail in server.accepted)
    twice = sum(count > 1 for count in told.values())
    print(
        f"in the end: {final}; {len(told)} customers told, {twice} of them twice, {mails - len(told)} topped up in time"
    )
    held = (
        later == 0
        and states.get("sending", 0) == 0
        and begun == states["sent"] + states.get("uncertain", 0)
        and billed["state"] == "done"
    )
    return 0 if held and twice == 0 and len(told) == mails - TOPPED_UP == final["sent"] else 1


def command(url: str, server: MailServer, *words: str, may_fail: bool = False) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "manage.py", *words, "--json"],
        env=databases.environment(url, email=server.url), cwd=databases.CHECKOUT, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode and not may_fail and not (words[0] == "run_notifications" and done.returncode == 3):
        raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def one(database: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = database.execute(query.encode()).fetchone()
    assert row is not None
    return row


def began_after(database: psycopg.Connection[Any], moment: datetime) -> int:
    row = database.execute(
        "SELECT count(*) FROM notifications_notificationlog WHERE sending_at > %s", [moment]
    ).fetchone()
    return row[0] if row else 0


def by_state(database: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(database.execute("SELECT state, count(*) FROM notifications_notificationlog GROUP BY state").fetchall())


if __name__ == "__main__":
    sys.exit(main())
