"""Workers for the long fault run, forked from one process that has loaded Django: a new one takes no second.

    python -m tests.faults.nursery ivy|get/set|ignoring|add

reads lines from its standard input and answers each with the new process's id: `worker SECONDS` (whose clock is off by
so much, and jumps at SIGUSR1), `actor FOLDER` (who charges and takes payments, see `act`). Ends with its input; its
children end when they find themselves orphaned.
"""

import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

JUMP = timedelta(hours=30)


def main(way: str) -> None:
    """Fork what is asked for, until nothing is asked any more."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    django.setup()
    logging.disable(logging.CRITICAL)
    import_everything()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed children vanish at once, as those of a supervisor
    for line in sys.stdin:
        kind, what = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.stdin.close()
            random.seed()
            try:
                work(way, float(what)) if kind == "worker" else act(Path(what))
            finally:
                os._exit(1)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def import_everything() -> None:
    """What the first pass would import, so that workers need not."""
    from billing import cycle as billing_cycle  # noqa: F401
    from billing.imports import items, payments  # noqa: F401
    from notifications import cycle  # noqa: F401
    from tests.faults import flagged_sender  # noqa: F401


def work(way: str, seconds_off: float) -> None:
    """Bill and tell, again and again, until killed."""
    import time_machine
    from django.db import connection

    parent = os.getppid()
    if seconds_off:
        shifted = time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds_off), tick=True)
        clock = shifted.start()
        signal.signal(signal.SIGUSR1, lambda *_: clock.shift(random.choice([JUMP, -JUMP])))
    one_pass = passes(way)
    while os.getppid() == parent:
        try:
            one_pass()
        except Exception:  # noqa: BLE001 - whatever a fault brings about: it goes on, as the next task of a queue would
            connection.close()
            time.sleep(0.3)
        time.sleep(0.1)


def passes(way: str) -> Callable[[], None]:
    """What a worker does again and again."""
    from billing import cycle as billing_cycle
    from notifications import cycle
    from tests.faults.flagged_sender import FlaggedSender

    if way == "ivy":

        def ivy() -> None:
            billing_cycle.scheduled(by="worker")
            cycle.scheduled()

        return ivy
    sender = FlaggedSender(way)

    def old_way() -> None:
        billing_cycle.scheduled(by="worker")
        sender.one_pass()

    return old_way


def act(folder: Path) -> None:
    """Take in what `folder` is given: `NAME.json` with one-off items and payments; `NAME.done` when it is committed.

    Through Ivy's own imports, repeated until they succeed: their references keep everything from being posted twice.
    """
    from django.db import InterfaceError, OperationalError, connection
    from django.utils import timezone

    from billing.imports.items import import_items
    from billing.imports.payments import import_payments

    parent = os.getppid()
    while os.getppid() == parent:
        for order in sorted(folder.glob("*.json")):
            wanted = json.loads(order.read_text())
            today = datetime.now(UTC).date()
            items = "".join(f"{ref},{account},Porting,one_off,{amount},{today}\n" for ref, account, amount in
                            wanted["charges"])  # fmt: skip
            payments = "".join(f"{ref},{account},{amount}\n" for ref, account, amount in wanted["payments"])
            try:
                if items:
                    import_items(f"reference,account,description,kind,amount,starts_on\n{items}".encode())
                if payments:
                    import_payments(f"reference,account,amount\n{payments}".encode(), at=timezone.now())
            except (InterfaceError, OperationalError):  # the database is away
                connection.close()
                time.sleep(0.2)
                continue
            order.rename(order.with_suffix(".done"))
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
