"""The private servers of a rehearsal: PostgreSQL, Redis and a mail server, on loopback, gone when it is over."""

import asyncio
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings

SECONDS = 120


class Mailbox:
    """A mail server that takes everything, and can be told to hang up after taking a mail, or to hold an answer back.

    `taken`: to whom, and the whole mail, in the order of their arrival.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: list[tuple[str, str]] = []
        self.hangs_up_after: set[str] = set()
        self.is_waiting = threading.Event()
        self._held = ""
        self._let_go = threading.Event()
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    def holds(self, address: str) -> None:
        """Take the next mail to this address, and answer only after `let_go`. `is_waiting` tells when."""
        self._held = address

    def let_go(self) -> None:
        """Answer at last."""
        self._let_go.set()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail; aiosmtpd calls it."""
        to = str(envelope.rcpt_tos[0])
        self.taken.append((to, (envelope.original_content or b"").decode(errors="replace")))
        if to == self._held:
            self._held = ""
            self.is_waiting.set()
            await asyncio.get_running_loop().run_in_executor(None, self._let_go.wait, SECONDS)
        if to in self.hangs_up_after:
            self.hangs_up_after.discard(to)
            transport: Any = server.transport
            transport.abort()
        return "250 2.0.0 Taken"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._let_go.set()
        self._controller.stop()


class Stage:
    """Where it is played: the servers, and how to run Ivy's commands on them."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, mailbox: Mailbox) -> None:
        self.folder = folder
        self.database_url = database_url
        self.redis_url = redis_url
        self.mailbox = mailbox
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "CACHE_URL": redis_url,
            "EMAIL_URL": f"smtp://127.0.0.1:{mailbox.port}/?EMAIL_TIMEOUT=5",
            "JOURNAL_URL": "",
            "ALARM_WEBHOOK_URL": "",  # nobody is to be paged for a play
            "ALARM_WEBHOOK_SECRET": "",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DEBUG": "true",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one of Ivy's commands."""
        return subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
            env=self.environment, cwd=settings.BASE_DIR, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Run one of Ivy's commands to its end: its exit status, and what it printed."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out or err


@contextmanager
def stage() -> Iterator[Stage]:
    """Put everything up, and take it down again, whatever happens: also at Ctrl-C and SIGTERM."""
    servers, children = _set_up()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="ivy-rehearsal-"))
    folder.chmod(0o755)
    family = children.Family(folder / "processes.json")
    where = servers.place(folder)
    mailbox = Mailbox(servers.free_port())
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd tells each command
    try:
        database = servers.postgres(where, family, port=servers.free_port(), is_throwaway=True)
        redis = servers.redis(where, family, port=servers.free_port(), is_throwaway=True)
        mailbox.start()
        yield Stage(folder, database, redis, mailbox)
    finally:
        mailbox.stop()
        family.stop()
        for leftover in {folder, where.folder}:
            shutil.rmtree(leftover, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _set_up() -> tuple[Any, Any]:
    """How `script/server` starts private servers, here as well."""
    sys.path.insert(0, str(settings.BASE_DIR / "script" / "setup"))
    try:
        # No package: it runs before anything is installed.
        return import_module("servers"), import_module("children")
    finally:
        sys.path.pop(0)
