"""Sentry and OpenTelemetry, where the environment asks for them. Off, nothing of either is loaded.

Both are started once in each program, before it forks: their senders notice a fork and begin anew in the child, so web
workers and django-q's are covered alike. Both send from a thread of their own and drop what they can't send: an address
that is dead or slow holds nobody up.
"""

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from django.conf import settings

_tracing: Any = None


def start() -> None:
    """Begin to send errors to SENTRY_DSN and traces to OTEL_EXPORTER_OTLP_ENDPOINT. May be repeated."""
    global _tracing  # noqa: PLW0603 - loaded or not, once a process
    if settings.SENTRY_DSN:
        import_module("ivy.telemetry.sentry").start(settings.SENTRY_DSN)
    if settings.OTLP_ENDPOINT and _tracing is None:
        _tracing = import_module("ivy.telemetry.tracing")
        _tracing.start(settings.OTLP_ENDPOINT)


def span(name: str) -> AbstractContextManager[Any]:
    """A piece of work that shows in traces, with the queries inside it; nothing while tracing is off."""
    return _tracing.span(name) if _tracing is not None else nullcontext()
