"""What the environment may say, and the sentence that refuses what it may not.

Each function takes the raw text of one variable (None: not set) and returns what the settings need, or raises
`ImproperlyConfigured` with a sentence for the person who starts Ivy. The sentences never repeat a value that may hold
a password.
"""

import os
from base64 import b64decode
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env

YES = ("true", "yes", "on", "1")
NO = ("false", "no", "off", "0", "")
DATABASE_SCHEMES = ("postgres", "postgresql")
CACHE_SCHEMES = ("redis", "rediss")
MAIL_SERVER_SCHEMES = ("smtp", "smtps", "smtp+tls", "smtp+ssl")
MAIL_SCHEMES = (*MAIL_SERVER_SCHEMES, "consolemail", "filemail", "memorymail", "dummymail")
JOURNAL_PORTS = {"imap": 143, "imaps": 993}
ANYMAIL = "anymail+"
SECRET_KEY_LENGTH = 32
TOKEN_LENGTH = 16
WEB_SCHEMES = ("http", "https")
WEBHOOK_SECRET_LENGTH = 24
BASE64_PREFIX = "whsec_"


def boolean(name: str, text: str | None) -> bool:
    """False when not set. django-environ takes every unknown word for False; a switch deserves better."""
    word = (text or "").strip().lower()
    if word not in YES + NO:
        raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}")
    return word in YES


def words(text: str | None) -> list[str]:
    """The comma-separated parts, without spaces and empty ones."""
    return [word for part in (text or "").split(",") if (word := part.strip())]


def database(text: str | None) -> dict[str, Any]:
    """Django's DATABASES entry, without OPTIONS of ours."""
    if not text:
        raise ImproperlyConfigured(
            "DATABASE_URL is not set: start script/server (it makes a private database and writes var/env), "
            "or name a PostgreSQL database"
        )
    url = _url("DATABASE_URL", text)
    if url.scheme not in DATABASE_SCHEMES:
        raise ImproperlyConfigured(
            f"DATABASE_URL must name a PostgreSQL database (postgres://user@host:port/name), not {url.scheme!r}; "
            "Ivy relies on what only PostgreSQL does"
        )
    config: dict[str, Any] = Env.db_url_config(text)
    if not config["NAME"]:
        raise ImproperlyConfigured("DATABASE_URL names no database: postgres://user@host:port/name")
    return config


def cache(text: str | None) -> str:
    """The address of the Redis server."""
    if not text:
        raise ImproperlyConfigured(
            "CACHE_URL is not set: start script/server (it starts a private Redis and writes var/env), "
            "or name a Redis server"
        )
    url = _url("CACHE_URL", text)
    if url.scheme not in CACHE_SCHEMES or not url.hostname:
        raise ImproperlyConfigured(
            "CACHE_URL must name a Redis server: redis://host:port/number, or rediss:// with TLS"
        )
    if url.path.strip("/") and not url.path.strip("/").isdigit():
        raise ImproperlyConfigured("CACHE_URL must end in the number of a Redis database: redis://host:port/number")
    return text


def email(text: str | None, *, debug: bool) -> dict[str, Any]:
    """Django's EMAIL_… settings. Not set: mails are printed to the terminal while DEBUG is on, refused otherwise."""
    if not text and not debug:
        raise ImproperlyConfigured(
            "EMAIL_URL is not set: name the mail server (smtp://user:password@host:port, smtp+tls://…, smtp+ssl://…)"
        )
    url = _url("EMAIL_URL", text or "consolemail:")
    if url.scheme.startswith(ANYMAIL):
        return _mail_provider(url)
    if url.scheme not in MAIL_SCHEMES:
        raise ImproperlyConfigured(f"EMAIL_URL must begin with one of {', '.join(MAIL_SCHEMES)}")
    if url.scheme in MAIL_SERVER_SCHEMES and not url.hostname:
        raise ImproperlyConfigured("EMAIL_URL names no mail server: smtp://user:password@host:port")
    config = Env.email_url_config(text or "consolemail:")
    options = config.pop("OPTIONS", {})
    unknown = sorted(key for key in options if not key.startswith("EMAIL_"))
    if unknown:
        raise ImproperlyConfigured(f"EMAIL_URL has options Ivy does not know: {', '.join(unknown)}")
    default_ports = {"smtp": 25, "smtps": 587, "smtp+tls": 587, "smtp+ssl": 465}
    config["EMAIL_PORT"] = config["EMAIL_PORT"] or default_ports.get(url.scheme, 25)
    return {name: value if value is not None else "" for name, value in {**config, **options}.items()}


def _mail_provider(url: SplitResult) -> dict[str, Any]:
    """A provider of Anymail's: `anymail+mailgun://?MAILGUN_API_KEY=…&WEBHOOK_SECRET=user:password`."""
    provider = url.scheme.removeprefix(ANYMAIL)
    if find_spec(f"anymail.backends.{provider}") is None:
        raise ImproperlyConfigured(f"EMAIL_URL: Anymail knows no mail provider “{provider}”")
    settings = {name: values[0] for name, values in parse_qs(url.query).items()}
    return {"EMAIL_BACKEND": f"anymail.backends.{provider}.EmailBackend", "ANYMAIL": settings}


def journal(text: str | None) -> dict[str, Any]:
    """Where the archive of all mails is read, and its address; empty without one.

    `imaps://user:password@host/INBOX?address=journal@example.com&wait=600`; `wait`: seconds that a mail may take to
    turn up there.
    """
    if not text:
        return {}
    url = _url("JOURNAL_URL", text)
    options = parse_qs(url.query)
    if url.scheme not in JOURNAL_PORTS or not url.hostname or not url.username:
        raise ImproperlyConfigured(
            "JOURNAL_URL must name a mailbox: imaps://user:password@host/INBOX?address=journal@example.com"
        )
    address = options.get("address", [""])[0]
    if "@" not in address:
        raise ImproperlyConfigured("JOURNAL_URL must tell the mailbox's own address: …?address=journal@example.com")
    wait = options.get("wait", ["600"])[0]
    if not wait.isdigit():
        raise ImproperlyConfigured("JOURNAL_URL: wait must be a number of seconds")
    return {
        "address": address,
        "host": url.hostname,
        "port": url.port or JOURNAL_PORTS[url.scheme],
        "user": unquote(url.username),
        "password": unquote(url.password or ""),
        "folder": unquote(url.path.strip("/")) or "INBOX",
        "uses_tls": url.scheme == "imaps",
        "wait_seconds": int(wait),
    }


def secret_key(text: str | None, *, debug: bool) -> str:
    """Signs sessions, password-reset links and queued tasks, so a short one is as good as none.

    Not set: a well-known one while DEBUG is on (the same in every process), refused otherwise.
    """
    if not text and debug:
        return "this key is known to everybody: DEBUG is on"
    if not text:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set: give it at least 32 random characters, the same on every machine and every time"
        )
    if len(text) < SECRET_KEY_LENGTH and not debug:
        raise ImproperlyConfigured(f"SECRET_KEY has {len(text)} characters; it needs at least {SECRET_KEY_LENGTH}")
    return text


def allowed_hosts(text: str | None, *, debug: bool) -> list[str]:
    """The host names this site answers to. Empty while DEBUG is on: Django then answers to this machine's own names."""
    hosts = words(text)
    if not hosts and not debug:
        raise ImproperlyConfigured("ALLOWED_HOSTS is not set: list the host names of this site, separated by commas")
    if "*" in hosts and not debug:
        raise ImproperlyConfigured("ALLOWED_HOSTS must list the host names of this site, not '*'")
    return hosts


def mail_domain(hosts: list[str]) -> str:
    """The domain of Ivy's own address: the first of its host names that is one in the DNS, else this machine."""
    names = (host.lstrip(".") for host in hosts)
    return next((name for name in names if "." in name and not name.replace(".", "").isdigit()), "localhost")


def trusted_origins(text: str | None) -> list[str]:
    """Origins whose forms are accepted besides this site's own."""
    origins = words(text)
    for origin in origins:
        if not origin.startswith(("http://", "https://")):
            raise ImproperlyConfigured(
                f"CSRF_TRUSTED_ORIGINS must list whole origins such as https://billing.example.com, not {origin!r}"
            )
    return origins


def metrics_token(text: str | None) -> str:
    """What a scraper of /metrics must bring along; empty: nobody is let in by a token."""
    if text and (len(text) < TOKEN_LENGTH or not text.isascii() or any(letter.isspace() for letter in text)):
        raise ImproperlyConfigured(
            f"METRICS_TOKEN needs at least {TOKEN_LENGTH} random characters, ASCII and without spaces"
        )
    return text or ""


def metrics_folder(text: str | None) -> str:
    """Where the web workers of this machine put their request metrics together; empty: none are kept."""
    if text and not (Path(text).is_dir() and os.access(text, os.W_OK)):
        raise ImproperlyConfigured(f"PROMETHEUS_MULTIPROC_DIR must be a folder that can be written to, not {text!r}")
    return text or ""


def sentry(text: str | None) -> str:
    """Where errors are told: `https://key@host/project`. Empty: nowhere."""
    if not text:
        return ""
    url = _url("SENTRY_DSN", text)
    if url.scheme not in WEB_SCHEMES or not url.hostname or not url.username or not url.path.strip("/"):
        raise ImproperlyConfigured(
            "SENTRY_DSN must be the address that Sentry gives a project: https://key@host/number"
        )
    _is_installed("SENTRY_DSN", "sentry_sdk")
    return text


def traces(text: str | None) -> str:
    """The OpenTelemetry collector that traces are sent to, without `/v1/traces`. Empty: none."""
    if not text:
        return ""
    url = _url("OTEL_EXPORTER_OTLP_ENDPOINT", text)
    if url.scheme not in WEB_SCHEMES or not url.hostname or url.query:
        raise ImproperlyConfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT must be the address of a collector that speaks OTLP over HTTP: "
            "http://host:4318"
        )
    for module in (
        "opentelemetry.sdk",
        "opentelemetry.exporter.otlp.proto.http",
        "opentelemetry.instrumentation.django",
        "opentelemetry.instrumentation.psycopg",
    ):
        _is_installed("OTEL_EXPORTER_OTLP_ENDPOINT", module)
    return text.rstrip("/")


def _is_installed(variable: str, module: str) -> None:
    try:
        is_there = find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        is_there = False
    if not is_there:
        raise ImproperlyConfigured(
            f"{variable} is set, but {module} is not installed: pip install -r requirements-telemetry.txt, "
            f"or leave {variable} out"
        )


def site_url(text: str | None, *, debug: bool, hosts: list[str]) -> str:
    """Where people reach this site, without a slash at the end; for links in mails. Not set: the first allowed host."""
    if not text:
        return "http://localhost" if debug else f"https://{hosts[0].lstrip('.') if hosts else 'localhost'}"
    url = _url("SITE_URL", text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment or url.username:
        raise ImproperlyConfigured("SITE_URL must be where people reach this site: https://billing.example.com")
    return text.rstrip("/")


def alarm_webhook_url(text: str | None) -> str:
    """Where alarms are posted to; empty: nowhere. The address may hold a secret, and is not repeated."""
    if not text:
        return ""
    url = _url("ALARM_WEBHOOK_URL", text)
    is_here = url.scheme == "http" and _is_loopback(url.hostname or "")
    if not url.hostname or not (url.scheme == "https" or is_here) or url.fragment:
        raise ImproperlyConfigured(
            "ALARM_WEBHOOK_URL must be an https:// address (http:// only on this machine: http://127.0.0.1:port/path)"
        )
    return text


def alarm_webhook_secret(text: str | None, *, url: str) -> bytes:
    """The key that posted alarms are signed with: a text of 24 characters or more, or `whsec_` and base64."""
    if not url and not text:
        return b""
    if not url:
        raise ImproperlyConfigured("ALARM_WEBHOOK_SECRET is set, but no ALARM_WEBHOOK_URL to post alarms to")
    if not text:
        raise ImproperlyConfigured(
            "ALARM_WEBHOOK_SECRET is not set: give the receiver of alarms and Ivy the same "
            f"{WEBHOOK_SECRET_LENGTH} random characters or more"
        )
    key = text.encode()
    if text.startswith(BASE64_PREFIX):
        try:
            key = b64decode(text.removeprefix(BASE64_PREFIX), validate=True)
        except ValueError as error:
            raise ImproperlyConfigured("ALARM_WEBHOOK_SECRET: after whsec_ must come base64") from error
    if len(key) < WEBHOOK_SECRET_LENGTH:
        raise ImproperlyConfigured(
            f"ALARM_WEBHOOK_SECRET has {len(key)} characters; it needs at least {WEBHOOK_SECRET_LENGTH}"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(name: str, text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises on a port that is no number
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a readable address (host or port)") from error
    return url
