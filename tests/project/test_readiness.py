"""Whether a process is alive, and whether it can serve: asked by load balancers, by plain HTTP, without a session."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from billing.models import BillingRun, RunState
from ivy import pulses
from ivy.doors import readiness, views
from ivy.doors.readiness import Part
from ivy.models import Alarm, Pulse
from tests.factories import make_run
from tests.project.test_pages import STRICT

MOST_QUERIES = 8  # BEGIN and COMMIT of the write among them


@pytest.fixture
def all_well() -> None:
    """A billing run has ended, a task came through the queue, tick beats."""
    make_run()
    pulses.beat(pulses.QUEUE_CANARY)
    pulses.beat(pulses.TICK)


def age(pulse: str, by: timedelta) -> None:
    Pulse.objects.filter(name=pulse).update(beaten_at=Now() - by)


def unwell() -> dict[str, Part]:
    return {part.name: part for part in readiness.parts() if not part.ok}


@contextmanager
def read_only() -> Iterator[None]:
    """The database refuses writes on every new connection, as a replica does."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


class TestLive:
    def test_touches_nothing(self, client: Client) -> None:
        answer = client.get("/health/live")  # no mark: the database is out of reach here
        assert (answer.status_code, answer.json()) == (200, {"alive": True})

    def test_is_asked_only(self, client: Client) -> None:
        assert client.head("/health/live").status_code == 200
        assert client.post("/health/live").status_code == 405


@pytest.mark.django_db
@pytest.mark.usefixtures("all_well")
class TestTheParts:
    def test_are_all_well(self) -> None:
        for _ in range(2):
            assert [part.name for part in readiness.parts() if part.ok and part.sentence] == [
                "database", "cache", "queue", "tick", "billing", "notifications", "mail server",
            ]  # fmt: skip
            assert unwell() == {}

    @pytest.mark.parametrize(
        ("key", "part"),
        [
            ("cache", "cache"),
            ("cache-server", "cache"),
            ("mail-server", "mail server"),
            ("mails-not-taken", "mail server"),
            ("worker-missing", "queue"),
            ("billing-hangs", "billing"),
            ("breaker", "notifications"),
            ("source-quiet:pbx-north", "other"),
        ],
    )
    def test_are_unwell_while_an_alarm_stands(self, key: str, part: str) -> None:
        alarm = Alarm.objects.create(key=key, wrong="anna@example.com was refused by 10.0.0.7; 12 mails wait.")
        alarm.refresh_from_db()
        assert set(unwell()) == {part}
        told = unwell()[part]
        assert told.since == alarm.raised_at
        assert not [secret for secret in ("anna", "10.0.0.7", "12", "pbx-north") if secret in told.sentence]
        Alarm.objects.update(cleared_at=Now())
        assert unwell() == {}

    @pytest.mark.parametrize(
        ("happens", "part"),
        [
            (lambda: age(pulses.QUEUE_CANARY, timedelta(minutes=4)), "queue"),
            (lambda: age(pulses.TICK, timedelta(minutes=3)), "tick"),
            (lambda: Pulse.objects.filter(name=pulses.TICK).delete(), "tick"),
            (lambda: BillingRun.objects.update(ended_at=Now() - timedelta(minutes=6)), "billing"),
            (lambda: BillingRun.objects.update(state=RunState.FAILED), "billing"),
        ],
    )
    def test_are_unwell_when_a_sign_of_life_is_missing(self, happens: Callable[[], object], part: str) -> None:
        happens()
        assert set(unwell()) == {part}

    def test_take_a_run_that_is_under_way_for_a_sign_of_life(self) -> None:
        BillingRun.objects.update(state=RunState.RUNNING, ended_at=None)
        assert unwell() == {}

    def test_ask_the_database_a_few_things_however_much_is_wrong(self) -> None:
        Alarm.objects.bulk_create(
            Alarm(key=f"source-quiet:pbx-{number}", wrong="Nothing comes.") for number in range(30)
        )
        with CaptureQueriesContext(connection) as queries:
            readiness.parts()
        assert len(queries) <= MOST_QUERIES


@pytest.mark.django_db(transaction=True, available_apps=["billing", "ivy"])
@pytest.mark.usefixtures("all_well")
class TestReady:
    @pytest.fixture(autouse=True)
    def _wide_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A busy machine may take its time."""
        monkeypatch.setattr(views, "READY_SECONDS", 60.0)
        monkeypatch.setattr(views.CanServe, "timeout", timedelta(seconds=60))

    def test_tells_of_every_part_and_stays_ready_while_one_is_unwell(self, client: Client) -> None:
        assert client.get("/health/ready").json()["state"] == "ready"
        Alarm.objects.create(key="cache", wrong="Redis is away.")
        answer = client.get("/health/ready")
        assert answer.status_code == 200
        told = answer.json()
        assert (told["ready"], told["state"]) == (True, "degraded")
        assert [part["part"] for part in told["parts"] if not part["ok"]] == ["cache"]
        assert {tuple(part) for part in told["parts"]} == {("part", "ok", "since", "sentence")}

    def test_needs_no_session_and_is_kept_by_nobody(self, client: Client) -> None:
        for path in ("/health/live", "/health/ready"):
            answer = client.get(path)
            assert not answer.cookies
            assert "no-store" in answer["Cache-Control"]
            assert dict(one.strip().split(" ", 1) for one in answer["Content-Security-Policy"].split(";")) == STRICT

    def test_is_asked_by_plain_http(self, client: Client, settings: Settings) -> None:
        settings.SECURE_SSL_REDIRECT = True
        assert client.get("/").status_code == 301
        for path in ("/health/live", "/health/ready"):
            assert client.get(path).status_code == 200

    def test_is_asked_by_a_name_of_this_site_only(self, client: Client, settings: Settings) -> None:
        settings.ALLOWED_HOSTS = ["billing.example.com"]
        assert client.get("/health/ready", headers={"host": "10.0.0.7"}).status_code == 400
        assert client.get("/health/ready", headers={"host": "billing.example.com"}).status_code == 200

    def test_is_not_ready_when_the_database_takes_no_writes(self, client: Client) -> None:
        with read_only():
            answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json() == {
            "ready": False,
            "state": "not ready",
            "parts": [{"part": "database", "ok": False, "since": None, "sentence": "The database does not answer."}],
        }
        assert client.get("/health/ready").status_code == 200
