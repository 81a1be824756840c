"""The checkout's own virtual environment, with the libraries that the requirements files name."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import stopping
from children import Child, Family
from problems import CHECKOUT, VAR, Problem, last_line, tell

VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
MARKER = VENV / "ivy-installed"  # written last: which requirements are in, and where
UNFINISHED = VAR / "installing"  # there while somebody installs, and after they were killed
LOG = VAR / "log" / "install.log"


def install() -> Path:
    """Make the virtual environment complete, and return its Python. Quick when it is; repairs one that is not.

    Raises Problem when it can't be made.
    """
    if _is_complete():
        return PYTHON
    with _one_at_a_time():
        if _is_complete():  # whoever was before us made it
            return PYTHON
        family = Family(VAR / "installing.json")
        family.end_leftovers()
        if VENV.exists() and (UNFINISHED.exists() or not _works() or not _was_made_here()):
            shutil.rmtree(VENV)
        UNFINISHED.touch()
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_bytes(b"")
        if not VENV.exists():
            _make(family)
        _install(family)
        UNFINISHED.unlink()
    return PYTHON


def _make(family: Family) -> None:
    if family.run(Child("venv", [sys.executable, "-m", "venv", VENV], LOG)):
        said = LOG.read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(VENV, ignore_errors=True)
        if "ensurepip" in said or "No module named venv" in said:
            raise Problem(
                "Python's venv module is missing: install it (Debian: apt-get install python3-venv) and try again."
            )
        raise Problem(f"A virtual environment can't be made in {VENV}: {last_line(LOG)}")


def _install(family: Family) -> None:
    tell("Installing libraries (the first time it takes about a minute) ...")
    MARKER.unlink(missing_ok=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if family.run(Child("pip", [*pip, "-r", REQUIREMENTS[-1]], LOG, cwd=CHECKOUT)):
        UNFINISHED.unlink()  # pip has taken back what it began
        lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        reason = errors[-1] if errors else last_line(LOG)
        hint = "is there a network? Try again" if "No matching distribution" in reason else f"see {LOG}"
        raise Problem(f"The libraries can't be installed: {reason} ({hint})")
    MARKER.write_text(f"{_fingerprint()} {_place()}\n")


def _is_complete() -> bool:
    try:
        marker = MARKER.read_text().strip()
    except OSError:
        return False
    return not UNFINISHED.exists() and marker.startswith(_fingerprint()) and _was_made_here() and _works()


def _was_made_here() -> bool:
    """Whether it was not moved or copied: its scripts name their place. One that somebody made by hand will do."""
    return not MARKER.exists() or MARKER.read_text().strip().endswith(f" {_place()}")


def _works() -> bool:
    program = "import sys, pip, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([PYTHON, "-c", program], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fingerprint() -> str:
    return hashlib.sha256(b"".join((CHECKOUT / name).read_bytes() for name in REQUIREMENTS)).hexdigest()


def _place() -> str:
    return str(CHECKOUT).encode(errors="backslashreplace").decode()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Wait while another script installs into the same place."""
    VAR.mkdir(exist_ok=True)
    with (VAR / "install.lock").open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    tell("Another script installs the libraries here; waiting for it ...")
                    told = True
                stopping.sleep(0.2)
        yield
