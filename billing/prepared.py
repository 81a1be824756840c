"""Statements that are run again and again, planned once a connection: planning takes longer than running them.

Django's cursors put values into the text of each statement, so that the server plans every one anew.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor
from django.db.transaction import TransactionManagementError

# Of each connection, for as long as it lives: to make one takes as long as to use it.
_cursors: WeakKeyDictionary[psycopg.Connection[Any], psycopg.Cursor[Any]] = WeakKeyDictionary()

PREPARE_AFTER = 5  # runs; psycopg's own default, which Django switches off


def fetch(query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Run it, as a part of the transaction that is open if one is; its rows, none if it returns none.

    Raises Django's database errors. Where PostgreSQL can't tell the type of a parameter, the query has to.
    """
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.prepare_threshold = PREPARE_AFTER
    cursor = _cursors.get(raw)
    if cursor is None:
        cursor = _cursors[raw] = psycopg.Cursor(raw)
    with connection.wrap_database_errors:
        cursor.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def planned_once() -> Iterator[None]:
    """Let Django's own queries be planned once a connection as well, where they are the same but for their values."""
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.prepare_threshold, before = PREPARE_AFTER, raw.cursor_factory
    raw.cursor_factory = ServerBindingCursor
    try:
        yield
    finally:
        raw.cursor_factory = before


def commit(query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Run it as a transaction of its own, in one step with its commit; its rows.

    Raises TransactionManagementError inside another transaction (a test's own around it excepted), with nothing done.
    """
    # Django tells a test's transaction by this mark alone, as `atomic(durable=True)` does.
    blocks: list[Any] = connection.atomic_blocks
    if blocks and not blocks[-1]._from_testcase:  # noqa: SLF001
        raise TransactionManagementError("It has to be committed here, and can't be inside another transaction.")
    return fetch(query, parameters)
