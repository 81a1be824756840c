"""Statements that are run again and again, planned once a connection: planning takes longer than running them.

Django's cursors put values into the text of each statement, so that the server plans every one anew.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection

PREPARE_AFTER = 5  # runs; psycopg's own default, which Django switches off


def fetch(query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """Run it, as a part of the transaction that is open if one is; its rows, none if it returns none.

    Raises Django's database errors. Where PostgreSQL can't tell the type of a parameter, the query has to.
    """
    connection.ensure_connection()
    raw: Any = connection.connection
    raw.prepare_threshold = PREPARE_AFTER
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []
