"""The watchdog of a cluster: a thread of its main process that sees when the cluster is beyond help, and ends it.

It uses nothing that a killed process may hold: no lock, no pipe, no wait for a child. What it goes by is the cluster's
signs of life, the table of processes, and the canary's pulse in the database.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import psutil
from django.conf import settings
from django.db import Error, connection
from django_q.cluster import Cluster
from django_q.conf import Conf

from ivy import pulses, repairs
from ivy.models import Repair
from ivy.queue import signs

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
STOP_SECONDS = 15.0
MOST_SECONDS_FOR_A_TASK = Conf.TIMEOUT + 60.0  # django-q2's own time-out comes before
NOTE_SECONDS = 5.0


class Watchdog:
    """Ends the cluster when it is beyond help: its sentinel is dead, it does nothing, or it does not stop."""

    def __init__(self, cluster: Cluster, *, patience_seconds: float, stop_seconds: float) -> None:
        self._cluster = cluster
        self._patience = patience_seconds
        self._stop_seconds = stop_seconds
        self._pause = min(2.0, patience_seconds / 20)
        self._me = psutil.Process()
        self._known: dict[int, psutil.Process] = {}
        self._canary = _Canary(every=min(10.0, patience_seconds / 10))
        self._is_started = False
        self._began = self._took_up_at = self._kept_up_at = time.monotonic()
        self._last_begun = self._last_kept = self._stopping_since = 0.0

    def start(self) -> None:
        """Begin to watch, in threads of the process that has just forked the sentinel."""
        if os.getpid() == self._me.pid and not self._is_started:
            self._is_started = True
            self._began = self._took_up_at = self._kept_up_at = time.monotonic()
            self._canary.start()
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                self._look()
            except Exception:
                logger.exception("The watchdog stumbled, and goes on.")
            time.sleep(self._pause)

    def _look(self) -> None:
        self._know_the_children()
        if signs.shared.is_stopping:
            self._see_that_it_stops()
        elif self._sentinel_is_dead():
            self._give_up("its sentinel has died")
        elif why := self._why_it_is_beyond_help():
            self._give_up(why)

    def _know_the_children(self) -> None:
        """Remember all descendants: those of a killed sentinel are nobody's children any more."""
        with suppress(psutil.Error):
            for child in self._me.children(recursive=True):
                self._known.setdefault(child.pid, child)
        self._known = {pid: child for pid, child in self._known.items() if _lives(child)}

    def _sentinel_is_dead(self) -> bool:
        sentinel = self._cluster.sentinel
        if sentinel is None or sentinel.pid is None:
            return False
        # Not asked by waitpid: the main thread may be waiting for it, and only one of the two would hear of its end.
        # Until somebody has waited for it, nobody else gets its id.
        try:
            return psutil.Process(sentinel.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def _why_it_is_beyond_help(self) -> str:
        """What is wrong with a cluster that looks alive; empty while it is well, or too early to tell."""
        seen, now = signs.shared, time.monotonic()
        has_a_free_hand = not self._are_all_busy()
        has_begun = seen.begun_at != self._last_begun
        has_kept = seen.kept_at != self._last_kept
        self._last_begun, self._last_kept = seen.begun_at, seen.kept_at
        answers_for = self._canary.answers_for()
        is_deaf = now - seen.looked_at > self._pause + 2 * Conf.POLL or seen.fetched_at > seen.begun_at
        if not has_a_free_hand or has_begun or not is_deaf or not answers_for:
            self._took_up_at = now
        if has_kept or seen.done_at <= seen.kept_at or not answers_for:
            self._kept_up_at = now
        if answers_for < self._patience:
            return ""  # a database that is, or was, away is no reason
        last_done = max(seen.done_at, self._began)
        is_idle = has_a_free_hand and now - last_done > self._patience
        if is_idle and self._canary.is_silent_for(self._patience):
            return f"it has done nothing for {now - last_done:.0f} s, and nobody else has"
        if now - self._took_up_at > self._patience:
            return f"its workers have been cut off from the queue for {now - self._took_up_at:.0f} s"
        if now - self._kept_up_at > self._patience:
            return f"no result of its workers has been kept for {now - self._kept_up_at:.0f} s"
        return ""

    def _are_all_busy(self) -> bool:
        """Whether every living worker is in the middle of a task, none of them longer than tasks may take."""
        workers = list(self._living_workers())
        now = time.monotonic()
        return bool(workers) and all(
            worker.busy_since and now - worker.busy_since < MOST_SECONDS_FOR_A_TASK for worker in workers
        )

    def _is_anybody_busy(self) -> bool:
        return any(worker.busy_since for worker in self._living_workers())

    def _living_workers(self) -> Iterator[Any]:
        return (worker for worker in signs.shared.workers if worker.pid in self._known)

    def _see_that_it_stops(self) -> None:
        now = time.monotonic()
        self._stopping_since = self._stopping_since or now
        took = now - self._stopping_since
        if took > self._stop_seconds and (not self._is_anybody_busy() or took > self._longest_stop()):
            logger.warning("The cluster has not stopped within %.0f s: ending what is left of it.", took)
            self._end_all(status=0)

    def _longest_stop(self) -> float:
        """A worker stops after the mail in hand, which may take its server so long."""
        return self._stop_seconds + float(settings.MAIL_SECONDS)

    def _give_up(self, why: str) -> NoReturn:
        logger.critical("The cluster is beyond help: %s. Ending it, to be started anew by the supervisor.", why)
        noting = threading.Thread(target=_note, args=(f"A cluster was ended by its watchdog: {why}.",), daemon=True)
        noting.start()
        noting.join(NOTE_SECONDS)
        signs.shared.is_stopping = 1  # workers leave after the chunk, or the mail, in hand
        sentinel = self._cluster.sentinel
        if sentinel is not None and sentinel.pid in self._known:
            with suppress(psutil.Error):
                self._known[sentinel.pid].kill()  # and with it goes whoever is idle
        deadline = time.monotonic() + self._longest_stop()
        self._know_the_children()
        while self._is_anybody_busy() and time.monotonic() < deadline:
            time.sleep(0.05)
            self._know_the_children()
        self._end_all(status=1)

    def _end_all(self, *, status: int) -> NoReturn:
        """Kill what is left of the cluster, by id, and this process with it."""
        self._know_the_children()
        for child in self._known.values():
            with suppress(psutil.Error):
                child.kill()
        os._exit(status)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _note(what: str) -> None:
    try:
        repairs.note(Repair.Part.QUEUE, what)
    except Error as error:
        logger.error("It could not be noted in the database: %s", str(error).strip())
    finally:
        connection.close()


@dataclass
class _Canary:
    """Looks at the canary's pulse, in a thread of its own: a frozen database must not hold up the watchdog."""

    every: float
    _answered_at: float = 0.0
    _answers_since: float = 0.0
    _silent_seconds: float = 0.0

    def start(self) -> None:
        threading.Thread(target=self._look_again_and_again, name="canary", daemon=True).start()

    def answers_for(self) -> float:
        """For how many seconds the database has answered without a break; 0: it does not."""
        now = time.monotonic()
        if not self._answers_since or now - self._answered_at > 3 * self.every + 1:
            return 0.0
        return now - self._answers_since

    def is_silent_for(self, seconds: float) -> bool:
        """Whether no cluster at all has done the canary's task for so long."""
        return self._silent_seconds + (time.monotonic() - self._answered_at) > seconds

    def _look_again_and_again(self) -> None:
        while True:
            began = time.monotonic()
            try:
                silent = _seconds_of_silence()
            except Error:
                self._answers_since = 0.0
                connection.close()
            else:
                now = time.monotonic()
                is_steady = self._answers_since and now - self._answered_at <= 3 * self.every + 1
                self._silent_seconds, self._answered_at = silent, now
                if not is_steady:
                    self._answers_since = now
            time.sleep(max(0.0, began + self.every - time.monotonic()))


def _seconds_of_silence() -> float:
    beat = pulses.last_beats(pulses.QUEUE_CANARY).get(pulses.QUEUE_CANARY)
    return (pulses.database_now() - beat).total_seconds() if beat else float("inf")
