import logging
from typing import Any

from django.db import Error, connection
from django_q.management.commands.qcluster import Command as QClusterCommand
from django_q.signals import post_spawn

from ivy import probing, schedules
from ivy.models import Role

logger = logging.getLogger(__name__)


def _look(**_: Any) -> None:
    """Called by each new worker, in its own process."""
    probing.start(Role.WORKER)


class Command(QClusterCommand):
    """django-q2's own command, after the schedules were put in order: a damaged one would stop all of them.

    Its workers look at their own cache and database.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for repair in schedules.install():
                logger.warning(repair)
        except Error as error:
            logger.error("Schedules not installed; tick will do it: %s", error)
        post_spawn.connect(_look, dispatch_uid="ivy.probing")
        connection.close()  # the cluster forks, and no connection may be shared by two processes
        super().handle(*args, **options)
