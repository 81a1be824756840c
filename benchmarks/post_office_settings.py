"""Ivy's settings with django-post-office beside it: for the comparison in `benchmarks.hand_over` alone."""

from ivy.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "post_office"]  # noqa: F405
EMAIL_BACKEND = "post_office.EmailBackend"
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "BATCH_SIZE": 10_000,
    "LOG_LEVEL": 0,
}
