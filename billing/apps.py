from django.apps import AppConfig


class BillingConfig(AppConfig):
    """Charging and the ledger. Knows neither `notifications` nor `ivy`."""

    name = "billing"
    verbose_name = "Billing"
