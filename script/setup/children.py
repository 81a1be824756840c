"""Processes that belong to this checkout: started in a session of their own, watched, and ended without remains."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from problems import tell

STEADY_SECONDS = 60
LONGEST_DELAY_SECONDS = 30


@dataclass
class Child:
    """One process. `stop_signal` goes to its main process alone: django-q hangs when its whole group gets one.

    `user`: whom to become (only root can), None for nobody else.
    """

    name: str
    command: Sequence[str | Path]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stop_signal: int = signal.SIGTERM
    patience_seconds: float = 10
    user: tuple[int, int] | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0
    deaths: int = 0
    restart_at: float = field(default=0)

    def start(self) -> None:
        """Start it; what it prints goes to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        whom = {"user": self.user[0], "group": self.user[1], "extra_groups": []} if self.user else {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self.env is None else dict(self.env),
                cwd=self.cwd,
                start_new_session=True,
                **whom,  # type: ignore[arg-type]
            )
        self.started = time.monotonic()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Tell the main process to end."""
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(self.stop_signal)

    def make_sure_it_stopped(self) -> None:
        """Wait for it some seconds; then end all that is left of its session."""
        if self.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.patience_seconds)
        end_group(self.process.pid)
        self.process.wait()


class Family:
    """The children of one script, and the record of them by which a later start finds what a killed one left."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self.children: list[Child] = []

    def start(self, child: Child) -> Child:
        """Start a child; from now on it is watched, and ended with the others."""
        self.children.append(child)
        child.start()
        self._write_record()
        return child

    def look(self) -> None:
        """Start again who has died, after a delay that grows with each death in a row. To be called often."""
        now = time.monotonic()
        for child in self.children:
            if child.is_alive():
                if child.deaths and now - child.started > STEADY_SECONDS:
                    child.deaths = 0
                continue
            if not child.restart_at:
                delay = min(2**child.deaths, LONGEST_DELAY_SECONDS)
                child.deaths += 1
                child.restart_at = now + delay
                status = child.process.returncode if child.process else "?"
                tell(f"{child.name} ended (status {status}); starting it again in {delay} s. See {child.log}")
                if child.process:
                    end_group(child.process.pid)
            elif now >= child.restart_at:
                child.restart_at = 0
                child.start()
                self._write_record()

    def stop(self, children: Sequence[Child] | None = None) -> None:
        """End these children (all), together, and whatever they left behind."""
        which = list(self.children if children is None else children)
        for child in which:
            child.ask_to_stop()
        for child in which:
            child.make_sure_it_stopped()
            self.children.remove(child)
        self._write_record()

    def end_leftovers(self) -> None:
        """End what an earlier start, itself killed, has left running."""
        try:
            records = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return
        left = [record for record in records if start_time(record["pid"]) == record["start_time"]]
        for record in left:
            tell(f"Ending {record['name']}, left over from an earlier start ...")
            with suppress(ProcessLookupError, PermissionError):
                os.kill(record["pid"], record["stop_signal"])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and any(start_time(r["pid"]) == r["start_time"] for r in left):
            time.sleep(0.05)
        for record in records:
            if not start_time(record["pid"]) or start_time(record["pid"]) == record["start_time"]:
                end_group(record["pid"])
        self._record.unlink(missing_ok=True)

    def _write_record(self) -> None:
        records = [
            {
                "name": child.name,
                "pid": child.process.pid,
                "start_time": start_time(child.process.pid),
                "stop_signal": int(child.stop_signal),
            }
            for child in self.children
            if child.process is not None
        ]
        self._record.parent.mkdir(parents=True, exist_ok=True)
        new = self._record.with_suffix(".new")
        new.write_text(json.dumps(records))
        new.replace(self._record)


def end_group(pid: int) -> None:
    """Kill all that is left of the session that this process began."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def start_time(pid: int) -> str:
    """When the process began, so that a later one with the same number is not taken for it; empty: no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return ps.stdout.strip()
    return "" if fields[0] == "Z" else fields[19]
