"""Doors for machines: is this process alive, can it serve, and the figures. No log-in page, no session, no cache."""

import asyncio
import dataclasses
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable
from health_check.views import HealthCheckView
from prometheus_client import CONTENT_TYPE_LATEST

from ivy.doors import bounded, metrics, readiness
from ivy.doors.bounded import TookTooLong
from ivy.doors.readiness import Part

READY_SECONDS = 1.2
SESSION_SECONDS = 0.5
MAY_SEE_METRICS = "ivy.view_pulse"
AWAY = "The database does not answer."


@never_cache
@require_safe
def live(_request: HttpRequest) -> HttpResponse:
    """200 as long as this process serves; touches nothing else."""
    return JsonResponse({"alive": True})


@dataclasses.dataclass
class CanServe(HealthCheck):
    """The database takes a write from here. `parts` then tells of all the others, which don't decide."""

    timeout = timedelta(seconds=READY_SECONDS)

    def __post_init__(self) -> None:
        self.parts: list[Part] = []

    async def run(self) -> None:
        """Look; raises ServiceUnavailable when the database is away, frozen, or takes no writes."""
        try:
            self.parts = await asyncio.to_thread(bounded.within, READY_SECONDS, readiness.parts)
        except (DatabaseError, InterfaceError, TookTooLong) as error:
            raise ServiceUnavailable(AWAY) from error


class ReadyView(HealthCheckView):
    """200 when this process can serve, else 503; its JSON lists every part."""

    checks = (CanServe,)

    async def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        """One answer for everybody: the library's pages and feeds would carry styles that our policy forbids."""
        (check,) = self.get_checks()
        result = await check.get_result()
        parts = check.parts or [Part("database", False, None, AWAY)]
        is_ready = result.error is None
        state = "not ready" if not is_ready else "ready" if all(part.ok for part in parts) else "degraded"
        told = [{"part": part.name, "ok": part.ok, "since": part.since, "sentence": part.sentence} for part in parts]
        return JsonResponse({"ready": is_ready, "state": state, "parts": told}, status=200 if is_ready else 503)


@never_cache
@require_safe
def figures(request: HttpRequest) -> HttpResponse:
    """What Prometheus reads. For those who bring METRICS_TOKEN, and for staff who may see the machinery.

    Others get 401, or 404 where no METRICS_TOKEN is set; while DEBUG is on, everybody is let in. 503 while the database
    is away.
    """
    try:
        if not _brings_the_token(request) and not bounded.within(SESSION_SECONDS, lambda: _may_see(request)):
            return _refused()
        text = metrics.scrape()
    except (DatabaseError, InterfaceError, TookTooLong):
        return HttpResponse(f"{AWAY}\n", status=503, content_type="text/plain; charset=utf-8")
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _brings_the_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not settings.METRICS_TOKEN or scheme.lower() != "bearer":
        return False
    return secrets.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())


def _may_see(request: HttpRequest) -> bool:
    """Whether somebody is logged in who may. Looks up no session where the request brings none."""
    user = request.user
    return settings.DEBUG or (user.is_active and user.is_staff and user.has_perm(MAY_SEE_METRICS))


def _refused() -> HttpResponse:
    if not settings.METRICS_TOKEN:
        raise Http404  # nobody was meant to come here
    return HttpResponse(
        "Bring METRICS_TOKEN: Authorization: Bearer …\n",
        status=401,
        content_type="text/plain; charset=utf-8",
        headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
    )
