"""Sentry and OpenTelemetry: off unless asked for, nobody named, and nobody held up by a server that is dead."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from ivy import environment
from tests.project.telemetry_receiver import receiving
from tests.project.test_environment import ROOT, SOUND, run

SET_UP = "import django; django.setup(); import logging, os; from billing.about import about;"
FAIL = """
def fail(address):
    body = 'Dear ' + address
    with about(run=7):
        try:
            raise ValueError(address + ' was refused')
        except ValueError:
            logging.getLogger('billing').exception('It failed for %s.', address)
fail('anna@example.com')
"""
TRACED = """
from ivy import telemetry
from django.test import Client
with about(run=7), telemetry.span('billing cycle'):
    pass
Client().get('/nowhere?q=anna@example.com', REMOTE_ADDR='192.0.2.44')
"""
FLUSH = """
import sentry_sdk; sentry_sdk.flush(60)
from opentelemetry import trace; trace.get_tracer_provider().force_flush()
"""
FORKED = """
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    os._exit(0)
"""


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SET_UP + script],
        cwd=ROOT,
        env={
            **os.environ,
            **SOUND,
            "ALLOWED_HOSTS": "testserver",
            "DJANGO_SETTINGS_MODULE": "ivy.settings",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


class TestTheEnvironment:
    @pytest.mark.parametrize(
        "text",
        ["sentry.example.com/1", "https://sentry.example.com/1", "https://key@sentry.example.com", "ftp://k@h/1"],
    )
    def test_refuses_a_dsn_that_is_none(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN must be"):
            environment.sentry(text)

    @pytest.mark.parametrize("text", ["collector:4317", "grpc://collector:4317", "http://", "http://collector?x=1"])
    def test_refuses_a_collector_that_is_none(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="OTEL_EXPORTER_OTLP_ENDPOINT must be"):
            environment.traces(text)

    @pytest.mark.parametrize("text", ["short", "with a space in it, long", "ünicode-in-a-long-token"])
    def test_refuses_a_token_that_is_easily_guessed_or_can_t_be_sent(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="METRICS_TOKEN needs"):
            environment.metrics_token(text)

    def test_refuses_a_folder_that_is_none(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="PROMETHEUS_MULTIPROC_DIR must be a folder"):
            environment.metrics_folder("/nowhere/at/all")

    def test_takes_what_makes_sense(self) -> None:
        assert environment.sentry("https://key@o1.ingest.example.com/17") == "https://key@o1.ingest.example.com/17"
        assert environment.traces("http://collector:4318/") == "http://collector:4318"
        for read in (environment.sentry, environment.traces, environment.metrics_token, environment.metrics_folder):
            assert read(None) == read("") == ""

    def test_names_what_is_not_installed_in_a_sentence(self) -> None:
        hide = (
            "import sys\n"
            "class Hidden:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name.partition('.')[0] in ('sentry_sdk', 'opentelemetry'): raise ModuleNotFoundError(name)\n"
            "sys.meta_path.insert(0, Hidden())\n"
            "from django.core.management import execute_from_command_line as go; go(['manage.py', 'check'])"
        )
        asked = {
            "SENTRY_DSN": "https://key@sentry.example.com/1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        }
        refused = run("-c", hide, environment={**SOUND, **asked})
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        for variable, module in (("SENTRY_DSN", "sentry_sdk"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry.sdk")):
            assert (
                f"{variable} is set, but {module} is not installed: pip install -r requirements-telemetry.txt"
                in refused.stderr
            )


class TestOff:
    def test_loads_nothing_of_either(self) -> None:
        loaded = python("import sys; print(*sys.modules)").stdout.split()
        assert "ivy.telemetry" in loaded
        assert not [
            name
            for name in loaded
            if name.startswith(("sentry_sdk", "opentelemetry.instrumentation", "ivy.telemetry."))
        ]


class TestOn:
    @pytest.mark.parametrize("before", ["", FORKED], ids=["one process", "a fork"])
    def test_both_hear_of_what_happened_but_not_of_whom(self, before: str) -> None:
        with receiving() as receiver:
            script = before + FAIL + TRACED + FLUSH + ("os._exit(0)" if before else "")
            python(script, SENTRY_DSN=receiver.dsn, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
            (event,) = receiver.events()
            spans = {span.name: span for span in receiver.spans()}
        assert (event["level"], event["logger"]) == ("error", "billing")
        assert event["logentry"]["message"] == "It failed for [address]."
        (exception,) = event["exception"]["values"]
        assert (exception["type"], exception["value"]) == ("ValueError", "[address] was refused")
        assert event["tags"]["run"] == "7"
        assert not [frame for frame in exception["stacktrace"]["frames"] if "vars" in frame]
        about = {attribute.key: attribute.value.string_value for attribute in spans["billing cycle"].attributes}
        assert about == {"ivy.run": "7"}
        assert len(spans) == 2
        everything = b"".join(body for _, body in receiver.came)
        for secret in (b"anna", b"192.0.2.44"):
            assert secret not in everything

    def test_traces_have_the_queries_of_a_piece_of_work_and_no_others(self) -> None:
        query = "with {}: connection.cursor().execute('SELECT %s', ['anna'])\n"
        script = (
            "from ivy import telemetry; from contextlib import nullcontext; from django.db import connection\n"
            + query.format("nullcontext()")
            + query.format("telemetry.span('work')")
            + "from opentelemetry import trace; trace.get_tracer_provider().force_flush()\n"
        )
        with receiving() as receiver:
            endpoint = receiver.endpoint
            python(script, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, DATABASE_URL=os.environ["DATABASE_URL"])
            names = sorted(span.name for span in receiver.spans())
        assert names == ["SELECT", "work"]
        assert b"anna" not in b"".join(body for _, body in receiver.came)

    @pytest.mark.parametrize("is_silent", [False, True], ids=["dead", "silent"])
    def test_holds_nobody_up_when_the_other_side_is_away(self, is_silent: bool) -> None:
        loads_everything = "from django.test import Client; Client().get('/nowhere')\n"
        work = FAIL * 10 + TRACED * 10
        with receiving(is_silent=True) as receiver:
            told = python(
                loads_everything
                + "from time import monotonic; began = monotonic()\n"
                + work
                + "print('took', monotonic() - began)",
                SENTRY_DSN=receiver.dsn if is_silent else "http://key@127.0.0.1:9/1",
                OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint if is_silent else "http://127.0.0.1:9",
            )
        assert float(told.stdout.split()[-1]) < 15  # twenty answers that were waited for would take forty
