"""The load of `tests.faults.redis_failures`: every second a customer falls, and a billing cycle and a pass follow.

    python -m tests.faults.redis_load FILE

writes the seconds that each cycle took to FILE, a line each. It looks at its cache as a queue worker does, but raises
no alarms, and does not look at each pass: with a cycle a second, both would come sooner than in life. Ends at SIGTERM.
"""

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import django


def main(told: Path) -> None:
    """Fall, bill, tell, until asked to end."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    django.setup()
    from billing import cycle as billing_cycle
    from billing.imports.items import import_items
    from ivy import probing
    from ivy.models import Role
    from notifications import cycle as notifications_cycle

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    probing.start(Role.WORKER)
    header = "reference,account,description,kind,amount,starts_on\n"
    with told.open("a") as cycles:
        for number in range(1500):
            today = datetime.now(UTC).date()
            import_items(f"{header}fall-{number},C{number},Porting,one_off,13,{today}\n".encode())
            began = time.monotonic()
            billing_cycle.scheduled()
            notifications_cycle.scheduled()
            cycles.write(f"{time.monotonic() - began:.4f}\n")
            cycles.flush()
            time.sleep(1)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(0)
