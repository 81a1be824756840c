import logging
from typing import Any

from django.db import Error, connection
from django_q.management.commands.qcluster import Command as QClusterCommand

from ivy import schedules

logger = logging.getLogger(__name__)


class Command(QClusterCommand):
    """django-q2's own command, after the schedules were put in order: a damaged one would stop all of them."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for repair in schedules.install():
                logger.warning(repair)
        except Error as error:
            logger.error("Schedules not installed; tick will do it: %s", error)
        connection.close()  # the cluster forks, and no connection may be shared by two processes
        super().handle(*args, **options)
