import signal
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ivy import probing
from ivy.models import Role
from ivy.ticking import Ticker


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise ArgumentTypeError("must be more than 0 seconds")
    return seconds


def _stop(*_: object) -> None:
    # An exception, not a flag: it also ends a sleep and cancels a query, and what is half done is rolled back.
    raise KeyboardInterrupt


class Command(BaseCommand):
    help = (
        "Keep an eye on the queue: repair its schedules, and run the billing cycle from here while it is silent. "
        "To be kept running by a supervisor, beside the cluster."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--every", type=_seconds, default=10.0, metavar="SECONDS", help="between rounds (default 10)"
        )
        parser.add_argument("--once", action="store_true", help="do a single round and end, for cron")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        ticker = Ticker(patient=not options["once"])
        if not options["once"]:
            probing.start(Role.TICK)
        try:
            ticker.round()
            while not options["once"]:
                time.sleep(options["every"])
                ticker.round()
        except KeyboardInterrupt:
            return
