"""Ivy's commands as processes of their own on the test's database, to be killed, stopped and watched."""

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import psycopg
from django.db import connection

from tests.faults.warm import Command, Warm

CHECKOUT = Path(__file__).resolve().parents[2]
WARM_AT_ONCE = 2
PATIENCE_SECONDS = 60.0  # of a wait that mostly takes a moment: a machine may be busy, and a cold start takes ten

Running = subprocess.Popen[str] | Command
Seen = TypeVar("Seen")

_seen: set[str] = set()
_warm: dict[str, Warm] = {}


def database_url() -> str:
    """The URL of the database that this test runs on."""
    at = connection.settings_dict
    password = f":{quote(at['PASSWORD'], safe='')}" if at["PASSWORD"] else ""
    return f"postgres://{quote(at['USER'], safe='')}{password}@{at['HOST']}:{at['PORT']}/{at['NAME']}"


@contextmanager
def another_connection() -> Iterator[psycopg.Connection[Any]]:
    """A connection beside Django's, each statement a transaction: what the rest of the world sees."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        yield other


def start(*arguments: str, log: IO[str] | None = None) -> Running:
    """Start `manage.py` with these arguments; the caller ends and waits for it.

    From an environment's second time on it is forked from a process that has loaded everything (see `warm`); always
    with a `log`, to which both its outputs go.
    """
    environment = _environment()
    key = json.dumps(environment, sort_keys=True)
    if key in _seen or log:
        warm_up()
    if key in _warm:
        return _warm[key].start(*arguments, log=log)
    _seen.add(key)
    return start_cold(*arguments)


def warm_up() -> None:
    """Let all that is started from now on, in this environment, be there at once.

    For who starts one command while another is under way, which may be over before Django is loaded.
    """
    environment = _environment()
    key = json.dumps(environment, sort_keys=True)
    if key not in _warm:
        if len(_warm) == WARM_AT_ONCE:
            _warm.pop(next(iter(_warm))).end()
        _warm[key] = Warm(environment)
        _warm[key].load()


def _environment() -> dict[str, str]:
    environment = {**os.environ, "DATABASE_URL": database_url()}
    environment.pop("PYTEST_CURRENT_TEST", None)
    return environment


@atexit.register
def _end_warm() -> None:
    for warm in _warm.values():
        warm.end()


def start_cold(*arguments: str) -> subprocess.Popen[str]:
    """Start `manage.py` as an operator does, from nothing."""
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )


def finish(process: Running, *, seconds: float = 200) -> tuple[int, dict[str, Any]]:
    """Wait for a command that was started with `--json`: its exit status and its answer. After too long it is ended."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=20)
        process.kill()
        raise
    assert out, err
    return process.returncode, json.loads(out)


def run(*arguments: str, seconds: float = 200) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json` to its end: its exit status and its answer."""
    return finish(start(*arguments, "--json"), seconds=seconds)


def wait_until(
    is_so: Callable[[], Seen], *, seconds: float = PATIENCE_SECONDS, what: str = "what was waited for"
) -> Seen:
    """Look again and again until it is so; what was seen then. Fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (seen := is_so()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.005)
    return seen


def wait_for_the_dead() -> None:
    """Wait until the server has noticed that all other processes are gone, and has ended what they were at.

    One that was killed in its commit may still commit a moment later.
    """
    others = """
        SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), %s))
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (mine,) = cursor.fetchone()
    with another_connection() as looking:
        wait_until(lambda: looking.execute(others, [mine]).fetchone() == (True,), what="the end of all others")
