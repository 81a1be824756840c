"""The queue's cluster as a process of its own on this process's database, and who in it is who."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from billing.models import BillingWorker, WorkerState
from ivy import pulses
from tests.faults.processes import CHECKOUT, PATIENCE_SECONDS, Running, database_url, start, wait_until

ROLES = {
    "worker": "ready for work at",
    "pusher": "pushing tasks at",
    "monitor": "monitoring at",
}


@dataclass
class RunningCluster:
    """`manage.py qcluster` with all that it forks, as its supervisor sees it."""

    folder: Path
    patience: float
    stop_within: float
    starts_cold: bool = False
    starts: int = 0
    _process: subprocess.Popen[bytes] | Running | None = None
    _seen: dict[int, psutil.Process] = field(default_factory=dict)

    def start(self) -> None:
        """Start it, once more: from nothing, as an operator does, or forked from a process that has loaded Ivy."""
        self.starts += 1
        command = ["qcluster", f"--patience={self.patience}", f"--stop-within={self.stop_within}"]
        with self._log.open("w") as log:
            if self.starts_cold:
                environment = {**os.environ, "DATABASE_URL": database_url()}
                manage = [sys.executable, "manage.py"]
                self._process = subprocess.Popen(
                    [*manage, *command], cwd=CHECKOUT, env=environment, stdout=log, stderr=log
                )
            else:
                self._process = start(*command, log=log)

    @property
    def pid(self) -> int:
        """The main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """How the main process has ended; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send the main process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end of the main process: how it has ended."""
        wait_until(lambda: self.status is not None, seconds=seconds, what="the end of the cluster")
        assert self.status is not None
        return self.status

    def said(self) -> str:
        """All that it has logged since its last start."""
        return self._log.read_text()

    def who_is(self, role: str) -> list[int]:
        """The living processes in this role, by what they said at their start."""
        children = self._children()
        if role == "main":
            return [self.pid]
        if role == "sentinel":
            return [child.pid for child in children if child.ppid() == self.pid]
        told = [int(pid) for pid in re.findall(rf"{ROLES[role]} (\d+)", self.said())]
        living = {child.pid for child in children}
        return [pid for pid in told if pid in living]

    def wait_until_up(self) -> None:
        """Wait for all of its processes."""

        def is_up() -> bool:
            return len(self.who_is("worker")) >= 2 and bool(self.who_is("pusher")) and bool(self.who_is("monitor"))

        wait_until(lambda: self.status is not None or is_up(), what="a cluster that is up")
        assert self.status is None, self.said()

    def kill_idle_workers(self) -> None:
        """`kill -9` all workers while they have nothing to do: one of them holds the queue's lock, for ever now.

        Their successors are there when it returns.
        """

        wait_until(self._is_idle_for_a_while, what="workers that are idle")
        killed = set(self.who_is("worker"))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(self.who_is("worker")) - killed) >= len(killed), what="workers that are born again")

    def is_left(self) -> list[int]:
        """Who is left of all that were ever seen."""
        self._children()
        return [pid for pid, process in self._seen.items() if lives(process)]

    def end(self) -> None:
        """Kill whoever is left."""
        for pid in self.is_left():
            with suppress(psutil.NoSuchProcess):  # the first takes others with it
                self._seen[pid].kill()
        self.send(signal.SIGKILL)
        self.wait()
        wait_until(lambda: not self.is_left(), what="the end of all processes")

    def _is_idle_for_a_while(self) -> bool:
        """Whether all have come to rest at the queue's pipe: who has done a task may not have got there yet."""
        workers = [psutil.Process(pid) for pid in self.who_is("worker")]
        for _ in range(20):
            if not self._is_idle() or any(worker.status() != psutil.STATUS_SLEEPING for worker in workers):
                return False
            time.sleep(0.01)
        return True

    def _is_idle(self) -> bool:
        """Whether the result of the last task of each living worker has been kept."""
        said, living = self.said(), self.who_is("worker")
        names = {name for name, pid in re.findall(r"(Process-\w+) ready for work at (\d+)", said) if int(pid) in living}
        last = dict(re.findall(r"(Process-\w+) processing (\S+) '", said))
        return all(f" ({last[name]})" in said for name in names & set(last))

    @property
    def _log(self) -> Path:
        return self.folder / f"log-{self.starts}"

    def _children(self) -> list[psutil.Process]:
        try:
            children = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        for child in children:
            self._seen.setdefault(child.pid, child)
        return [child for child in children if lives(child)]


def lives(process: psutil.Process) -> bool:
    """Whether it is still there, and no mere entry in the table of processes."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def cluster(*, patience: float = 120, stop_within: float = 15, is_up: bool = True) -> Iterator[RunningCluster]:
    """A cluster that is up (else: is only starting); whatever is left of it is killed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        running = RunningCluster(Path(folder), patience, stop_within)
        running.start()
        try:
            if is_up:
                running.wait_until_up()
            yield running
        finally:
            running.end()


@dataclass
class BusySchedule:
    """The tasks of the schedules, put into the queue several times a second instead of once a minute."""

    goes_on: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Put nothing into the queue, and let the cluster do what is there."""
        self.goes_on.clear()
        try:
            wait_until(lambda: not waiting(), what="a queue that is empty")
            yield
        finally:
            self.goes_on.set()


@contextmanager
def busy_schedule(*, every: float = 0.2) -> Iterator[BusySchedule]:
    """Such a schedule, as long as the block runs."""
    schedule = BusySchedule()
    schedule.goes_on.set()
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(every):
            # No more than can be done: else what is looked for waits behind what is of no interest.
            if not schedule.goes_on.is_set():
                continue
            try:
                if waiting() < 3:
                    for task in ("queue_canary", "billing_cycle", "notifications_pass"):
                        async_task(f"ivy.tasks.{task}")
            except (InterfaceError, OperationalError):  # the database is away
                connection.close()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield schedule
    finally:
        is_over.set()
        thread.join()


def waiting() -> int:
    """How many tasks nobody has taken yet. (What a killed cluster had taken lies there, locked, for hours.)"""
    return OrmQ.objects.filter(lock__lte=timezone.now()).count()


def canary() -> datetime | None:
    """When the queue did its canary's task last."""
    return pulses.last_beats(pulses.QUEUE_CANARY).get(pulses.QUEUE_CANARY)


def wait_for_the_canary(*, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until the queue has done its canary's task once more."""
    before = canary()
    wait_until(lambda: canary() != before, seconds=seconds, what="another canary")


def who_bills() -> int | None:
    """The process that is at work on a billing run."""
    worker = BillingWorker.objects.filter(state=WorkerState.RUNNING, run__state="running").first()
    return worker.pid if worker else None
