"""What every test run needs, whoever starts it: it talks plain HTTP, and nobody collected static files for it."""

import os
from urllib.parse import urlsplit

from django.conf import settings

# For the processes that tests start; their own settings have been read by now.
os.environ.setdefault("DEBUG", "true")


def pytest_configure() -> None:
    _take_a_redis_database()
    settings.SECURE_SSL_REDIRECT = False
    settings.SESSION_COOKIE_SECURE = False
    settings.CSRF_COOKIE_SECURE = False
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _take_a_redis_database() -> None:
    """Each process of pytest-xdist its own, for it and the processes that it starts: keys are named alike."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if number:
        url = urlsplit(os.environ["CACHE_URL"])._replace(path=f"/{int(number) + 1}").geturl()
        os.environ["CACHE_URL"] = settings.CACHES["redis"]["LOCATION"] = url
