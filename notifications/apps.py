from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Telling customers, once. Reads billing; billing does not know it."""

    name = "notifications"
    verbose_name = "Notifications"
