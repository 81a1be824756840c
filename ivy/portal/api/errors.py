"""Whatever is refused is refused in one form: `{"error": {"code", "message", "details"}}`."""

import logging
from collections.abc import Sequence
from typing import Any

from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from ivy.portal.api.cursors import BadCursor
from ivy.portal.api.doors import NotAllowed
from ivy.portal.scope import NOT_THERE
from ivy.portal.tokens import TooManyRequests

logger = logging.getLogger(__name__)

CODES = {401: "no_token", 403: "not_allowed", 404: "not_found", 405: "not_allowed_method", 422: "bad_input"}


NO_SENSE = "Something in the address makes no sense."


class BadInput(ValueError):
    """`where` of the address does not make sense; the message is a sentence."""

    def __init__(self, where: str, message: str) -> None:
        self.where = where
        super().__init__(message)


def problem(status: int, message: str, *, code: str = "", details: Sequence[dict[str, str]] = ()) -> JsonResponse:
    answer = {"code": code or CODES.get(status, "error"), "message": message, "details": list(details)}
    return JsonResponse({"error": answer}, status=status)


def handle_in(api: NinjaAPI) -> None:
    """Make the API answer every refusal and failure in the one form."""
    for kind, handler in HANDLERS.items():
        api.add_exception_handler(kind, handler)


def _no_token(_request: HttpRequest, _error: Any) -> HttpResponse:
    answer = problem(401, "Send a token that is neither revoked nor over: Authorization: Bearer ivy_…")
    answer["WWW-Authenticate"] = "Bearer"
    return answer


def _not_there(_request: HttpRequest, _error: Any) -> HttpResponse:
    return problem(404, NOT_THERE)


def _bad_input(_request: HttpRequest, error: ValidationError) -> HttpResponse:
    details = [{"where": str(one["loc"][-1]), "message": str(one["msg"])} for one in error.errors]
    return problem(422, NO_SENSE, details=details)


def _makes_no_sense(_request: HttpRequest, error: BadInput) -> HttpResponse:
    return problem(422, NO_SENSE, details=[{"where": error.where, "message": str(error)}])


def _bad_cursor(_request: HttpRequest, error: BadCursor) -> HttpResponse:
    return problem(422, NO_SENSE, details=[{"where": "cursor", "message": str(error)}])


def _not_allowed(_request: HttpRequest, error: NotAllowed) -> HttpResponse:
    return problem(403, str(error))


def _too_many(_request: HttpRequest, error: TooManyRequests) -> HttpResponse:
    answer = problem(429, str(error), code="too_many_requests")
    answer["Retry-After"] = str(error.seconds)
    return answer


def _other(_request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem(error.status_code, str(error))


def _failure(request: HttpRequest, error: Exception) -> HttpResponse:
    where = request.resolver_match.route if request.resolver_match else "?"
    logger.error("The API failed at %s", where, exc_info=error)
    got_request_exception.send(sender=None, request=request)
    return problem(500, "Something went wrong here, and was noted. Try again later.", code="failure")


HANDLERS: dict[type[Exception], Any] = {
    Exception: _failure,
    HttpError: _other,
    AuthenticationError: _no_token,
    Http404: _not_there,
    ValidationError: _bad_input,
    BadInput: _makes_no_sense,
    BadCursor: _bad_cursor,
    NotAllowed: _not_allowed,
    TooManyRequests: _too_many,
}
