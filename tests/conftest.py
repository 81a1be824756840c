"""What every test stands on: a real PostgreSQL, whose append-only tables may be emptied between tests."""

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Let Django's flush TRUNCATE what a running Ivy lets nobody truncate: the test database carries the setting."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        name = connection.ops.quote_name(connection.settings_dict["NAME"])
        cursor.execute(f"ALTER DATABASE {name} SET ivy.allow_truncate = 'on'")
        cursor.execute("SET ivy.allow_truncate = 'on'")
