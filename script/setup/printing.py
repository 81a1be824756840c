"""What PDF files need of the system: Pango with its companions, and a font. Ivy runs without them, and makes no PDF."""

import ctypes
import os
import shutil
import subprocess

from problems import tell

LIBRARIES = ("libpango-1.0.so.0", "libpangoft2-1.0.so.0", "libharfbuzz.so.0", "libharfbuzz-subset.so.0")
PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core")
INSTALL_SECONDS = 300


def install() -> None:
    """Install what is missing where that can be done, by root with apt-get; else say in one line what to do.

    Never a reason not to start. Quick when all is there.
    """
    if not _missing():
        return
    command = f"apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        tell("Installing Pango, which PDF files need ...")
        if _apt("update") and _apt("install", "--yes", "--no-install-recommends", *PACKAGES) and not _missing():
            return
    tell(f"PDF files can't be made: {', '.join(_missing())} is missing. As root: {command}")


def _missing() -> list[str]:
    missing = []
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def _apt(*arguments: str) -> bool:
    command = ["apt-get", "--quiet", *arguments]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, capture_output=True, env=quiet, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
