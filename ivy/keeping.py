"""Says of every answer to somebody with a session that no browser keeps it, unless its view said otherwise.

A page behind the log-in is somebody's own, and some hold secrets, as the one with the codes of a second factor.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import add_never_cache_headers


class KeepingMiddleware:
    """Goes by the cookie: it asks nothing of the database."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        answer = self.get_response(request)
        if settings.SESSION_COOKIE_NAME in request.COOKIES and not answer.has_header("Cache-Control"):
            add_never_cache_headers(answer)
        return answer
