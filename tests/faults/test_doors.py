"""The doors for machines while Redis, the mail server or PostgreSQL stand still: web workers and queue, for real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
from django.db import connection
from django_q.tasks import async_task

from ivy import pulses
from tests.factories import make_run
from tests.faults.processes import CHECKOUT, database_url, wait_until
from tests.project.telemetry_receiver import receiving
from tests.project.test_environment import SOUND

TOKEN = "a-token-for-the-scraper-alone"
QUICK_SECONDS = 1.0  # on a busy machine; some milliseconds elsewhere
BOUND_SECONDS = 2.0
TRIES = 10  # of which one is not held up by whatever else the machine does

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["billing", "ivy", "notifications", "django_q"])


@dataclass
class Web:
    """A web server of one worker, as in production."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, **headers: str) -> tuple[int, bytes, float]:
        """Status, body, and the seconds it took."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        return status, body, time.monotonic() - began

    def scrape(self) -> tuple[int, bytes, float]:
        return self.ask("/metrics", Authorization=f"Bearer {TOKEN}")


def production(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        **SOUND,
        "DATABASE_URL": database_url(),
        "CACHE_URL": os.environ["CACHE_URL"],
        "ALLOWED_HOSTS": "127.0.0.1",
        "METRICS_TOKEN": TOKEN,
        **more,
    }


@pytest.fixture
def mail_server() -> Iterator[int]:
    """A mail server that was stopped in mid-life: it takes calls, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def web(tmp_path: Path, mail_server: int) -> Iterator[Web]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    log = tmp_path / "web.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "ivy.wsgi:application", "--bind", f"127.0.0.1:{port}",
             "--access-logfile", "-", "--graceful-timeout", "1", "--no-control-socket"],
            cwd=CHECKOUT,
            env=production(EMAIL_URL=f"smtp://127.0.0.1:{mail_server}"),
            stdout=out,
            stderr=out,
        )  # fmt: skip
    web = Web(process, port, log)
    try:
        wait_until(lambda: is_up(web), seconds=60, what=f"the web server's start ({log.read_text()})")
        yield web
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()


def is_up(web: Web) -> bool:
    with suppress(OSError):
        return web.ask("/health/live")[0] == 200
    return False


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process stands still, as under SIGSTOP it does; its port still takes connections."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def redis_pid() -> int:
    with redis.Redis.from_url(os.environ["CACHE_URL"]) as client:
        info: Any = client.info("server")
    return int(info["process_id"])


def postmaster_pid() -> int:
    """The main process of the server, which makes a process for each new connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    return int(psutil.Process(backend).ppid())


def is_on_this_machine() -> bool:
    hosts = {connection.settings_dict["HOST"], urlsplit(os.environ["CACHE_URL"]).hostname}
    return hosts <= {"127.0.0.1", "localhost", ""}


class TestAWebWorker:
    @pytest.mark.alone
    def test_answers_in_time_whatever_stands_still(self, web: Web) -> None:
        if not is_on_this_machine():
            pytest.skip("the servers belong to somebody else")
        make_run()
        pulses.beat(pulses.QUEUE_CANARY)
        pulses.beat(pulses.TICK)
        web.ask("/health/ready"), web.scrape()  # what is loaded at the first time
        assert min(web.ask("/health/ready")[2] for _ in range(5)) < QUICK_SECONDS
        assert min(web.scrape()[2] for _ in range(5)) < QUICK_SECONDS

        with frozen(redis_pid()):
            assert 200 in {web.ask("/health/ready")[0] for _ in range(TRIES)}
            assert min(web.ask("/health/ready")[2] for _ in range(2)) < BOUND_SECONDS
            assert 200 in {web.scrape()[0] for _ in range(TRIES)}

        with frozen(postmaster_pid()):
            answers = [web.ask("/health/ready") for _ in range(4)]
            assert [(status, json.loads(body)["state"]) for status, body, _ in answers] == [(503, "not ready")] * 4
            assert min(took for _, _, took in answers) < BOUND_SECONDS
            assert web.ask("/health/live")[0] == 200
            figures = [web.scrape() for _ in range(2)]
            assert [status for status, _, _ in figures] == [503] * 2
            assert min(took for _, _, took in figures) < BOUND_SECONDS
            assert not [body for _, body, _ in figures if b"Traceback" in body]

        wait_until(lambda: web.ask("/health/ready")[0] == 200, what="being ready again")
        wait_until(lambda: web.scrape()[0] == 200, what="figures again")

        lines = [json.loads(line) for line in web.log.read_text().splitlines()]
        assert {"gunicorn.error", "gunicorn.access", "django.request"} <= {line["logger"] for line in lines}
        assert not [line for line in lines if "exception" in line]
        asked = next(line for line in lines if line["logger"] == "gunicorn.access" and line["path"] == "/health/ready")
        assert (asked["method"], asked["status_code"]) == ("GET", 200)
        assert "127.0.0.1" not in asked["message"]


class TestTheQueue:
    def test_tells_sentry_and_opentelemetry_from_its_forks(self, tmp_path: Path) -> None:
        async_task("ivy.tasks.notifications_pass")
        async_task("ivy.tasks.there_is_no_such_task")
        log = tmp_path / "queue.log"
        with receiving() as receiver, log.open("wb") as out:
            environment = production(SENTRY_DSN=receiver.dsn, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
            # The same key signs the tasks.
            environment["SECRET_KEY"] = os.environ["SECRET_KEY"]
            queue = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"], cwd=CHECKOUT, env=environment, stdout=out, stderr=out
            )
            try:
                wait_until(
                    lambda: any(span.name == "notification pass" for span in receiver.spans()),
                    seconds=120,
                    what="the pass's trace",
                )
                wait_until(lambda: any("no_such_task" in str(event) for event in receiver.events()), what="the error")
            finally:
                queue.terminate()
                with suppress(subprocess.TimeoutExpired):
                    queue.wait(60)
                queue.kill()
                queue.wait()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert "django-q" in {line["logger"] for line in lines}
