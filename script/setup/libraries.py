"""The checkout's own virtual environment, with the libraries that the requirements files name."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from problems import CHECKOUT, Problem, tell

VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
MARKER = VENV / "ivy-installed"
REQUIREMENTS = ("requirements.txt", "requirements-telemetry.txt", "requirements-dev.txt")


def install() -> Path:
    """Make the virtual environment complete, and return its Python. Quick when it is; repairs one that is not.

    Raises Problem when it can't be made.
    """
    wanted = _fingerprint()
    if MARKER.exists() and MARKER.read_text() == wanted and _works():
        return PYTHON
    if not _works():
        shutil.rmtree(VENV, ignore_errors=True)
        _make()
    tell("Installing libraries (the first time it takes about a minute) ...")
    MARKER.unlink(missing_ok=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS[-1]]
    pip = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, errors="replace", check=False)
    if pip.returncode:
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")] or pip.stderr.splitlines()
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with status {pip.returncode}"
        raise Problem(f"The libraries can't be installed: {reason} (is there a network? try again)")
    MARKER.write_text(wanted)
    return PYTHON


def _fingerprint() -> str:
    """What the environment was made for: these requirements, this Python, this place."""
    content = b"".join((CHECKOUT / name).read_bytes() for name in REQUIREMENTS)
    return f"{hashlib.sha256(content).hexdigest()} {sys.version_info[:2]} {CHECKOUT}\n"


def _works() -> bool:
    try:
        return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make() -> None:
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False)
    if made.returncode:
        raise Problem(
            f"A virtual environment can't be made in {VENV}: install Python's venv module (Debian: apt-get install"
            " python3-venv), make sure that the folder can be written, and try again."
        )
