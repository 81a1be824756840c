"""Errors, told to a Sentry server: where and what, and about which run or customer number; never who."""

import sentry_sdk
from sentry_sdk.types import Event, Hint

from billing.about import facts
from ivy.logs import scrubbed


def start(dsn: str) -> None:
    """Send unhandled exceptions and errors that are logged. May be repeated."""
    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,  # of a mail, they are the mail
        max_request_body_size="never",
        before_send=_without_people,
        traces_sample_rate=None,  # traces are OpenTelemetry's
        auto_session_tracking=False,
        shutdown_timeout=1,
    )


def _without_people(event: Event, _hint: Hint) -> Event:
    """Take out what may name somebody, and tell what was worked on. Runs in the thread of the error."""
    event.pop("user", None)
    event.pop("extra", None)
    request = event.get("request")
    if request:
        event["request"] = {"method": request.get("method"), "url": scrubbed(str(request.get("url", "")))}
    if "logentry" in event:
        entry = event["logentry"]
        event["logentry"] = {"message": scrubbed(str(entry.get("formatted") or entry.get("message") or ""))}
    if "message" in event:
        event["message"] = scrubbed(str(event["message"]))
    for exception in event.get("exception", {}).get("values", []):
        exception["value"] = scrubbed(str(exception.get("value", "")))
    crumbs = event.get("breadcrumbs")
    if crumbs and isinstance(crumbs, dict):
        for crumb in crumbs.get("values", []):
            crumb.pop("data", None)
            crumb["message"] = scrubbed(str(crumb.get("message") or ""))
    event["tags"] = {**event.get("tags", {}), **{name: str(value) for name, value in facts().items()}}
    return event
