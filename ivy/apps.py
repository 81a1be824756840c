import logging

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import register
from django.db.models.signals import post_migrate

from ivy import telemetry
from ivy.checks import environment_makes_sense


class IvyConfig(AppConfig):
    """Composition: settings, schedules, the supervisor's tick, and the pages and commands that look at both sides."""

    name = "ivy"
    verbose_name = "Ivy"

    def ready(self) -> None:
        register(environment_makes_sense)
        post_migrate.connect(_make_roles, sender=self)
        telemetry.start()
        if not settings.DEBUG:
            logging.captureWarnings(True)  # in the form of all other lines


def _make_roles(**_about: object) -> None:
    """Permissions come into being after a migration, by this very signal; so do the roles that are made of them."""
    from ivy.staff import roles  # noqa: PLC0415 - models can be imported only once all apps are ready

    named = {name.split(".")[0] for permissions in roles.MAY.values() for name in permissions}
    if named <= apps.app_configs.keys():  # a test may do with fewer apps
        roles.install()
