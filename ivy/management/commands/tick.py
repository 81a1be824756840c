import os
import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

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
        most_seconds = STOP_SECONDS + float(settings.MAIL_SECONDS)

        def give_up(*_: object) -> None:
            ticker.kill()
            os._exit(0)

        is_asked = False

        def stop(*_: object) -> None:
            nonlocal is_asked
            is_asked = True
            # An exception, not a flag: it also ends a sleep and cancels a query, and what is half done is rolled back.
            # A query to a database that is frozen is not cancelled either: then the alarm ends all.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGALRM, give_up)
            signal.setitimer(signal.ITIMER_REAL, most_seconds + 1)
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        try:
            if not options["once"]:
                probing.start(Role.TICK)
            ticker.round()
            while not options["once"] and not is_asked:
                time.sleep(options["every"])
                ticker.round()
            if not is_asked:
                ticker.wait(seconds=ONCE_SECONDS)
        except (Exception, KeyboardInterrupt):
            # In the middle of a statement it may have broken the connection, and come out as another error, or as none.
            if not is_asked:
                raise
        if is_asked:
            ticker.stop(seconds=most_seconds)
            signal.setitimer(signal.ITIMER_REAL, 0)
