import os
import signal
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from billing.management.stopping import SECONDS_TO_STOP
from ivy import probing
from ivy.management.arguments import seconds
from ivy.models import Role
from ivy.queue.ticking import Ticker

STOP_SECONDS = 15.0
ONCE_SECONDS = 15 * 60.0


class Command(BaseCommand):
    help = (
        "Keep an eye on the queue: repair its schedules, and run billing and notifications from here while it is "
        "silent. To be kept running by a supervisor, beside the cluster."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--every", type=seconds, default=10.0, metavar="SECONDS", help="between rounds (default 10)"
        )
        parser.add_argument("--once", action="store_true", help="do a single round and end, for cron")

    def handle(self, *args: Any, **options: Any) -> None:
        ticker = Ticker(patient=not options["once"])
        stop = Stop(ticker)
        try:
            if not options["once"]:
                probing.start(Role.TICK)
            ticker.round()
            while not options["once"] and not stop.is_asked:
                stop.sleep(options["every"])
                if not stop.is_asked:
                    ticker.round()
            ticker.wait(seconds=ONCE_SECONDS, unless=lambda: stop.is_asked)
        except (Exception, KeyboardInterrupt):
            if not stop.is_asked:
                raise
        if stop.is_asked:
            stop.end()


class Stop:
    """SIGTERM and Ctrl-C: a flag, not an exception, which in the middle of a statement breaks more than it ends.

    What goes on for five seconds more is broken off nevertheless, and if that does not help, the process is ended.
    """

    def __init__(self, ticker: Ticker) -> None:
        self.is_asked = False
        self._ticker = ticker
        self._most_seconds = STOP_SECONDS + float(settings.MAIL_SECONDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until the stop."""
        until = time.monotonic() + seconds
        while not self.is_asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def end(self) -> None:
        """End what the ticker has begun, within its bound."""
        self._alarm_after(self._most_seconds + 1, self._give_up)
        self._ticker.stop(seconds=self._most_seconds)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _note(self, *_: object) -> None:
        self.is_asked = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._alarm_after(SECONDS_TO_STOP, self._break_off)

    def _break_off(self, *_: object) -> None:
        # A query to a database that is frozen is not always cancelled by this: then the next alarm ends all.
        self._alarm_after(self._most_seconds + 1, self._give_up)
        raise KeyboardInterrupt

    def _give_up(self, *_: object) -> None:
        self._ticker.kill()
        os._exit(0)

    def _alarm_after(self, seconds: float, what: Callable[..., None]) -> None:
        """Have `what` called in the middle of whatever is going on then; an alarm that was set before is off."""
        signal.signal(signal.SIGALRM, what)
        signal.setitimer(signal.ITIMER_REAL, seconds)
