import logging

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register

from ivy import telemetry
from ivy.checks import environment_makes_sense


class IvyConfig(AppConfig):
    """Composition: settings, schedules, the supervisor's tick, and the pages and commands that look at both sides."""

    name = "ivy"
    verbose_name = "Ivy"

    def ready(self) -> None:
        register(environment_makes_sense)
        telemetry.start()
        if not settings.DEBUG:
            logging.captureWarnings(True)  # in the form of all other lines
