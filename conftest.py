"""What every test run needs, whoever starts it: it talks plain HTTP, and nobody collected static files for it."""

import os

from django.conf import settings

# For the processes that tests start; their own settings have been read by now.
os.environ.setdefault("DEBUG", "true")


def pytest_configure() -> None:
    settings.SECURE_SSL_REDIRECT = False
    settings.SESSION_COOKIE_SECURE = False
    settings.CSRF_COOKIE_SECURE = False
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
