"""django-q2's cluster with what it lacks: a watchdog, children that never outlive their parent, a stop within a bound.

    main        this command. Starts the sentinel, waits for a signal; the watchdog is a thread of it
    sentinel    starts the others, gives birth to them again when they die, and puts due schedules into the queue
    pusher      takes tasks out of the database and puts them into a pipe
    workers     take tasks out of the pipe and do them
    monitor     keeps their results, and takes what was done off the queue

Everything between them goes through pipes and locks that a killed process may hold for ever; then the cluster looks
alive and does nothing. The watchdog uses none of these: it reads memory that all of them share and write to without a
lock, and ends everything when it has to. The supervisor (systemd, script/server) starts the cluster anew. Nothing is
lost with it, and nothing done twice: tasks only poke.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from django_q.cluster import Cluster
from django_q.signals import post_execute, post_execute_in_worker, post_spawn, pre_execute

from ivy import stopping
from ivy.queue import signs
from ivy.queue.watchdog import PATIENCE_SECONDS, STOP_SECONDS, Watchdog

PARENT_DIED = signal.SIGUSR1
PR_SET_PDEATHSIG = 1


@dataclass
class _Here:
    """This process: who forked it, and how many forks there have been."""

    parent: int = 0
    forks: int = 0


_here = _Here()

# Running -------------------------------------------------------------------------------------------------------------


class _OurCluster(Cluster):
    """A cluster that a signal only asks to stop: what django-q2 does in the handler itself may never return."""

    is_asked_to_stop = False

    def sig_handler(self, signum: int, frame: object) -> None:
        self.is_asked_to_stop = True
        signs.shared.is_stopping = 1

    def wait(self) -> None:
        """Return once it was asked to stop. While it is not, the watchdog decides about the end."""
        while not self.is_asked_to_stop:
            time.sleep(0.1)


def run(
    *, patience_seconds: float = PATIENCE_SECONDS, stop_seconds: float = STOP_SECONDS, is_once: bool = False
) -> None:
    """Run a cluster until SIGTERM or SIGINT; `is_once`: only start and stop it.

    Returns after a clean stop. A cluster that has to be ended by force ends this process as well: with status 0 when it
    was to stop and did not within `stop_seconds` (a worker in the middle of a task gets as long as a mail may take on
    top), with status 1 when it no longer works. `patience_seconds`: how long it may do nothing at all. To be called
    once in a process, and without open connections to the database, since it forks.
    """
    signs.share()
    cluster = _OurCluster()
    watchdog = Watchdog(cluster, patience_seconds=patience_seconds, stop_seconds=stop_seconds)
    # A thread before the fork would be missing behind it, with whatever lock it held.
    os.register_at_fork(before=_note_the_fork, after_in_parent=watchdog.start, after_in_child=_end_with_the_parent)
    post_spawn.connect(_worker_is_there)
    pre_execute.connect(_task_begins)
    post_execute_in_worker.connect(_task_is_done)
    post_execute.connect(_result_is_kept)
    cluster.start()
    if not is_once:
        cluster.wait()
    signs.shared.is_stopping = 1
    cluster.stop()


# Children end with their parents -------------------------------------------------------------------------------------


def _note_the_fork() -> None:
    _here.parent = os.getpid()
    _here.forks += 1


def _end_with_the_parent() -> None:
    """In each forked child: have the death of its parent end it. A worker in the middle of a task ends that first."""
    signal.signal(PARENT_DIED, signal.SIG_DFL)
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(PARENT_DIED), 0, 0, 0)
    else:
        threading.Thread(target=_watch_the_parent, daemon=True).start()
    if _is_orphan():  # it died before we asked
        os._exit(0)


def _watch_the_parent() -> None:
    """Where the system does not tell of a parent's death: look once a second."""
    while not _is_orphan():
        time.sleep(1)
    os.kill(os.getpid(), PARENT_DIED)


def _is_orphan() -> bool:
    return os.getppid() != _here.parent


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


# Workers tell what they do -------------------------------------------------------------------------------------------


def _worker_is_there(**_: object) -> None:
    me = _me()
    me.busy_since = 0
    me.pid = os.getpid()
    stopping.end_when(lambda: bool(signs.shared.is_stopping) or _is_orphan())


def _task_begins(**_: object) -> None:
    if _is_orphan():
        os._exit(0)
    signal.signal(PARENT_DIED, signal.SIG_IGN)  # it may be handing over a mail
    signs.shared.begun_at = _me().busy_since = time.monotonic()


def _task_is_done(**_: object) -> None:
    signs.shared.done_at = time.monotonic()
    _me().busy_since = 0
    signal.signal(PARENT_DIED, signal.SIG_DFL)
    if _is_orphan():  # nobody is there to take the result
        os._exit(0)


def _result_is_kept(**_: object) -> None:
    signs.shared.kept_at = time.monotonic()


def _me() -> Any:
    # A slot for each fork of the sentinel: two workers never write to the same one.
    return signs.shared.workers[_here.forks % signs.SLOTS]
