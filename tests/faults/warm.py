"""Commands that start at once: forked from a process that has loaded Ivy, instead of loading it each time.

A command that was forked here is a process like any other, to be killed, stopped and woken; only its first second,
which imports Django, is behind it already. `python -m tests.faults.warm` is the process that they are forked from.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[2]
WAITS = 60.0  # seconds that a forked process may take to be there, or to be gone


class Warm:
    """The process that has loaded Ivy, with the environment that its children get."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._socket, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with its_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.warm", str(its_end.fileno())],
                env=environment,
                pass_fds=[its_end.fileno()],
                cwd=CHECKOUT,
            )
        self._socket.settimeout(WAITS)

    def start(self, *arguments: str, log: IO[str] | None = None) -> "Command":
        """Start `manage.py` with these arguments; the caller ends and waits for it. Both outputs go to a `log`."""
        out, err = (log or tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - the command closes them
        pid = self._ask({"run": arguments}, out.fileno(), err.fileno())
        return Command(self, pid, out, err)

    def status(self, pid: int) -> int:
        """How a child that is gone has ended, as `Popen.returncode` tells it. To be asked once."""
        return self._ask({"reap": pid})

    def load(self) -> None:
        """Wait until it has loaded Ivy."""
        self._ask({"load": True})

    def end(self) -> None:
        """End the process; its children end by themselves, as they would without it."""
        self._socket.close()
        self._process.wait()

    def _ask(self, what: object, *files: int) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(what).encode()], files)
            return int(self._socket.recv(100))


class Command:
    """A command that runs: what tests need of `subprocess.Popen`."""

    def __init__(self, warm: Warm, pid: int, out: IO[str], err: IO[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._warm = warm
        self._files = (out, err)
        self._pidfd = os.pidfd_open(pid)  # nobody else can have its id before it is reaped

    def poll(self) -> int | None:
        """How it has ended; None while it goes on."""
        if self.returncode is None:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                self.returncode = self._warm.status(self.pid)
                os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end: what it wrote to standard output and to standard error. Raises TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.005)
        written = []
        for file in self._files:
            with file:
                file.seek(0)
                written.append(file.read())
        return written[0], written[1]


def main(orders: socket.socket) -> None:
    """Fork what is asked for, until nobody asks any more."""
    load_everything()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(orders, 100_000, 2)
        if not message:
            return
        order = json.loads(message)
        if "load" in order:
            answer = 0
        elif "reap" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1])
        elif (answer := os.fork()) == 0:
            orders.close()
            run(order["run"], *files)
            return
        for file in files:
            os.close(file)
        with suppress(BrokenPipeError):
            orders.send(str(answer).encode())


def load_everything() -> None:
    """What commands import before they do anything."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    import django
    from django.core.management import get_commands, load_command_class

    django.setup()
    for name, app in get_commands().items():
        if isinstance(app, str) and app.partition(".")[0] in {"billing", "ivy", "notifications"}:
            load_command_class(app, name)


def run(arguments: list[str], out: int, err: int) -> None:
    """Be `manage.py` with these arguments. The end of the process is that of any Python program."""
    from django.core.management import execute_from_command_line

    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, out, err)):
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["manage.py", *arguments]
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
