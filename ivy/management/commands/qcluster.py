import logging
import os
from typing import Any

from django.core.management.base import CommandParser
from django.db import Error, connection
from django_q.management.commands.qcluster import Command as QClusterCommand
from django_q.signals import post_spawn

from ivy import probing, schedules
from ivy.management.arguments import seconds
from ivy.models import Role
from ivy.queue import cluster, watchdog

logger = logging.getLogger(__name__)


def _look(**_: Any) -> None:
    """Called by each new worker, in its own process."""
    probing.start(Role.WORKER)


class Command(QClusterCommand):
    """django-q2's own command, after the schedules were put in order (a damaged one would stop all of them).

    With a watchdog; to be kept running by a supervisor. Its workers look at their own cache and database.
    """

    help = (
        "Run the queue's cluster, until SIGTERM. Ends with a status other than 0 when the cluster no longer works, to "
        "be started anew by its supervisor."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--patience",
            type=seconds,
            default=watchdog.PATIENCE_SECONDS,
            metavar="SECONDS",
            help=f"end a cluster that did nothing for so long (default {watchdog.PATIENCE_SECONDS:g})",
        )
        parser.add_argument(
            "--stop-within",
            type=seconds,
            default=watchdog.STOP_SECONDS,
            metavar="SECONDS",
            help=f"kill what has not stopped so long after SIGTERM (default {watchdog.STOP_SECONDS:g}); a mail that is "
            "being handed over gets its own time on top",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        try:
            for repair in schedules.install():
                logger.warning(repair)
        except Error as error:
            logger.error("Schedules not installed; tick will do it: %s", error)
        post_spawn.connect(_look, dispatch_uid="ivy.probing")
        connection.close()  # the cluster forks, and no connection may be shared by two processes
        cluster.run(
            patience_seconds=options["patience"], stop_seconds=options["stop_within"], is_once=options["run_once"]
        )
