"""Real commits, and several connections at once: threads that talk to the database each by itself."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest
from django.db import connection

from tests.faults.processes import another_connection

Answer = TypeVar("Answer")

# Truncating the tables of all apps after each test would take twice as long.
real_commits = pytest.mark.django_db(transaction=True, available_apps=["billing", "notifications", "ivy"])


def at_once(*verbs: Callable[[], Answer]) -> list[Answer]:
    """Call the verbs in threads that begin at the same moment; their answers. Raises what any of them raised."""
    begin = threading.Barrier(len(verbs))

    def call(verb: Callable[[], Answer]) -> Answer:
        connection.ensure_connection()
        begin.wait(timeout=60)
        return verb()

    with ThreadPoolExecutor(len(verbs)) as pool:
        futures = [pool.submit(_and_hang_up, call, verb) for verb in verbs]
        return [future.result(timeout=120) for future in futures]


@contextmanager
def meanwhile(verb: Callable[[], Answer]) -> Iterator[Future[Answer]]:
    """Call the verb in a thread while the block runs; it must end when the block has. `.result()` is its answer."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(_and_hang_up, _call, verb)
        yield future
        future.result(timeout=120)


@contextmanager
def locked_balances(*customer_ids: int) -> Iterator[None]:
    """Somebody else is changing these customers' balances as long as the block runs."""
    with another_connection() as other, other.transaction():
        locked = other.execute(
            "SELECT customer_id FROM billing_customerbalance WHERE customer_id = ANY(%s) ORDER BY 1 FOR UPDATE",
            [list(customer_ids)],
        ).fetchall()
        assert len(locked) == len(customer_ids)
        yield


def _call(verb: Callable[[], Answer]) -> Answer:
    return verb()


def _and_hang_up(call: Callable[[Callable[[], Answer]], Answer], verb: Callable[[], Answer]) -> Answer:
    """Close the thread's connection at the end: the test database can't be dropped otherwise."""
    try:
        return call(verb)
    finally:
        connection.close()
