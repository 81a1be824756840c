"""Plans that PostgreSQL chooses seldom, made to be chosen: what is claimed must not hang on statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A join that runs its inner side anew for each row of its outer one.
NAIVE = [f"enable_{way}" for way in ("hashjoin", "mergejoin", "hashagg", "material", "indexscan", "bitmapscan")]


@contextmanager
def naive_plans(execute: Callable[[str], Any]) -> Iterator[None]:
    """Let a connection, whose `execute` this is, join by nested loops alone during the block."""
    for way in NAIVE:
        execute(f"SET {way} = off")
    try:
        yield
    finally:
        for way in NAIVE:
            execute(f"RESET {way}")
