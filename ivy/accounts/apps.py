from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The people who log in."""

    name = "ivy.accounts"
    label = "accounts"
    verbose_name = "Accounts"
