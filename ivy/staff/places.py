"""Where a person came from, so that a page leads back there: to a page of the admin, and never anywhere else."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils.http import url_has_allowed_host_and_scheme

LONGEST = 2_000

WORDS = {
    "index": "the first page",
    "customer": "the customer",
    "search": "what was found",
    "changes": "what somebody did",
    "review_twice": "who got two or more",
    "notifications_notificationlog_changelist": "the log",
    "notifications_notificationlog_change": "its row in the log",
    "notifications_stafforder_change": "the order",
}
"""What pages are called after “Back to”, by the names of their addresses; others go without a name."""


@dataclass(frozen=True)
class Place:
    """A page of the admin: its address on this site, and what it is called after “Back to”."""

    address: str
    words: str
    name: str


def said(request: HttpRequest) -> Place | None:
    """The place that the address itself carries as `back`; None: it carries none that is a page of the admin."""
    return _place(request.GET.get("back", ""))


def told_by_browser(request: HttpRequest) -> Place | None:
    """The page on which the link was followed, as the browser tells it; None: none of this site's admin."""
    referer = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(referer, {request.get_host()}, require_https=request.is_secure()):
        return None
    parts = urlsplit(referer)
    return _place(f"{parts.path}?{parts.query}" if parts.query else parts.path)


def _place(address: str) -> Place | None:
    if len(address) > LONGEST or not address.startswith("/") or not url_has_allowed_host_and_scheme(address, None):
        return None
    try:
        found = resolve(unquote(urlsplit(address).path))
    except (Resolver404, ValueError):
        return None
    name = found.url_name or ""
    if found.namespace != "admin" or name in {"", "login", "logout"}:
        return None
    return Place(address, WORDS.get(name, "where you came from"), name)
