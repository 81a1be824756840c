"""The second poke. Whatever happens to the queue, billing goes on: `manage.py tick` does a round every few seconds."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from django.db import InterfaceError, OperationalError, connections

from ivy import alarms, pulses, schedules, tasks
from ivy.queue.poking import Poke

logger = logging.getLogger(__name__)

WATCHED = (pulses.BILLING_CYCLE, pulses.NOTIFICATIONS, pulses.QUEUE_CANARY)
PATIENCE = timedelta(minutes=2)
SECONDS_BETWEEN_REPAIRS = 60.0
SECONDS_BETWEEN_POKES = 60.0


class Ticker:
    """A watcher of the queue, with what it has to remember from round to round.

    The queue lives while its tasks keep beating: the canary, whose end proves that tasks run, and the billing cycle and
    the notification pass, whose starts prove that these come as well. When any has stayed away for two minutes the
    ticker begins a cycle and a pass itself. A poke too many is harmless; one too few is not. It looks for alarms in
    every round. All of that is done in processes of its own, so that nothing that hangs keeps it from its rounds.
    """

    def __init__(self, *, patient: bool = True) -> None:
        """`patient`: call nobody silent before two minutes of watching, as a cluster may just be starting beside us."""
        self._patient = patient
        self._watching_since: datetime | None = None
        self._silent: frozenset[str] = frozenset()
        self._database_is_away = False
        self._repaired_at = self._poked_at = float("-inf")
        self._pokes = [
            Poke("billing cycle", partial(tasks.billing_cycle, by="tick")),
            Poke("notification pass", partial(tasks.notifications_pass, by="tick")),
        ]
        # In every round: what passes would tell is told although they hang. A mail server that hangs holds up no round.
        self._look = Poke("look for alarms", alarms.look)
        self._all = [*self._pokes, self._look]

    def round(self) -> None:
        """One look, and what follows from it. Never raises because of the database: the next round tries again."""
        try:
            self._look_and_act()
        except (OperationalError, InterfaceError) as error:
            connections.close_all()
            self._watching_since = None  # without a database nobody could beat; be patient with them anew
            if not self._database_is_away:
                logger.error("The database does not answer; trying again: %s", str(error).strip())
            self._database_is_away = True
        else:
            if self._database_is_away:
                logger.info("The database is back.")
            self._database_is_away = False

    def wait(self, *, seconds: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until nothing of what was poked is under way; False if something still is after so long, or `unless`."""
        deadline = monotonic() + seconds
        while any(poke.is_under_way() for poke in self._all):
            if monotonic() > deadline or unless():
                return False
            time.sleep(0.02)
        return True

    def stop(self, *, seconds: float) -> None:
        """End what was poked: after the chunk, or the mail, in hand, and by force after so long."""
        for poke in self._all:
            if poke.is_under_way():
                poke.ask_to_stop()
        if not self.wait(seconds=seconds):
            self.kill()

    def kill(self) -> None:
        """End what was poked, at once."""
        for poke in self._all:
            poke.kill()

    def _look_and_act(self) -> None:
        pulses.beat(pulses.TICK)
        if monotonic() - self._repaired_at >= SECONDS_BETWEEN_REPAIRS:
            for repair in schedules.install():
                logger.warning(repair)
            self._repaired_at = monotonic()
        if self._patient and self._watching_since is None:
            self._watching_since = pulses.database_now()
        silent = pulses.silent_since(*WATCHED, longer_than=PATIENCE, watched_since=self._watching_since)
        self._tell(silent)
        self._look.start()
        if silent and monotonic() - self._poked_at >= SECONDS_BETWEEN_POKES:
            for poke in self._pokes:
                poke.start()
            self._poked_at = monotonic()

    def _tell(self, silent: dict[str, datetime | None]) -> None:
        """Log what has changed since the last round, and nothing else."""
        if frozenset(silent) == self._silent:
            return
        self._silent = frozenset(silent)
        if not silent:
            logger.info("The queue is back: %s come again.", ", ".join(WATCHED))
            return
        news = ", ".join(
            f"{name} since {at:%Y-%m-%d %H:%M:%S} UTC" if at else f"{name} ever" for name, at in silent.items()
        )
        fate = "is dead" if len(silent) == len(WATCHED) else "does not do everything"
        logger.error("The queue %s (nothing of %s): tick runs billing and notifications until it is back.", fate, news)
