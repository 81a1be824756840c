"""Signs of life within one cluster of the queue: memory that its processes share and write to without a lock.

A process that is killed may hold a lock for ever, and with a lock in it this memory would be as dead as the rest.
"""

import ctypes
import time
from multiprocessing.sharedctypes import RawValue
from typing import Any

from django_q.brokers.orm import ORM

SLOTS = 256


class _Worker(ctypes.Structure):
    """One worker, written by itself alone. `busy_since`: 0 while it is idle."""

    _fields_ = (("pid", ctypes.c_int64), ("busy_since", ctypes.c_double))


class _Signs(ctypes.Structure):
    """Moments of the monotonic clock, which is one for all processes of a machine; 0: not yet."""

    _fields_ = (
        ("is_stopping", ctypes.c_int64),
        ("looked_at", ctypes.c_double),  # the pusher looked for tasks
        ("fetched_at", ctypes.c_double),  # the pusher found one
        ("begun_at", ctypes.c_double),  # a worker has begun one
        ("done_at", ctypes.c_double),  # a worker has done one
        ("kept_at", ctypes.c_double),  # the monitor has kept a result
        ("workers", _Worker * SLOTS),
    )


shared: Any = None  # a _Signs, within a cluster


def share() -> None:
    """Make the memory; processes that are forked from this one from now on have it as well."""
    global shared  # noqa: PLW0603 - one process, one cluster
    shared = RawValue(_Signs)


class Broker(ORM):
    """django-q2's queue in the database; the pusher of a cluster leaves a sign each time that it looks there."""

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Tasks that are ours to do, each with its id; waits a moment when there are none."""
        if shared is not None:
            shared.looked_at = time.monotonic()
        tasks: list[tuple[int, str]] | None = super().dequeue()
        if tasks and shared is not None:
            shared.fetched_at = time.monotonic()
        return tasks
