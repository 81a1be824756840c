"""Everything that Ivy needs on this machine, started, watched and, in the end, stopped: what `script/server` runs."""

import argparse
import fcntl
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import libraries
import printing
import servers
from children import Child, Family
from problems import CHECKOUT, VAR, Problem, Stopped, run_main, tell

WEB_PORT = 8000
ENV = VAR / "env"
PORTS = VAR / "ports.json"
WEB_START_SECONDS = 60
LONGEST_STOP_SECONDS = 50  # a stop takes a second or two; one that must be forced 15; a mail in hand up to 30 more


def main(arguments: list[str]) -> int:
    """Set up, run until somebody asks us to stop, and stop everything that was started."""
    parser = argparse.ArgumentParser(
        prog="script/server",
        description="Set up and run Ivy on this machine, on loopback, until Ctrl-C. Data and logs are kept in var/.",
        epilog="DATABASE_URL and CACHE_URL name servers to use instead of private ones; PORT is where the pages are.",
    )
    parser.parse_args(arguments)
    VAR.mkdir(exist_ok=True)
    with _only_one(), _stop_on_signals() as signals:
        family = Family(VAR / "processes.json")
        family.end_leftovers()
        try:
            python = libraries.install()
            printing.install()
            environment = _start_servers(family)
            logins = _prepare(python, environment)
            port = _start_ivy(python, environment, family)
            _tell_where(port, logins)
            while not signals:
                family.look()
                time.sleep(0.2)
        except Stopped:
            pass
        finally:
            signals.append(0)  # from here on, a second Ctrl-C changes nothing
            tell("Stopping ...")
            apps = [child for child in family.children if child.name not in ("PostgreSQL", "Redis")]
            family.stop(apps)
            family.stop()
    tell("Stopped; everything is kept in var/.")
    return 0


@contextmanager
def _only_one() -> Iterator[None]:
    with (VAR / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Problem(
                "Ivy runs already from this checkout; stop that one first (Ctrl-C in its terminal)."
            ) from None
        yield


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """Ctrl-C, SIGTERM and a closed terminal raise Stopped, once; the list tells that one has come."""
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        if not came:
            came.append(number)
            raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    yield came


def _start_servers(family: Family) -> dict[str, str]:
    """Start the private servers that are not named otherwise, and write var/env; the environment for Ivy."""
    remembered = _remembered()
    kept = _read_env()
    values = {
        "SECRET_KEY": os.environ.get("SECRET_KEY") or kept.get("SECRET_KEY") or secrets.token_urlsafe(48),
        "DEBUG": os.environ.get("DEBUG", "true"),
        "ALLOWED_HOSTS": os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1"),
        "EMAIL_URL": os.environ.get("EMAIL_URL", "consolemail://"),
        "DATABASE_URL": os.environ.get("DATABASE_URL", ""),
        "CACHE_URL": os.environ.get("CACHE_URL", ""),
    }
    if not (values["DATABASE_URL"] and values["CACHE_URL"]):
        where = servers.place(VAR)
        if not values["DATABASE_URL"]:
            port = remembered["postgres"] = servers.free_port(remembered.get("postgres"))
            values["DATABASE_URL"] = servers.postgres(where, family, port=port)
        if not values["CACHE_URL"]:
            port = remembered["redis"] = servers.free_port(remembered.get("redis"))
            values["CACHE_URL"] = servers.redis(where, family, port=port)
    PORTS.write_text(json.dumps(remembered))
    _write_env(values)
    return {**os.environ, **values, "PYTHONUNBUFFERED": "1"}


def _write_env(values: dict[str, str]) -> None:
    """Let commands in other terminals know."""
    new = ENV.with_name("env.new")
    new.touch(mode=0o600)
    new.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    new.replace(ENV)


def _prepare(python: Path, environment: dict[str, str]) -> list[dict[str, str]]:
    """Bring the database up to date, load the demo world the first time, and bill once; the log-ins to tell."""
    answer = VAR / "prepared.json"
    answer.unlink(missing_ok=True)
    prepare = subprocess.Popen(
        [python, CHECKOUT / "script" / "setup" / "prepare.py", answer], cwd=CHECKOUT, env=environment
    )
    try:
        status = prepare.wait()
    except Stopped:
        prepare.terminate()
        prepare.wait()
        raise
    if status:
        raise Problem("Ivy could not be prepared; the lines above say why.")
    logins: list[dict[str, str]] = json.loads(answer.read_text())["logins"]
    return logins


def _start_ivy(python: Path, environment: dict[str, str], family: Family) -> int:
    """Start web, queue and tick; the port of the web pages once they answer."""
    port = _web_port()
    environment = {"SITE_URL": f"http://localhost:{port}", **environment}
    _write_env({**_read_env(), "SITE_URL": environment["SITE_URL"]})
    log = VAR / "log"
    gunicorn = ["-m", "gunicorn", "ivy.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    for name, arguments, patience in (
        ("web", [*gunicorn, "--graceful-timeout", "3", "--no-control-socket"], 8),
        ("queue", ["manage.py", "qcluster"], LONGEST_STOP_SECONDS),
        ("tick", ["manage.py", "tick"], LONGEST_STOP_SECONDS),
    ):
        family.start(
            Child(
                name=name,
                command=[python, *arguments],
                log=log / f"{name}.log",
                env=environment,
                cwd=CHECKOUT,
                patience_seconds=patience,
            )
        )
    deadline = time.monotonic() + WEB_START_SECONDS
    while not _web_answers(port):
        if time.monotonic() > deadline:
            raise Problem(f"The web pages do not answer on port {port}; {log / 'web.log'} says why.")
        family.look()
        time.sleep(0.1)
    return port


def _web_port() -> int:
    if asked := os.environ.get("PORT"):
        if not asked.isdigit() or not 0 < int(asked) < 65536:
            raise Problem(f"PORT={asked} is no port: give a number from 1 to 65535.")
        if not servers.is_free(int(asked)):
            raise Problem(f"Port {asked} is taken: give another one in PORT, or none to have one chosen.")
        return int(asked)
    remembered = _remembered()
    wanted = [remembered["web"]] if "web" in remembered else []
    wanted += range(WEB_PORT, WEB_PORT + 100)
    port = next((port for port in wanted if servers.is_free(port)), None) or servers.free_port()
    PORTS.write_text(json.dumps({**remembered, "web": port}))
    return port


def _web_answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _remembered() -> dict[str, int]:
    with suppress(OSError, ValueError):
        return dict(json.loads(PORTS.read_text()))
    return {}


def _read_env() -> dict[str, str]:
    with suppress(OSError):
        return dict(line.split("=", 1) for line in ENV.read_text().splitlines() if "=" in line)
    return {}


def _tell_where(port: int, logins: list[dict[str, str]]) -> None:
    tell(
        f"\nIvy runs at http://localhost:{port}/ (staff: http://localhost:{port}/admin/,"
        f" partners: http://localhost:{port}/portal/, anybody: http://localhost:{port}/status/)\n"
    )
    for login in logins:
        tell(f"  {login['role']}: {login['email']}, password: {login['password']}")
    tell(f"\nLogs: {VAR / 'log'}. In a second terminal: .venv/bin/python manage.py status")
    tell("Ctrl-C stops everything.")


if __name__ == "__main__":
    run_main("script/server", main)
