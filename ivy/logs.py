"""How log lines look: one JSON object a line in production, plain text in development. To stderr, without people.

No address, name or number of anybody may get into a log: callers don't write them, and what slips in with the words of
a server or of PostgreSQL (an address that was refused, a row that broke a rule) is taken out here, in one place.
"""

import logging
import re
import socket
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from billing.about import facts

HOST = socket.gethostname()
# What a caller may hand over with `extra=`, besides what the work is about; everything else of a record is left out.
EXTRA = ("run", "customer", "account", "key", "partner", "source", "method", "path", "status_code", "seconds")

_PERSONAL = [
    (re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"), "[address]"),
    (re.compile(r"(?<!\w)\+\d(?:[ ()/-]?\d){6,14}"), "[number]"),
    # PostgreSQL quotes the values of a row that broke a rule
    (re.compile(r"^(\s*)(DETAIL|CONTEXT):.*$", re.MULTILINE), r"\1\2: [left out]"),
    (re.compile(r"(/reset/key/|/portal/invitation/)[^/\s]+"), r"\1[secret]"),
]


def scrubbed(text: str) -> str:
    """The text without mail addresses, telephone numbers, values of rows, and the keys of links that were mailed."""
    for pattern, instead in _PERSONAL:
        text = pattern.sub(instead, text)
    return text


class JsonLines(JsonFormatter):
    """One event, one line: time (UTC), level, logger, message, process, host, what it is about, and the exception."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Take these fields and no others: some libraries hang whole requests, or values of queries, on a record."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = scrubbed(record.message)
        log_data["process"] = record.process
        log_data["host"] = HOST
        log_data.update(facts_of(record))
        if exception := message_dict.get("exc_info"):
            log_data["exception"] = scrubbed(str(exception))


class PlainLines(logging.Formatter):
    """For people at a terminal; what the line is about stands at its end, in brackets."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        known = " ".join(f"{name}={value}" for name, value in facts_of(record).items())
        return super().formatMessage(record) + (f" [{known}]" if known else "")

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


def facts_of(record: logging.LogRecord) -> dict[str, object]:
    """What the event is about: what is being worked on, and what the caller handed over."""
    given = {name: record.__dict__[name] for name in EXTRA if name in record.__dict__}
    return {**facts(), **given}


def formatter(*, as_json: bool) -> logging.Formatter:
    """How a line looks."""
    return JsonLines(json_ensure_ascii=False) if as_json else PlainLines()


def config(*, as_json: bool) -> dict[str, Any]:
    """Django's LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "as_json": as_json}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "axes": {"level": "WARNING"},
            "health_check": {"level": "ERROR"},  # who asks is told; a load balancer asks every few seconds
            "opentelemetry": {"level": "ERROR"},
            "weasyprint": {"level": "WARNING"},  # it tells of each step
            "fontTools": {"level": "WARNING"},
        },
    }
