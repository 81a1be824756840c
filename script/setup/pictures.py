"""The pictures of docs/staff.md, of the real screens: what `script/pictures` runs.

Starts throwaway servers, loads the demo world and bills it, stages a night (halted notifications, a burst that was
held, mails of which nobody knows whether they arrived), opens the pages in Chromium, and writes docs/pictures/*.png.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import browser
import libraries
import servers
from children import Child, Family
from problems import CHECKOUT, VAR, Problem, run_main, tell

PICTURES = CHECKOUT / "docs" / "pictures"
WEB_SECONDS = 60


def main(arguments: list[str]) -> int:
    """Take all of them; 0 once they are written."""
    parser = argparse.ArgumentParser(prog="script/pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=PICTURES, help="another folder (default: docs/pictures)")
    options = parser.parse_args(arguments)
    VAR.mkdir(exist_ok=True)
    python = libraries.install()
    folder = Path(tempfile.mkdtemp(prefix="pictures-", dir=VAR))
    folder.chmod(0o755)
    family = Family(folder / "processes.json")
    where = None
    try:
        where = servers.place(folder)
        environment = _environment(where, family)
        for step in (["prepare.py", str(folder / "logins")], ["staged_night.py"]):
            _run([python, CHECKOUT / "script" / "setup" / step[0], *step[1:]], environment)
        port = _start_web(python, environment, family)
        options.into.mkdir(parents=True, exist_ok=True)
        shoot = [python, CHECKOUT / "script" / "setup" / "shoot.py", f"http://localhost:{port}", options.into.resolve()]
        _run(shoot, environment)
    finally:
        family.stop()
        for leftover in (folder, where.folder if where else folder):
            shutil.rmtree(leftover, ignore_errors=True)
    tell(f"The pictures are in {options.into}.")
    return 0


def _environment(where: servers.Place, family: Family) -> dict[str, str]:
    return {
        **os.environ,
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DEBUG": "true",
        "ALLOWED_HOSTS": "localhost",
        "EMAIL_URL": "dummymail://",
        "IVY_CHROMIUM": browser.find_or_install(),
        "DATABASE_URL": servers.postgres(where, family, port=servers.free_port(), is_throwaway=True),
        "CACHE_URL": servers.redis(where, family, port=servers.free_port(), is_throwaway=True),
    }


def _run(command: list[str | Path], environment: dict[str, str]) -> None:
    if subprocess.run([str(part) for part in command], cwd=CHECKOUT, env=environment, check=False).returncode:
        raise Problem("A step failed; the lines above say why.")


def _start_web(python: Path, environment: dict[str, str], family: Family) -> int:
    port = servers.free_port()
    family.start(
        Child(
            name="web",
            command=[python, "-m", "gunicorn", "ivy.wsgi:application", "--bind", f"127.0.0.1:{port}",
                     "--no-control-socket"],
            log=VAR / "log" / "pictures-web.log",
            env=environment,
            cwd=CHECKOUT,
        )
    )  # fmt: skip
    deadline = time.monotonic() + WEB_SECONDS
    while time.monotonic() < deadline:
        family.look()
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/health/live", timeout=2):
                return port
        except OSError:
            time.sleep(0.2)
    raise Problem("The web pages do not answer; var/log/pictures-web.log says why.")


if __name__ == "__main__":
    run_main("script/pictures", main)
