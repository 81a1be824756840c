"""The one door to Redis, while all is well; how it fails is told in tests/faults/test_cache_failures.py."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.db.models.functions import Now
from django.test import Client
from redis import exceptions

from billing.models import BillingRun
from ivy import cache, probing
from ivy.cache import Kind
from ivy.charged import KEY, Charged, charged_lately
from ivy.models import CacheFailure
from tests import factories


@pytest.fixture(autouse=True)
def _begin_anew() -> Iterator[None]:
    cache._forget()
    caches["redis"].clear()
    yield
    cache._forget()


@pytest.fixture
def nobody_answers(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "redis": {**settings.CACHES["redis"], "LOCATION": "redis://127.0.0.1:1/0"}}


class TestTheCache:
    def test_keeps_what_was_made(self) -> None:
        made = iter([1, 2])
        assert cache.get_or_make("number", lambda: next(made), seconds=60) == 1
        assert cache.get_or_make("number", lambda: next(made), seconds=60) == 1
        assert cache.get("number") == 1

    def test_keeps_nothing_too_as_a_value(self) -> None:
        made = iter([None, "a second time"])
        assert cache.get_or_make("nothing", lambda: next(made), seconds=60) is None
        assert cache.get_or_make("nothing", lambda: next(made), seconds=60) is None

    def test_raises_what_the_maker_raises_and_keeps_nothing_then(self) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                cache.get_or_make("quotient", lambda: 1 / 0, seconds=60)
        assert cache.get("quotient", "nothing") == "nothing"
        assert not cache.is_skipped()

    def test_takes_what_cannot_be_read_any_more_for_nothing(self) -> None:
        cache.set("old", "value", seconds=60)
        cache.raw_client().set(caches["redis"].make_key("old"), b"\x80\x04no pickle")  # as an older version may have
        assert cache.get_or_make("old", lambda: "new", seconds=60) == "new"
        assert cache.get("old") == "new"
        assert not cache.is_skipped()

    @pytest.mark.usefixtures("nobody_answers")
    def test_is_told_once_and_then_summed_up(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache, "SKIP_SECONDS", 0)
        for _ in range(5):
            cache.set("greeting", "hello", seconds=60)
        assert len(caplog.records) == 1
        assert caplog.records[0].levelno == logging.WARNING
        assert "(refused)" in caplog.text
        monkeypatch.setattr(cache, "SUMMARY_SECONDS", 0)
        cache.set("greeting", "hello", seconds=60)
        assert "and 4 times since" in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Kind.READ_ONLY),
        (exceptions.MasterDownError("MASTERDOWN Link with MASTER is down"), Kind.READ_ONLY),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Kind.OUT_OF_MEMORY),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), Kind.FAILED_SNAPSHOT),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), Kind.TOO_FEW_REPLICAS),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Kind.LOADING),
        (exceptions.TimeoutError("Timeout reading from socket"), Kind.FROZEN),
        (exceptions.TimeoutError("Timeout connecting to server"), Kind.FROZEN),
        (exceptions.AuthenticationError("invalid username-password pair"), Kind.LOG_IN),
        (exceptions.NoPermissionError("this user has no permissions"), Kind.LOG_IN),
        (exceptions.ResponseError("NOAUTH Authentication required."), Kind.LOG_IN),
        (exceptions.MaxConnectionsError("Too many connections"), Kind.POOL),
        (exceptions.ConnectionError("max number of clients reached"), Kind.TOO_MANY_CLIENTS),
        (exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."), Kind.REFUSED),
        (exceptions.ConnectionError("Error -2 connecting to redis:6379. Name or service not known."), Kind.REFUSED),
        (exceptions.ConnectionError("Connection closed by server."), Kind.LOST_CONNECTION),
        (ConnectionResetError(104, "Connection reset by peer"), Kind.LOST_CONNECTION),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), Kind.OTHER),
    ],
)
def test_each_trouble_has_its_name(error: Exception, kind: Kind) -> None:
    assert cache.kind_of(error) == kind


@pytest.mark.django_db
class TestCountedFailures:
    def test_add_up_in_the_database(self) -> None:
        for _ in range(2):
            cache.note_failure(exceptions.ReadOnlyError("no"))
            cache.note_failure(exceptions.ReadOnlyError("no, again"))
            probing.write_failures()
        probing.write_failures()
        failure = CacheFailure.objects.get()
        assert (failure.kind, failure.count, failure.words) == ("read-only", 4, "ReadOnlyError: no, again")
        assert failure.first_at <= failure.last_at <= datetime.now(UTC) + timedelta(seconds=1)

    def test_that_could_not_be_written_are_not_lost(self) -> None:
        cache.note_failure(exceptions.ReadOnlyError("no"))
        cache.give_back(cache.take_failures())
        cache.note_failure(exceptions.ReadOnlyError("no"))
        (taken,) = cache.take_failures()
        assert taken.count == 2
        assert cache.take_failures() == []


@pytest.mark.django_db
class TestWhatWasCharged:
    EUR = Charged("EUR", Decimal("1.50"), Decimal("3.75"))

    @pytest.fixture(autouse=True)
    def _runs(self) -> None:
        for ago, amount in ((0, {"EUR": "1.500000"}), (20, {"EUR": "2.25", "GBP": "7"}), (31, {"EUR": "1000"})):
            run = factories.make_run(amount=amount)
            BillingRun.objects.filter(pk=run.pk).update(started_at=Now() - timedelta(days=ago))

    def test_is_summed_up_by_currency_and_kept(self) -> None:
        assert charged_lately() == [self.EUR, Charged("GBP", Decimal(0), Decimal(7))]
        BillingRun.objects.all().delete()
        assert self.EUR in charged_lately()
        caches["redis"].delete(KEY)
        assert charged_lately() == []

    @pytest.mark.usefixtures("nobody_answers")
    def test_is_right_without_a_cache(self, client: Client, settings: Any) -> None:
        assert charged_lately() == [self.EUR, Charged("GBP", Decimal(0), Decimal(7))]
        settings.AXES_ENABLED = False
        client.force_login(factories.make_superuser())
        page = client.get("/admin/control/lately/").text
        assert "Charged by billing runs" in page
        assert "3.75" in page
