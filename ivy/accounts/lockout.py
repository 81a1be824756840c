"""What axes counts failed log-ins by."""

from typing import Any

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from ivy.accounts.models import lower_case


def attempted_email(request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """The address somebody tried to log in with, in one spelling, so that ANN@ and ann@ are one account to guess at.

    None where no address was given, as when somebody who is logged in confirms their password wrongly.
    """
    email = (credentials or {}).get("email") or request.POST.get("login")
    return lower_case(email) if email else None


def client_ip(request: HttpRequest) -> str | None:
    """The client's network address as allauth sees it: behind our own proxy the one the proxy reports.

    None for a request that came over no network, such as a log-in inside a test.
    """
    try:
        return str(get_adapter(request).get_client_ip(request))
    except PermissionDenied:
        return None


def nobody_named(_username: str | None, _ip: str | None, _agent: str | None, path: str | None, _request: object) -> str:
    """What axes writes to the log of who failed to log in: the place alone. Who it was stands in its table."""
    return f"somebody at {path}"
