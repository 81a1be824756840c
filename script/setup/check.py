"""Linters, types, layers, migrations and tests, against throwaway servers: what `script/test` runs."""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import browser
import libraries
import printing
import servers
from children import Family, start_time
from problems import CHECKOUT, VAR, Stopped, run_main, tell

CHECKS = [
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
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
        failed = [] if options.only_pytest else _checks(python, environment)
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
    """What pytest is called with. The whole suite: in two processes, and then, undisturbed, what kills and freezes."""
    if for_pytest:
        return {"tests": for_pytest}
    return {"tests": ["-q", "-n", "2", "--ignore=tests/faults"], "faults": ["-q", "tests/faults"]}


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
    return {**os.environ, **values}


def _checks(python: Path, environment: dict[str, str]) -> list[str]:
    failed = []
    for name, command in CHECKS:
        program = [python, *command] if command[0].endswith(".py") else [python.parent / command[0], *command[1:]]
        if not _step(name, program, environment):
            failed.append(name)
    return failed


def _step(name: str, command: list[str | Path], environment: dict[str, str]) -> bool:
    tell(f"── {name}")
    began = time.monotonic()
    status = subprocess.run([str(part) for part in command], cwd=CHECKOUT, env=environment, check=False).returncode
    tell(f"── {name}: {'ok' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s")
    return status == 0


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
