"""Ivy's commands as processes of their own on the test's database, to be killed, stopped and watched."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.db import connection

CHECKOUT = Path(__file__).resolve().parents[2]


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


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `manage.py` with these arguments; the caller ends and waits for it."""
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env={**os.environ, "DATABASE_URL": database_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )


def finish(process: subprocess.Popen[str], *, seconds: float = 120) -> tuple[int, dict[str, Any]]:
    """Wait for a command that was started with `--json`: its exit status and its answer."""
    out, err = process.communicate(timeout=seconds)
    assert out, err
    return process.returncode, json.loads(out)


def run(*arguments: str, seconds: float = 120) -> tuple[int, dict[str, Any]]:
    """Run a command with `--json` to its end: its exit status and its answer."""
    return finish(start(*arguments, "--json"), seconds=seconds)


def wait_until(is_so: Callable[[], object], *, seconds: float = 30, what: str = "what was waited for") -> None:
    """Look again and again until it is so; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.005)
