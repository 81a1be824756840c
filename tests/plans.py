"""Plans that PostgreSQL chooses seldom, made to be chosen: what is claimed must not hang on statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A join that runs its inner side anew for each row of its outer one.
NAIVE = ("hashjoin", "mergejoin", "hashagg", "material")


@contextmanager
def naive_plans(execute: Callable[[str], Any], *, by_index: bool = False) -> Iterator[None]:
    """Let a connection, whose `execute` this is, join by nested loops alone during the block: with the help of indexes,
    or without any.
    """
    ways = [f"enable_{way}" for way in (*NAIVE, *(["seqscan"] if by_index else ["indexscan", "bitmapscan"]))]
    for way in ways:
        execute(f"SET {way} = off")
    try:
        yield
    finally:
        for way in ways:
            execute(f"RESET {way}")


def rows_read_from_steps(plan: dict[str, Any]) -> Iterator[float]:
    """How many rows were read from each step of a query (a common table expression), as EXPLAIN ANALYZE says.

    What is read anew for each row of something else counts each time.
    """
    if plan["Node Type"] == "CTE Scan":
        yield plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    for below in plan.get("Plans", []):
        yield from rows_read_from_steps(below)
