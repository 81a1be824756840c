"""Processes that belong to this checkout: started in a session of their own, watched, and ended without remains."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import stopping
from problems import CHECKOUT, last_line, tell

STEADY_SECONDS = 60
LONGEST_DELAY_SECONDS = 30


@dataclass
class Child:
    """One process. `stop_signal` goes to its main process alone: django-q hangs when its whole group gets one.

    `log`: where its output goes, None for our own terminal. `user`: whom to become (only root can), None for nobody
    else. `keep_open`: descriptors of ours that it gets under the same numbers.
    """

    name: str
    command: Sequence[str | Path]
    log: Path | None
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stop_signal: int = signal.SIGTERM
    patience_seconds: float = 10
    user: tuple[int, int] | None = None
    keep_open: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0
    deaths: int = 0
    restart_at: float = 0

    def start(self) -> None:
        """Start it. Raises OSError if it can't be."""
        if self.log is None:
            self._start(stdin=None, output=None)
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._start(stdin=subprocess.DEVNULL, output=log.fileno())

    def _start(self, *, stdin: int | None, output: int | None) -> None:
        uid, gid = self.user or (None, None)
        self.process = subprocess.Popen(
            [str(part) for part in self.command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=None if self.env is None else dict(self.env),
            cwd=self.cwd,
            start_new_session=True,
            pass_fds=tuple(self.keep_open),
            user=uid,
            group=gid,
            extra_groups=None if self.user is None else [],
        )
        self.started = time.monotonic()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Tell the main process to end."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(self.stop_signal)

    def make_sure_it_stopped(self, *, asked_at: float) -> None:
        """Wait until its patience is over; then end it, and all that is left of it."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, asked_at + self.patience_seconds - time.monotonic()))
        end_tree(self.process.pid)
        self.process.wait()


class Family:
    """The children of one script, and the record of them by which a later start finds what a killed one left."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self.children: list[Child] = []

    def start(self, child: Child) -> Child:
        """Start a child; from now on it is watched, and ended with the others."""
        child.start()
        self.children.append(child)
        self._write_record()
        return child

    def run(self, child: Child) -> int:
        """Run a child to its end, and return its status. When we are asked to stop, so is it: raises Stopped."""
        self.start(child)
        try:
            while child.is_alive():
                stopping.sleep(0.02)
        finally:
            self.stop([child])
        assert child.process is not None
        return child.process.returncode

    def look(self) -> None:
        """Start again who has died, after a delay that grows with each death in a row. To be called often."""
        now = time.monotonic()
        for child in self.children:
            if child.is_alive():
                if child.deaths and now - child.started > STEADY_SECONDS:
                    child.deaths = 0
            elif not child.restart_at:
                self._mourn(child, now=now)
            elif now >= child.restart_at:
                self._start_again(child, now=now)

    def _mourn(self, child: Child, *, now: float) -> None:
        assert child.process is not None
        end_tree(child.process.pid)
        delay = min(2**child.deaths, LONGEST_DELAY_SECONDS)
        child.deaths += 1
        child.restart_at = now + delay
        said = f" Its last words: {last_line(child.log)}" if child.log else ""
        tell(f"{child.name} ended ({_how(child.process.returncode)}); it is started again in {delay} s.{said}")

    def _start_again(self, child: Child, *, now: float) -> None:
        child.restart_at = 0
        try:
            child.start()
            self._write_record()
        except OSError as error:  # no memory, no disk: that passes, and the others need us
            child.restart_at = now + LONGEST_DELAY_SECONDS
            tell(f"{child.name} can't be started ({error}); trying again in {LONGEST_DELAY_SECONDS} s.")

    def stop(self, children: Iterable[Child] | None = None) -> None:
        """End these children (all), together, and whatever they left behind."""
        which = list(self.children if children is None else children)
        asked_at = time.monotonic()
        for child in which:
            child.ask_to_stop()
        for child in which:
            child.make_sure_it_stopped(asked_at=asked_at)
            self.children.remove(child)
        with suppress(OSError):  # a full disk is no reason to leave the others running
            self._write_record()

    def end_leftovers(self) -> None:
        """End what an earlier start, itself killed, has left running."""
        left = self._read_record()
        alive = [process for process in left if _is_same(process)]
        for process in alive:
            tell(f"Ending {process['name']}, left over from an earlier start ...")
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process["pid"], process["stop_signal"])
        deadline = time.monotonic() + max((process["patience_seconds"] for process in alive), default=0)
        while time.monotonic() < deadline and any(_is_same(process) for process in alive):
            time.sleep(0.05)
        for process in left:
            # A number stays taken while a group of that number lives, so that this is still the same group.
            if _is_same(process) or not start_time(process["pid"]):
                end_tree(process["pid"])
        self._record.unlink(missing_ok=True)

    def _read_record(self) -> "list[Recorded]":
        with suppress(OSError, ValueError, TypeError, KeyError):
            record: Record = json.loads(self._record.read_text(encoding="utf-8"))
            # Else it was copied along with the checkout, or is older than this boot: the numbers are others' now.
            if record["place"] == _place() and record["boot"] == _boot():
                return record["processes"]
        return []

    def _write_record(self) -> None:
        processes: list[Recorded] = [
            {
                "name": child.name,
                "pid": child.process.pid,
                "start_time": start_time(child.process.pid),
                "stop_signal": int(child.stop_signal),
                "patience_seconds": child.patience_seconds,
            }
            for child in self.children
            if child.process is not None
        ]
        record: Record = {"place": _place(), "boot": _boot(), "processes": processes}
        self._record.parent.mkdir(parents=True, exist_ok=True)
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(record), encoding="utf-8")
        new.replace(self._record)


class Recorded(TypedDict):
    """What is kept of one process."""

    name: str
    pid: int
    start_time: str
    stop_signal: int
    patience_seconds: float


class Record(TypedDict):
    """What a family keeps in its file."""

    place: str
    boot: str
    processes: list[Recorded]


def end_tree(pid: int) -> None:
    """Kill all that is left of the session that this process began, and its children in sessions of their own."""
    others = [(other, start_time(other)) for other in _descendants(pid)]
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for other, began in others:
        if began and start_time(other) == began:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)


def start_time(pid: int) -> str:
    """When the process began, so that a later one with the same number is not taken for it; empty: no such process."""
    try:
        fields = _stat(pid)
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return ps.stdout.strip()
    return "" if fields[0] == "Z" else fields[19]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def _is_same(process: Recorded) -> bool:
    return bool(process["start_time"]) and start_time(process["pid"]) == process["start_time"]


def _how(status: int) -> str:
    return f"status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _place() -> str:
    return os.fsencode(CHECKOUT).hex()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
