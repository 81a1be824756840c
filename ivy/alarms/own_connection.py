"""The alarms' own connection to the database, and the locks that it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import psycopg
from django.db import connection

CONNECT_SECONDS = 5
# Whoever holds a lock and was frozen loses both: the server ends a session that stays idle this long. Longer than
# looking at everything and than any delivery takes.
IDLE_SECONDS = 120
OPTIONS = (
    f"-c TimeZone=UTC -c idle_session_timeout={IDLE_SECONDS}s -c idle_in_transaction_session_timeout=30s"
    " -c statement_timeout=30s -c lock_timeout=10s"
)


class Lock(IntEnum):
    """What one process does at a time; the numbers of advisory locks."""

    LOOKING = 1_230_030
    MAILING = 1_230_031
    WEBHOOK = 1_230_032


@contextmanager
def own_connection() -> Iterator[psycopg.Connection[Any]]:
    """A connection beside Django's to the same database, each statement a transaction. Raises psycopg's errors."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(
        **parameters
        | {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "ivy alarms",
            "autocommit": True,
            "options": f"{parameters.get('options', '')} {OPTIONS}",
        }
    ) as own:
        yield own


@contextmanager
def one_at_a_time(own: psycopg.Connection[Any], lock: Lock) -> Iterator[bool]:
    """Hold the lock during the block; False, at once, if another process has it."""
    row = own.execute("SELECT pg_try_advisory_lock(%s)", [int(lock)]).fetchone()
    is_mine = bool(row and row[0])
    try:
        yield is_mine
    finally:
        if is_mine and not own.closed:
            own.execute("SELECT pg_advisory_unlock(%s)", [int(lock)])
