"""`kill -9` of each process of the queue's cluster as in production: schedules by the minute, two minutes' patience.

    python -m tests.faults.cluster_kills

runs the cluster and tick on private servers, kills one process after the other, starts the cluster anew when it has
ended, as a supervisor does, and prints a table. With each kill, an item becomes due that makes a customer's balance
fall below her alert: how soon she is charged and told is measured as well. Exit status 1 if anybody was charged or told
twice, or not at all. Takes a quarter of an hour.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import django

ON_STAGE = "IVY_CLUSTER_KILLS_ON_STAGE"
LONGEST_SECONDS = 400.0
ROLES = [
    "main",
    "sentinel",
    "busy worker",
    "idle workers",
    "pusher",
    "monitor",
    "nothing: the database is away for 30 s",
]


def main() -> int:
    """Set the stage, and play on it in a process that knows no other database; then compare with the mailbox."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    if ON_STAGE in os.environ:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return play()
    os.environ.setdefault("DATABASE_URL", "postgres://nobody@localhost/nothing")
    os.environ.setdefault("CACHE_URL", "redis://localhost:1/0")
    os.environ.setdefault("DEBUG", "true")
    from ivy.rehearsal.stage import stage

    with stage() as here:
        status, said = here.manage("migrate", "--verbosity=0")
        assert status == 0, said
        command = [sys.executable, "-m", "tests.faults.cluster_kills"]
        playing = subprocess.Popen(command, env={**here.environment, ON_STAGE: "yes"})
        try:
            status = playing.wait()
        finally:
            playing.terminate()
            playing.wait()
        mails = Counter(to for to, _ in here.mailbox.taken)
    print(f"mails that the server took: {sum(mails.values())}, to {len(mails)} customers")
    return 0 if status == 0 and len(mails) == len(ROLES) == sum(mails.values()) else 1


@dataclass
class Seen:
    """What became of one kill. Seconds from the kill on."""

    role: str
    happened: str
    queue_back: float
    charged: float
    told: float


def play() -> int:
    """Kill one process after the other, and print the table."""
    django.setup()
    from billing.models import LedgerEntry
    from ivy.models import Repair
    from tests.faults import clusters

    with tempfile.TemporaryDirectory() as folder:
        running = clusters.RunningCluster(Path(folder), patience=120, stop_within=15, starts_cold=True)
        with (Path(folder) / "tick").open("wb") as log, kept_running(running):
            tick = subprocess.Popen([sys.executable, "manage.py", "tick"], stdout=log, stderr=log)
            try:
                seen = [play_one(running, role) for role in ROLES]
            finally:
                tick.terminate()
                tick.wait()
    print("\n| killed | what happened | the queue works again after | charged after | told after |")
    print("|---|---|---|---|---|")
    for one in seen:
        print(f"| {one.role} | {one.happened} | {one.queue_back:.0f} s | {one.charged:.0f} s | {one.told:.0f} s |")
    print("\nrepairs noted:", *Repair.objects.values_list("what", flat=True), sep="\n  ")
    charges = Counter(LedgerEntry.objects.filter(kind="one_off").values_list("key", flat=True))
    print(f"one-off charges: {sum(charges.values())} of {len(ROLES)}")
    return 0 if len(charges) == len(ROLES) == sum(charges.values()) else 1


@contextmanager
def kept_running(running: "clusters.RunningCluster") -> Iterator[None]:  # type: ignore[name-defined]  # noqa: F821
    """Start the cluster, and start it anew a second after it has ended, as a supervisor does."""
    is_over = threading.Event()

    def supervise() -> None:
        while not is_over.wait(0.2):
            if running.status is not None:
                time.sleep(1)
                running.start()

    running.start()
    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    try:
        yield
    finally:
        is_over.set()
        supervisor.join()
        running.end()


def play_one(running: "clusters.RunningCluster", role: str) -> Seen:  # type: ignore[name-defined]  # noqa: F821
    """One kill, and all that follows from it until the queue works, the customer is charged and told."""
    from billing.models import LedgerEntry
    from notifications.models import NotificationLog
    from tests.billing.at_once import locked_balances
    from tests.factories import make_alert, make_customer, make_item
    from tests.faults import clusters
    from tests.faults.processes import wait_until

    clusters.wait_for_the_canary(seconds=LONGEST_SECONDS)
    running.wait_until_up()
    customer = make_customer(email=f"mei.{ROLES.index(role)}@example.net", name="Mei Tanaka", balance=20)
    make_alert(customer=customer, threshold=Decimal(10))
    starts = running.starts
    item = {"customer": customer, "kind": "one_off", "amount": Decimal(15), "interval": ""}
    if role == "busy worker":
        make_item(**item)
        with locked_balances(customer.pk):  # billing is at work, and can't be done
            billing = wait_until(clusters.who_bills, seconds=LONGEST_SECONDS, what="a billing run")
            assert billing
            os.kill(billing, signal.SIGKILL)
            began, before = time.monotonic(), clusters.canary()
    elif role == "idle workers":
        running.kill_idle_workers()
        began, before = time.monotonic(), clusters.canary()
        make_item(**item)
    elif role in {"main", "sentinel", "pusher", "monitor"}:
        os.kill(running.who_is(role)[0], signal.SIGKILL)
        began, before = time.monotonic(), clusters.canary()
        make_item(**item)
    else:
        from tests.faults.test_cluster import away_database

        began = time.monotonic()
        with away_database():
            time.sleep(30)
        before = clusters.canary()
        make_item(**item)
    after = seconds_until(
        began,
        queue_back=lambda: clusters.canary() != before,
        charged=lambda: LedgerEntry.objects.filter(customer_id=customer.pk, kind="one_off").exists(),
        told=lambda: NotificationLog.objects.filter(customer=customer, state="sent").exists(),
    )
    happened = "went on by itself"
    if running.starts > starts:
        happened = "the cluster ended and was started anew"
    elif role == "monitor":
        # The queue works, but nobody keeps its results: the next monitor waits for the lock that this one held.
        wait_until(lambda: running.starts > starts, seconds=LONGEST_SECONDS, what="the watchdog")
        took = time.monotonic() - began
        happened = f"went on; its results were lost, and the watchdog ended the cluster after {took:.0f} s"
    seen = Seen(role, happened, **after)
    print(seen, flush=True)
    return seen


def seconds_until(began: float, **what: Callable[[], bool]) -> dict[str, float]:
    """After how many seconds each of these was so."""
    from django.db import Error, connection

    after: dict[str, float] = {}
    while len(after) < len(what):
        for name, is_so in what.items():
            try:
                if name not in after and is_so():
                    after[name] = time.monotonic() - began
            except Error:
                connection.close()
        assert time.monotonic() - began < LONGEST_SECONDS, (
            f"not within {LONGEST_SECONDS:.0f} s: {set(what) - set(after)}"
        )
        time.sleep(0.2)
    return after


if __name__ == "__main__":
    sys.exit(main())
