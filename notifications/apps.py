from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Telling customers, once. Reads billing; billing does not know it."""

    name = "notifications"
    verbose_name = "Notifications"

    def ready(self) -> None:
        from notifications import providers  # noqa: F401, PLC0415 - listens to providers' events; needs the models
