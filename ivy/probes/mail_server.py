"""The mail server: connected to, logged in to and left again, without a mail."""

from dataclasses import replace

from django.conf import settings

from ivy.probes import Finding
from notifications import transports
from notifications.smtp import HandOverFailed, MailServer

SECONDS = 5.0  # for all of it


def look() -> Finding | None:
    """Greet, STARTTLS where it is wanted, log in, NOOP, QUIT. None with a backend that is no mail server's.

    Never raises. A log-in with a wrong password is one of few a minute; providers lock nobody out for those.
    """
    if settings.EMAIL_BACKEND != transports.SMTP_BACKEND:
        return None
    server = replace(transports.smtp_settings(), seconds=SECONDS)
    try:
        with MailServer(server) as open_server:
            open_server.look_in()
    except HandOverFailed as failed:
        said = f"{failed.code} {failed.words}" if failed.code else failed.words
        return Finding(False, f"{server.name}: {said}", failed.phase.value)
    return Finding(True, f"{server.name} lets Ivy in")
