"""Ivy's settings with django-post-office beside it: for the comparison in `benchmarks.hand_over` alone."""

import os

from ivy.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "post_office"]  # noqa: F405
# Ivy's mail in the language that post-office expects, with nothing to put together at each mail.
TEMPLATES[0]["DIRS"].append(BASE_DIR / "benchmarks" / "templates")  # noqa: F405
TEMPLATES[0]["OPTIONS"]["libraries"] = {"mails": "benchmarks.as_django"}  # noqa: F405
EMAIL_BACKEND = "post_office.EmailBackend"
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "THREADS_PER_PROCESS": int(os.environ.get("POST_OFFICE_THREADS", "5")),
}
# What it says of each batch would stand among the figures; that a mail was not sent, the mail server tells.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "loggers": {"post_office": {"handlers": ["nowhere"], "propagate": False}},
}
