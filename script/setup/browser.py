"""The browser that the browser tests drive: the system's Chromium, installed where that can be done."""

import os
import shutil
import subprocess

from problems import Problem, tell

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_or_install() -> str:
    """The path of a Chromium. Installs Debian's as root; raises Problem where there is none and that can't be done."""
    named = os.environ.get("IVY_CHROMIUM")
    found = named or _find()
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        tell("Installing Chromium for the browser tests ...")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            subprocess.run(command, env=environment, capture_output=True, check=False)
        found = _find()
    if not found:
        raise Problem(
            "The browser tests need Chromium: install it (Debian: apt-get install chromium) or name it in IVY_CHROMIUM."
        )
    return found


def _find() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)
