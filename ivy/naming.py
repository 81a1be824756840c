"""Tells the database who sends a request that changes something, so that what it changes is noted under that name."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from billing.acting import acting_as

LOOKING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class NamingMiddleware:
    """After authentication: by then it is known who it is."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in LOOKING or not request.user.is_authenticated:
            return self.get_response(request)
        with acting_as(request.user.get_username(), path=request.path):
            return self.get_response(request)
