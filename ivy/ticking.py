"""The second poke. Whatever happens to the queue, billing goes on: `manage.py tick` does a round every few seconds."""

import logging
from datetime import datetime, timedelta
from time import monotonic

from django.db import InterfaceError, OperationalError, connections

from ivy import alarms, pulses, schedules, tasks

logger = logging.getLogger(__name__)

WATCHED = (pulses.BILLING_CYCLE, pulses.QUEUE_CANARY)
PATIENCE = timedelta(minutes=2)
SECONDS_BETWEEN_REPAIRS = 60.0
SECONDS_BETWEEN_POKES = 60.0


class Ticker:
    """A watcher of the queue, with what it has to remember from round to round.

    The queue lives while both of its tasks keep beating: the canary, whose end proves that tasks run, and the billing
    cycle, whose start proves that this one comes as well. When either has stayed away for two minutes the ticker runs
    the cycle itself. A poke too many is harmless; one too few is not.
    """

    def __init__(self, *, patient: bool = True) -> None:
        """`patient`: call nobody silent before two minutes of watching, as a cluster may just be starting beside us."""
        self._patient = patient
        self._watching_since: datetime | None = None
        self._silent: frozenset[str] = frozenset()
        self._database_is_away = False
        self._repaired_at = self._poked_at = float("-inf")

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
        alarms.look()  # before a poke, which may take long
        if silent and monotonic() - self._poked_at >= SECONDS_BETWEEN_POKES:
            self._poke()
            self._poked_at = monotonic()
        self._look_for_alarms()

    def _tell(self, silent: dict[str, datetime | None]) -> None:
        """Log what has changed since the last round, and nothing else."""
        if frozenset(silent) == self._silent:
            return
        self._silent = frozenset(silent)
        if not silent:
            logger.info("The queue is back: %s come again.", " and ".join(WATCHED))
            return
        news = ", ".join(
            f"{name} since {at:%Y-%m-%d %H:%M:%S} UTC" if at else f"{name} ever" for name, at in silent.items()
        )
        fate = "is dead" if len(silent) == len(WATCHED) else "does not do everything"
        logger.error("The queue %s (nothing of %s): tick runs the billing cycle until it is back.", fate, news)

    def _look_for_alarms(self) -> None:
        """In every round: what the passes of the queue would tell is told although they hang."""
        try:
            alarms.look()
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("Alarms could not be looked at.")

    def _poke(self) -> None:
        try:
            tasks.billing_cycle(by="tick")
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("The billing cycle failed.")
