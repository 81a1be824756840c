"""How log lines look, what they are about, and that nobody is named in them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client, RequestFactory

from billing import halting
from billing.about import about, facts
from billing.models import BillingRun, Process
from ivy import logs, tasks
from notifications.models import State
from tests.factories import make_customer
from tests.notifications import conftest
from tests.notifications.conftest import Server
from tests.notifications.stories import make_fallen, real_commits, run_pass
from tests.project.test_environment import ROOT, SOUND

logger = logging.getLogger("tests.of.logs")
mail_server = conftest.mail_server  # the fixture


class Lines:
    """What was logged, as a production process would have written it."""

    def __init__(self) -> None:
        self.stream = StringIO()

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.all()[-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(logs.formatter(as_json=True))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)


class TestALine:
    def test_is_one_object_with_time_level_and_place(self, lines: Lines) -> None:
        logger.warning("The %s\nstopped.", "queue")
        (line,) = lines.all()
        assert list(line) == ["time", "level", "logger", "message", "process", "host"]
        assert line["time"].endswith("+00:00")
        assert (line["level"], line["logger"], line["message"]) == ("WARNING", "tests.of.logs", "The queue\nstopped.")
        assert line["process"] == os.getpid()

    def test_says_what_it_is_about(self, lines: Lines) -> None:
        with about(run=7):
            with about(customer=3, key="low_balance:1"):
                logger.warning("inner")
            logger.warning("outer")
        logger.warning("after", extra={"account": "1001"})
        inner, outer, after = lines.all()
        assert (inner["run"], inner["customer"], inner["key"]) == (7, 3, "low_balance:1")
        assert outer["run"] == 7
        assert "customer" not in outer
        assert "run" not in after
        assert after["account"] == "1001"
        assert facts() == {}

    def test_has_an_exception_as_one_field(self, lines: Lines) -> None:
        try:
            int("no such place for anna@example.com")
        except ValueError:
            logger.exception("It failed.")
        assert lines.last["message"] == "It failed."
        assert lines.last["exception"].startswith("Traceback")
        assert lines.last["exception"].endswith("base 10: 'no such place for [address]'")

    def test_is_readable_in_development(self) -> None:
        record = logging.LogRecord("billing.cycle", logging.INFO, "", 0, "Done: %s.", ("anna@example.com",), None)
        with about(run=7):
            line = logs.formatter(as_json=False).format(record)
        assert line.endswith("INFO billing.cycle: Done: [address]. [run=7]")

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("550 <anna.holm+x@mail.example.com> unknown", "550 <[address]> unknown"),
            ("caller +44 7700 900123 has no rate", "caller [number] has no rate"),
            ("+447700900123", "[number]"),
            ("run 1234567890123 at 2026-03-01 00:00:00+00:00", "run 1234567890123 at 2026-03-01 00:00:00+00:00"),
            ("call:pbx-north:1772440200.17", "call:pbx-north:1772440200.17"),
            ("/accounts/password/reset/key/3-c8x-9f/", "/accounts/password/reset/key/[secret]/"),
            ("violates\nDETAIL:  Failing row contains (1, Anna).\nmore", "violates\nDETAIL: [left out]\nmore"),
        ],
    )
    def test_leaves_out_who_it_was(self, text: str, kept: str) -> None:
        assert logs.scrubbed(text) == kept
        assert logs.scrubbed(kept) == kept

    def test_leaves_out_what_libraries_hang_on_it(self, lines: Lines) -> None:
        request = RequestFactory().get("/search?q=anna@example.com")
        logger.error("Not found", extra={"request": request, "params": ["anna@example.com"], "status_code": 404})
        assert lines.last["status_code"] == 404
        assert "anna" not in lines.stream.getvalue()

    @pytest.mark.django_db
    def test_leaves_out_the_row_that_broke_a_rule(self, lines: Lines) -> None:
        customer = make_customer(account="SE-7741")
        try:
            with transaction.atomic():
                make_customer(account=customer.account)
        except IntegrityError:
            logger.exception("It was refused.")
        assert "violates unique constraint" in lines.last["exception"]
        assert "SE-7741" not in lines.last["exception"]

    @pytest.mark.django_db(transaction=True)
    def test_of_a_log_in_that_failed_names_nobody(self, lines: Lines, client: Client) -> None:
        for _ in range(2):
            client.post("/accounts/login/", {"login": "anna@example.com", "password": "guessed"})
        told = [line for line in lines.all() if line["logger"].startswith("axes")]
        assert told
        assert "somebody at /accounts/login/" in told[-1]["message"]
        assert "anna" not in lines.stream.getvalue()
        assert "127.0.0.1" not in lines.stream.getvalue()


@real_commits
class TestEventsOfTheBusiness:
    def test_tell_of_a_run_that_did_something_by_its_number(self, lines: Lines) -> None:
        tasks.billing_cycle()
        assert self.of_tasks(lines) == []
        halting.halt(Process.CALLS, reason="A new deck.", by="astrid")
        tasks.billing_cycle()
        (line,) = self.of_tasks(lines)
        assert line["message"] == "Billing run: partial; 0 calls and 0 items charged."
        assert line["run"] == BillingRun.objects.latest("started_at").pk

    def of_tasks(self, lines: Lines) -> list[dict[str, Any]]:
        return [line for line in lines.all() if line["logger"] == "ivy.tasks"]

    def test_tell_of_mails_by_customer_and_key(self, lines: Lines, mail_server: Server) -> None:
        mail_server.on_recipient = lambda address: f"550 5.1.1 <{address}> is not known here"
        alert = make_fallen()
        run_pass()
        (line,) = [line for line in lines.all() if line["logger"] == "notifications.cycle"]
        assert line["message"] == f"Mail {State.FAILED.label}."
        assert line["customer"] == alert.customer_id
        assert line["key"].startswith("low_balance:")
        assert "@" not in lines.stream.getvalue()


class TestEveryProcess:
    def test_writes_the_same_form_in_production(self) -> None:
        script = (
            "import django; django.setup(); import logging, django_q.conf;"
            "logging.getLogger('django-q').info('Q Cluster %s starting.', 'ivy');"
            "logging.getLogger('gunicorn.error').info('Booting worker'); logging.getLogger('billing').info('Done.')"
        )
        told = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, **SOUND, "DJANGO_SETTINGS_MODULE": "ivy.settings"},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        lines = [json.loads(line) for line in told.stderr.splitlines()]
        assert [line["logger"] for line in lines] == ["django-q", "gunicorn.error", "billing"]
        assert lines[0]["message"] == "Q Cluster ivy starting."
