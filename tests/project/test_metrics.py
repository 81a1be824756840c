"""The figures that Prometheus reads: what they say, whom they are told, and what it costs to tell them."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from billing.models import HaltCause, Process, QuarantineReason, RunState
from ivy import pulses
from ivy.doors import metrics, views
from ivy.models import Alarm, CacheFailure, Probe, Role
from notifications.models import BreakerTrip, State
from tests.factories import (
    PASSWORD,
    make_batch,
    make_call,
    make_item,
    make_partner,
    make_quarantined_call,
    make_run,
    make_superuser,
    make_switch,
    make_user,
)
from tests.notifications.stories import make_mail
from tests.project.test_environment import ROOT, SOUND

TOKEN = "a-token-for-the-scraper-alone"
MOST_QUERIES = 16


@pytest.fixture(autouse=True)
def wide_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time; what the bounds do has a test of its own."""
    for name in ("SECONDS", "STATEMENT_SECONDS", "BEGIN_SECONDS"):
        monkeypatch.setattr(metrics, name, 60.0)
    monkeypatch.setattr(views, "SESSION_SECONDS", 60.0)


def collected() -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics.BusinessCollector().collect()}


def value(name: str, **labels: str) -> float | None:
    """The figure with exactly these labels; None where it isn't told."""
    metric = collected().get(name)
    return next((one.value for one in metric.samples if one.labels == labels), None) if metric else None


@pytest.mark.django_db
class TestTheFigures:
    def test_of_an_empty_ivy_are_nought_or_missing(self) -> None:
        for _ in range(2):
            assert value("ivy_billing_last_good_run_age_seconds") is None
            assert value("ivy_billing_run_under_way") == 0
            assert value("ivy_calls_pending") == 0
            assert value("ivy_mails_oldest_owed_age_seconds") == 0
            assert value("ivy_breaker_tripped") == 0
            assert value("ivy_alarms_standing") == 0

    def test_of_runs(self) -> None:
        make_run(state=RunState.FAILED)
        assert value("ivy_billing_last_good_run_age_seconds") is None
        make_run(state=RunState.HALTED)
        make_run(state=RunState.RUNNING)
        assert 0 <= (value("ivy_billing_last_good_run_age_seconds") or 0) < 60
        assert value("ivy_billing_run_under_way") == 1
        assert value("ivy_billing_runs_last_hour", state="failed") == 1
        assert value("ivy_billing_runs_last_hour", state="done") == 0

    def test_of_charges_are_those_of_today_s_runs(self) -> None:
        make_run(calls_billed=4, calls_free=2, item_charges=1, amount={"EUR": "12.50", "SEK": "1"})
        make_run(calls_billed=3, one_off_charges=5, calls_quarantined=1, amount={"EUR": "0.25"})
        with connection.cursor() as cursor:
            make_run(calls_billed=1000, amount={"EUR": "1000"})
            cursor.execute(
                "UPDATE billing_billingrun SET started_at = started_at - interval '1 day' WHERE calls_billed = 1000"
            )
        assert [value("ivy_charges_today", kind=kind) for kind in ("call", "recurring", "one_off")] == [7, 1, 5]
        assert value("ivy_charged_today_amount", currency="EUR") == 12.75
        assert value("ivy_charged_today_amount", currency="SEK") == 1
        assert value("ivy_calls_not_charged_today", outcome="free") == 2

    def test_of_the_backlog(self) -> None:
        make_item()
        for batch in (make_batch(call_count=2), make_batch(call_count=1)):
            make_call(batch=batch)
        assert value("ivy_calls_pending") == 3
        assert (value("ivy_calls_pending_oldest_age_seconds") or 0) > 0
        assert value("ivy_items_due") == 1

    def test_of_quarantine(self) -> None:
        make_quarantined_call()
        make_quarantined_call()
        make_quarantined_call(reason=QuarantineReason.NO_CUSTOMER)
        assert value("ivy_quarantined_calls", reason="no_rate") == 2
        assert value("ivy_quarantined_calls", reason="no_customer") == 1
        assert value("ivy_quarantined_calls", reason="no_deck") == 0

    def test_of_mails(self) -> None:
        make_mail(State.PENDING)
        make_mail(State.HELD)
        make_mail(State.SENT)
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails would go out.")
        assert value("ivy_mails", state="pending") == 1
        assert value("ivy_mails", state="held") == 1
        assert value("ivy_mails", state="uncertain") == 0
        assert value("ivy_mails", state="sent") is None
        assert (value("ivy_mails_oldest_owed_age_seconds") or 0) > 0
        assert value("ivy_breaker_tripped") == 1

    def test_of_switches_by_cause_and_partner(self) -> None:
        make_switch(process=Process.ITEMS, partner=make_partner(slug="quayside"))
        make_switch(process=Process.NOTIFICATIONS, cause=HaltCause.BREAKER)
        make_switch(process=Process.NOTIFICATIONS, is_halted=False)
        told = {
            (process, partner, cause): value("ivy_process_halted", process=process, partner=partner, cause=cause)
            for process in ("calls", "items", "notifications")
            for partner in ("", "quayside")
            for cause in ("staff", "breaker")
        }
        assert [which for which, halted in told.items() if halted] == [
            ("items", "quayside", "staff"),
            ("notifications", "", "breaker"),
        ]
        assert told["calls", "", "staff"] == 0
        assert (value("ivy_process_halted_age_seconds", process="items", partner="quayside", cause="staff") or 0) >= 0

    def test_of_what_must_keep_happening(self) -> None:
        for pulse in (pulses.QUEUE_CANARY, pulses.TICK, pulses.NOTIFICATIONS_DONE):
            pulses.beat(pulse)
        for name in ("ivy_queue_canary_age_seconds", "ivy_tick_age_seconds", "ivy_notification_pass_age_seconds"):
            age = value(name)
            assert age is not None
            assert 0 <= age < 60

    def test_of_probes_and_of_the_cache_s_failures(self) -> None:
        for role, pid, is_well in ((Role.WEB, 1, True), (Role.WORKER, 2, True), (Role.WORKER, 3, False)):
            Probe.objects.create(part="cache", role=role, host="web-a", pid=pid, is_well=is_well)
        CacheFailure.objects.create(kind="frozen", count=3)
        CacheFailure.objects.create(kind="read-only", count=1)
        assert value("ivy_part_well", part="cache", role="web") == 1
        assert value("ivy_part_well", part="cache", role="worker") == 0
        assert value("ivy_cache_failures", kind="frozen") == 3

    def test_of_alarms_by_key(self) -> None:
        Alarm.objects.create(key="mail-server", wrong="The mail server refuses anna@example.com.")
        assert value("ivy_alarms_standing") == 1
        assert (value("ivy_alarm_age_seconds", key="mail-server") or 0) >= 0

    def test_cost_the_same_few_queries_however_much_there_is(self) -> None:
        for _ in range(5):
            make_quarantined_call()
            make_run(amount={"EUR": "1", "SEK": "1"})
            make_mail(State.PENDING)
        Alarm.objects.bulk_create(Alarm(key=f"source-quiet:pbx-{number}", wrong="Nothing.") for number in range(20))
        with CaptureQueriesContext(connection) as queries:
            collected()
        assert len(queries) <= MOST_QUERIES

    def test_have_names_and_words_as_prometheus_wants_them(self) -> None:
        for name, metric in collected().items():
            assert name.startswith("ivy_")
            assert metric.documentation.endswith(".")
            assert ("age" not in name.split("_")) or name.endswith("_seconds")

    def test_name_nobody(self) -> None:
        make_mail(State.PENDING)
        make_quarantined_call()
        told = " ".join(str(sample) for metric in collected().values() for sample in metric.samples)
        assert "@" not in told
        assert "+" not in told


@pytest.mark.django_db(transaction=True, available_apps=["billing", "ivy", "notifications", "django_q"])
class TestAFigureThatTakesTooLong:
    def test_is_left_out_and_told_and_the_others_come(
        self, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.METRICS_TOKEN = TOKEN
        monkeypatch.setattr(metrics, "STATEMENT_SECONDS", 1.0)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE billing_quarantinedcall IN ACCESS EXCLUSIVE MODE")
            answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        told = {family.name: family for family in text_string_to_metric_families(answer.content.decode())}
        left_out = {one.labels["group"] for one in told["ivy_scrape_left_out"].samples if one.value}
        assert left_out == {"quarantine"}
        assert "ivy_quarantined_calls" not in told
        assert "ivy_mails" in told


@pytest.mark.django_db(transaction=True, available_apps=["billing", "ivy", "notifications", "django_q", "ivy.accounts"])
class TestTheDoor:
    def test_lets_in_who_brings_the_token(self, client: Client, settings: Settings) -> None:
        settings.METRICS_TOKEN = TOKEN
        settings.SECURE_SSL_REDIRECT = True
        for _ in range(2):
            answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 200
            assert answer["Content-Type"].startswith("text/plain; version=")
            assert "no-store" in answer["Cache-Control"]
            assert not answer.cookies
            assert "ivy_breaker_tripped" in {
                family.name for family in text_string_to_metric_families(answer.content.decode())
            }

    @pytest.mark.parametrize(
        "brought", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
    )
    def test_sends_away_who_brings_another_or_none(self, client: Client, settings: Settings, brought: str) -> None:
        settings.METRICS_TOKEN = TOKEN
        answer = client.get("/metrics", headers={"authorization": brought})
        assert answer.status_code == 401
        assert b"ivy_" not in answer.content

    @pytest.mark.parametrize("brought", ["", "Bearer ", "Bearer None"])
    def test_is_not_there_for_strangers_while_no_token_is_set(self, client: Client, brought: str) -> None:
        assert client.get("/metrics", headers={"authorization": brought}).status_code == 404

    def test_is_open_while_debugging(self, client: Client, settings: Settings) -> None:
        settings.DEBUG = True
        assert client.get("/metrics").status_code == 200

    def test_lets_in_staff_who_may_see_the_machinery(self, client: Client) -> None:
        client.force_login(make_superuser())
        assert client.get("/metrics").status_code == 200
        client.force_login(make_user(email="partner@example.com", password=PASSWORD))
        assert client.get("/metrics").status_code == 404


class TestRequestMetrics:
    def test_are_added_up_over_processes_where_they_share_a_folder(self, tmp_path: Path) -> None:
        ask = (
            "from django.test import Client; import sys;"
            "import ivy.wsgi;"
            "[Client().get('/health/live') for _ in range(int(sys.argv[1]))];"
            "from prometheus_client import CollectorRegistry, generate_latest;"
            "from prometheus_client.multiprocess import MultiProcessCollector;"
            "registry = CollectorRegistry(); MultiProcessCollector(registry);"
            "print(generate_latest(registry).decode())"
        )
        for times, sum_so_far in ((2, 2), (3, 5)):
            told = subprocess.run(
                [sys.executable, "-c", ask, str(times)],
                cwd=ROOT,
                env={
                    **os.environ,
                    **SOUND,
                    "ALLOWED_HOSTS": "testserver",
                    "DJANGO_SETTINGS_MODULE": "ivy.settings",
                    "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
                },
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert f"django_http_requests_before_middlewares_total {sum_so_far}.0" in told.stdout, told.stderr

    def test_are_not_kept_without_such_a_folder(self, settings: Settings) -> None:
        assert not [name for name in settings.MIDDLEWARE if "prometheus" in name]


class TestAnAmount:
    def test_is_a_plain_number(self) -> None:
        family = metrics._labelled("ivy_charged_today_amount", "Charged.", ["currency"], [("EUR", Decimal("0.1"))])
        assert family.samples[0].value == 0.1
