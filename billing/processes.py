"""Which process this is, and whether another one is gone: how a dead worker is told from a slow one."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """A process of some machine. `started` tells it from a later one with the same number."""

    host: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Whether it has certainly ended. False for a process of another machine: nobody here can know."""
        return self.host == _host() and _process_started(self.pid) != self.started


def this_process() -> ProcessId:
    """The process that asks."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> ProcessId:
    return ProcessId(_host(), pid, _process_started(pid))


def _host() -> str:
    """This machine's name, with the process number space where there are several (containers)."""
    with suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _process_started(pid: int) -> str:
    """When the process began, so that a later one with the same number is told from it; empty: no such process.

    Where /proc is missing, the number alone has to do.
    """
    stat = Path(f"/proc/{pid}/stat")
    with suppress(FileNotFoundError, ProcessLookupError, IndexError):
        fields = stat.read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return str(pid)
    return ""
