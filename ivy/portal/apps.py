from django.apps import AppConfig


class PortalConfig(AppConfig):
    """What partners see, and the people who may see it."""

    name = "ivy.portal"
    label = "portal"
    verbose_name = "Portal"
