"""Linters, types, layers, migrations and tests, against throwaway servers: what `script/test` runs."""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import browser
import libraries
import printing
import servers
from children import Family, start_time
from problems import CHECKOUT, VAR, Stopped, run_main, tell

CHECKS = [
    ("types", ["mypy"]),
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("layers", ["lint-imports"]),
    ("migrations", ["manage.py", "makemigrations", "--check", "--dry-run"]),
    ("settings", ["manage.py", "check", "--fail-level", "WARNING"]),
]


def main(arguments: list[str]) -> int:
    """Run all checks, then the tests; 1 if anything failed."""
    parser = argparse.ArgumentParser(
        prog="script/test",
        description="Run linters, types, layers, migrations and the whole test suite, on servers of its own.",
        epilog="Further arguments go to pytest: script/test --only-pytest tests/billing -k halted",
    )
    parser.add_argument("--only-pytest", action="store_true", help="leave out everything but the tests")
    options, for_pytest = parser.parse_known_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    VAR.mkdir(exist_ok=True)
    python = libraries.install()
    printing.install()
    _clean_up_after_killed_runs()
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=VAR))
    folder.chmod(0o755)
    (folder / "owner").write_text(f"{os.getpid()} {start_time(os.getpid())}")
    family = Family(folder / "processes.json")
    where = None
    try:
        where = servers.place(folder)
        environment = _environment(where, family)
        failed = _prepare(python, environment, with_checks=not options.only_pytest)
        for name, chosen in _test_runs(for_pytest).items():
            if not _step(name, [python, "-m", "pytest", *chosen], environment):
                failed.append(name)
    finally:
        family.stop()
        for leftover in (folder, where.folder if where else folder):
            shutil.rmtree(leftover, ignore_errors=True)
    tell(f"\nFailed: {', '.join(failed)}" if failed else "\nAll is well.")
    return 1 if failed else 0


def _test_runs(for_pytest: list[str]) -> dict[str, list[str]]:
    """What pytest is called with. The whole suite: in two processes, and then what kills and freezes, likewise.

    Each process begins with one half of the tests, so that neighbours share what a module or class sets up once.
    """
    if for_pytest:
        return {"tests": for_pytest}
    together = ["-q", "-n", "2", "--dist", "worksteal"]
    return {"tests": [*together, "--ignore=tests/faults"], "faults": [*together, "tests/faults"]}


def _stop(number: int, frame: object) -> None:
    raise Stopped


def _environment(where: servers.Place, family: Family) -> dict[str, str]:
    """What tests and checks need to know; servers named from outside are used, others started."""
    values = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DEBUG": "true",
        "ALLOWED_HOSTS": "localhost",
        "EMAIL_URL": "consolemail://",
        "IVY_CHROMIUM": browser.find_or_install(),
        "DATABASE_URL": os.environ.get("DATABASE_URL")
        or servers.postgres(where, family, port=servers.free_port(), is_throwaway=True),
        "CACHE_URL": os.environ.get("CACHE_URL")
        or servers.redis(where, family, port=servers.free_port(), is_throwaway=True),
    }
    environment = {**os.environ, **values}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # each of some hundred processes would compile all of Ivy anew
    return environment


def _prepare(python: Path, environment: dict[str, str], *, with_checks: bool) -> list[str]:
    """The checks, the longest of which keeps one processor busy, beside the others; the names of those that failed.

    A private server's database is migrated meanwhile: each process of the tests copies it instead of migrating its own.
    """
    steps: dict[str, list[str | Path]] = {}
    for name, command in CHECKS if with_checks else []:
        program = [python, command[0]] if command[0].endswith(".py") else [python.parent / command[0]]
        steps[name] = [*program, *command[1:]]
    if "DATABASE_URL" not in os.environ:
        steps["migrating"] = [python, "manage.py", "migrate", "-v0"]
    with ThreadPoolExecutor(2) as pool:
        went_well = pool.map(lambda name: _step(name, steps[name], environment, is_quiet=True), steps)
        failed = [name for name, is_well in zip(steps, went_well, strict=True) if not is_well]
    if "migrating" in steps and "migrating" not in failed:
        environment["IVY_TEST_TEMPLATE"] = environment["DATABASE_URL"].rpartition("/")[2]
    return failed


def _step(name: str, command: list[str | Path], environment: dict[str, str], *, is_quiet: bool = False) -> bool:
    """Run a program; True if it went well. `is_quiet`: what it prints is told in one piece, once it has ended."""
    if not is_quiet:
        tell(f"── {name}")
    began = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=CHECKOUT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE if is_quiet else None,
        stderr=subprocess.STDOUT if is_quiet else None,
        text=True,
    )
    verdict = f"── {name}: {'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s"
    tell(f"{done.stdout or ''}{verdict}")
    return done.returncode == 0


def _clean_up_after_killed_runs() -> None:
    """End the servers and remove the folders of test runs that were killed; leave those that still go on."""
    for folder in VAR.glob("test-*"):
        with suppress(OSError, ValueError):
            pid, began = (folder / "owner").read_text().split()
            if start_time(int(pid)) == began:
                continue
        Family(folder / "processes.json").end_leftovers()
        with suppress(OSError):
            shutil.rmtree((folder / servers.ELSEWHERE).read_text().strip(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run_main("script/test", main)
