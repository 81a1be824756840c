"""Keeps NUL out of addresses: PostgreSQL takes it in no text, so each look-up would fail in its own way."""

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponseBase


class NulMiddleware:
    """Nothing is found at an address with a NUL in its path; in a query it becomes the sign for what is no character.

    Forms refuse it by themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info:
            raise Http404("There is nothing at this address.")
        if "%00" in request.META.get("QUERY_STRING", ""):
            request.META["QUERY_STRING"] = request.META["QUERY_STRING"].replace("%00", "%EF%BF%BD")
        return self.get_response(request)
