"""What every test stands on: a real PostgreSQL, copied in a moment and emptied in another, append-only or not."""

import os
import time

import pytest
from django.conf import settings
from django.core.management.color import Style
from django.db import connection
from pytest_django import DjangoDbBlocker


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Copy the database that `script/test` has migrated, if it has: a moment, where migrations take many seconds."""
    if template := os.environ.get("IVY_TEST_TEMPLATE"):
        settings.DATABASES["default"].setdefault("TEST", {})["TEMPLATE"] = template
        connection.settings_dict["TEST"]["TEMPLATE"] = template


HALF_HOUR = 1800


@pytest.fixture(autouse=True)
def _not_across_a_full_hour() -> None:
    """Wait where a test would see its hour end, or, in some time zone, its day or its month."""
    left = HALF_HOUR - time.time() % HALF_HOUR
    if left < 20:  # seconds; the longest test that looks at the clock, on a slow machine
        time.sleep(left)


# What Django's flush does. Its TRUNCATE makes new files for a hundred tables and all of their indexes, which takes tens
# of times as long as looking into each table and deleting what is there. The locks are the same, so that it waits for
# whoever still writes, and as with TRUNCATE no trigger of a row fires. Large tables are truncated: no test is to read
# past the dead rows of others, those of transactions that were rolled back included.
FLUSH = """
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE;
    SET LOCAL session_replication_role = replica;
    FOREACH name IN ARRAY ARRAY[{literals}] LOOP
        IF pg_relation_size(quote_ident(name)) > 500000 THEN
            EXECUTE format('TRUNCATE %I CASCADE', name);
            CONTINUE;
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
END $$
"""

# The tables of which some row refers to a row of these tables, and those of which some row refers to those.
REFERRING = """
WITH RECURSIVE referring AS (
    SELECT name::regclass::oid AS table_oid FROM unnest(%s::text[]) AS name
    UNION
    SELECT conrelid FROM pg_constraint JOIN referring ON confrelid = table_oid WHERE contype = 'f'
)
SELECT relname FROM referring JOIN pg_class ON pg_class.oid = table_oid ORDER BY relname
"""
KEPT = {"django_content_type", "auth_permission"}  # made by migrations, and again by each flush


def quick_flush(style: Style, tables: list[str], *, reset_sequences: bool, allow_cascade: bool) -> list[str]:
    """The SQL that empties the tables, in place of PostgreSQL's `sql_flush` in Django."""
    with connection.cursor() as cursor:
        if allow_cascade:
            cursor.execute(REFERRING, [[connection.ops.quote_name(table) for table in tables]])
            tables = [name for (name,) in cursor.fetchall()]
    chosen = [table for table in tables if table not in KEPT]
    names = ", ".join(connection.ops.quote_name(table) for table in chosen)
    return [FLUSH.format(names=names, literals=", ".join(f"'{table}'" for table in chosen))]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let Django's flush TRUNCATE what a running Ivy lets nobody truncate: the test database carries the setting."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET ivy.allow_truncate = 'on'")
        cursor.execute("SET ivy.allow_truncate = 'on'")
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() == (True,):  # others may not leave triggers out
            connection.ops.sql_flush = quick_flush
