"""PostgreSQL: a committed write. One that only reads (a standby, a full disk) would answer everything else."""

import time

from django.db import Error

from ivy import pulses
from ivy.probes import Finding


def look(*, pulse: str) -> Finding:
    """Beat the pulse of that name. Never raises because of the database; bounded by its connection's time-outs."""
    began = time.monotonic()
    try:
        pulses.beat(pulse)
    except Error as error:
        return Finding(False, " ".join(str(error).split())[:300], "no-write")
    milliseconds = round((time.monotonic() - began) * 1000)
    return Finding(True, f"took a write in {milliseconds} ms", facts={"milliseconds": milliseconds})
