"""Statements that are planned once a connection behave as Django's own otherwise."""

import pytest
from django.db import ProgrammingError, connection, transaction

from billing import prepared
from billing.models import Partner

pytestmark = pytest.mark.django_db


def test_are_kept_by_the_server_after_some_runs() -> None:
    for number in range(prepared.PREPARE_AFTER + 2):
        assert prepared.fetch("SELECT %(number)s::integer + 41", {"number": number}) == [(number + 41,)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::integer + 41'")
        assert cursor.fetchone() == (1,)


def test_are_part_of_the_transaction_that_is_open() -> None:
    with transaction.atomic():
        prepared.fetch("SELECT set_config('lock_timeout', %(long)s, true)", {"long": "7s"})
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == ("7s",)


def test_may_be_djangos_own() -> None:
    for number in range(prepared.PREPARE_AFTER + 2):
        with prepared.planned_once():
            assert not Partner.objects.filter(slug=f"nobody-{number}").exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%billing_partner%'")
        assert cursor.fetchone() == (1,)


def test_raise_djangos_errors() -> None:
    for _ in range(2):
        with pytest.raises(ProgrammingError), transaction.atomic():
            prepared.fetch("SELECT nothing", {})


def test_that_return_nothing_have_no_rows() -> None:
    assert prepared.fetch("SET LOCAL lock_timeout = '7s'", {}) == []
