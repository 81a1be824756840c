"""The door for the web: `gunicorn ivy.wsgi`."""

import os

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")

# A web server runs no system checks. gunicorn gives up at once on an exception; on a mere exit it would try for ever.
if settings.ENVIRONMENT_PROBLEMS:
    raise ImproperlyConfigured("\n".join(settings.ENVIRONMENT_PROBLEMS))

application = get_wsgi_application()

from ivy import probing  # noqa: E402 - models want the application first
from ivy.models import Role  # noqa: E402

# In every web process, also in those that are forked from this one.
probing.start(Role.WEB)
