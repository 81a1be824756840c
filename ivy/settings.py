"""The one settings file. Each environment value is read here, once; nonsense is collected and refused by a check.

Nothing here raises: a value that makes no sense becomes a sentence in `ENVIRONMENT_PROBLEMS`, which `ivy.checks` turns
into errors of every management command, and `ivy.wsgi` into a refusal to serve. What stands in for a refused value is
harmless (no database, a random key).
"""

import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from environ import Env
from redis.backoff import ConstantBackoff  # noqa: TID251 - how the one door is made
from redis.retry import Retry  # noqa: TID251

from ivy import environment, logs, unfold

BASE_DIR = Path(__file__).resolve().parent.parent
T = TypeVar("T")

# What the environment says -------------------------------------------------------------------------------------------

env = Env()
if (BASE_DIR / "var" / "env").exists():
    env.read_env(BASE_DIR / "var" / "env")  # the real environment wins

ENVIRONMENT_PROBLEMS: list[str] = []


def _read(name: str, understand: Callable[[str | None], T], instead: T) -> T:
    try:
        # not env.str(): that takes a secret which begins with "$" for the name of another variable
        return understand(env.ENVIRON.get(name))
    except ImproperlyConfigured as problem:
        ENVIRONMENT_PROBLEMS.append(str(problem))
        return instead


DEBUG = _read("DEBUG", partial(environment.boolean, "DEBUG"), instead=False)
SECRET_KEY = _read("SECRET_KEY", partial(environment.secret_key, debug=DEBUG), instead=secrets.token_urlsafe(48))
ALLOWED_HOSTS: list[str] = _read("ALLOWED_HOSTS", partial(environment.allowed_hosts, debug=DEBUG), instead=[])
CSRF_TRUSTED_ORIGINS: list[str] = _read("CSRF_TRUSTED_ORIGINS", environment.trusted_origins, instead=[])
BEHIND_TLS_PROXY = _read("BEHIND_TLS_PROXY", partial(environment.boolean, "BEHIND_TLS_PROXY"), instead=False)
_database: dict[str, Any] = _read("DATABASE_URL", environment.database, instead={"ENGINE": "django.db.backends.dummy"})
_redis_url = _read("CACHE_URL", environment.cache, instead="redis://cache-url-is-not-set.invalid:6379/0")
_email: dict[str, Any] = _read("EMAIL_URL", partial(environment.email, debug=DEBUG), instead={})
_journal: dict[str, Any] = _read("JOURNAL_URL", environment.journal, instead={})
METRICS_TOKEN = _read("METRICS_TOKEN", environment.metrics_token, instead="")
PROMETHEUS_MULTIPROC_DIR = _read("PROMETHEUS_MULTIPROC_DIR", environment.metrics_folder, instead="")
SENTRY_DSN = _read("SENTRY_DSN", environment.sentry, instead="")
OTLP_ENDPOINT = _read("OTEL_EXPORTER_OTLP_ENDPOINT", environment.traces, instead="")
SITE_URL = _read("SITE_URL", partial(environment.site_url, debug=DEBUG, hosts=ALLOWED_HOSTS), instead="")
ALARM_WEBHOOK_URL = _read("ALARM_WEBHOOK_URL", environment.alarm_webhook_url, instead="")
ALARM_WEBHOOK_SECRET = _read(
    "ALARM_WEBHOOK_SECRET", partial(environment.alarm_webhook_secret, url=ALARM_WEBHOOK_URL), instead=b""
)

# The parts -----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "ivy.apps.IvyConfig",  # before django_q, whose `qcluster` command it extends
    "ivy.accounts.apps.AccountsConfig",
    "ivy.portal.apps.PortalConfig",
    "billing.apps.BillingConfig",
    "notifications.apps.NotificationsConfig",
    "unfold",  # before the admin, whose templates it replaces
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "axes",
    "csp",
    "django_htmx",
    "django_q",
    "anymail",
    "pgtrigger",
    "pghistory",
    "ninja",  # the page that describes the API comes from here, not from elsewhere
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "ivy.nul.NulMiddleware",
    "ivy.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "ivy.keeping.KeepingMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "ivy.naming.NamingMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it replaces the answer to a log-in that was locked out
]

if PROMETHEUS_MULTIPROC_DIR:  # without a folder that all workers share, each would count for itself
    MIDDLEWARE = [
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        *MIDDLEWARE,
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ]

ROOT_URLCONF = "ivy.urls"
WSGI_APPLICATION = "ivy.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
    {
        "NAME": "mails",
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {"environment": "notifications.wording.environment"},
    },
]

# PostgreSQL is the truth ---------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        **_database,
        "ATOMIC_REQUESTS": False,  # verbs with a barrier are durable transactions of their own
        "OPTIONS": {
            "connect_timeout": 5,
            "application_name": "ivy",
            # Compiling a chunk's query takes seconds, longer than running it.
            "options": "-c jit=off",
            **_database.get("OPTIONS", {}),
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis makes things quicker and decides nothing ----------------------------------------------------------------------

# "default" is what libraries reach for unasked: allauth counts log-in attempts and notes used one-time codes there,
# django-q2 keeps its statistics, Unfold its searches. All of that must go on, and be the same for every process, while
# Redis is down; so it is a table in PostgreSQL (unlogged, made by a migration). Only Ivy's own code asks for "redis".
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "ivy_shared_cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    },
    "redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": _redis_url,
        "KEY_PREFIX": "ivy",
        "OPTIONS": {
            # No IGNORE_EXCEPTIONS: with it, a write that failed looks like one that worked.
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
            "CONNECTION_POOL_KWARGS": {"health_check_interval": 30, "retry": Retry(ConstantBackoff(0.05), retries=1)},
        },
    },
}

# Mail ----------------------------------------------------------------------------------------------------------------

EMAIL_BACKEND: str = _email.get("EMAIL_BACKEND", "django.core.mail.backends.dummy.EmailBackend")
EMAIL_HOST: str = _email.get("EMAIL_HOST", "")
EMAIL_PORT: int = _email.get("EMAIL_PORT", 25)
EMAIL_HOST_USER: str = _email.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD: str = _email.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS: bool = _email.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL: bool = _email.get("EMAIL_USE_SSL", False)
EMAIL_FILE_PATH: str = _email.get("EMAIL_FILE_PATH", "")
ANYMAIL: dict[str, str] = _email.get("ANYMAIL", {})
JOURNAL = _journal
# For one mail, from connecting to the server's answer: `EMAIL_TIMEOUT` in EMAIL_URL's query.
MAIL_SECONDS = float(_email.get("EMAIL_TIMEOUT") or 30)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = f"Ivy <ivy@{environment.mail_domain(ALLOWED_HOSTS)}>"
EMAIL_TIMEOUT = 10  # seconds; without it Django waits for ever

# Who is who ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: it turns away who is locked out before a password is looked at
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
SESSION_ENGINE = "django.contrib.sessions.backends.db"  # staff can work while Redis is down
SESSION_COOKIE_AGE = 12 * 3600  # seconds: a working day
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

ACCOUNT_ADAPTER = "ivy.accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts are made by staff; nobody signs up
ACCOUNT_SESSION_REMEMBER = True  # for that day, without asking
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # a password reset mails nobody who has no account
# Django's own, which knows a user by `User.email` alone; allauth's would keep copies of addresses in a table of its own
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105
# Above the limit of axes, which comes first and says so; what is left to this one are one-time codes.
ACCOUNT_RATE_LIMITS = {"login_failed": "30/m/ip,10/5m/key"}
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if DEBUG else "https"
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Ivy: "
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Ivy"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # addresses come from staff

AXES_HANDLER = "axes.handlers.database.AxesDatabaseHandler"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# A pair: by the address alone anybody could lock staff out, by the network alone one forgetful colleague would.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_CALLABLE = "ivy.accounts.lockout.attempted_email"
AXES_CLIENT_IP_CALLABLE = "ivy.accounts.lockout.client_ip"
AXES_LOCKOUT_TEMPLATE = "account/locked_out.html"
AXES_VERBOSE = False
AXES_CLIENT_STR_CALLABLE = "ivy.accounts.lockout.nobody_named"

# Changes are kept by triggers (`ivy.models.changes`) ------------------------------------------------------------------

PGHISTORY_CREATED_AT_FUNCTION = "clock_timestamp()"  # so that two changes of one transaction keep their order

# What a browser may do -----------------------------------------------------------------------------------------------

# For every page; `ivy.csp` names the two places that need more.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "object-src": [NONE],
    },
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]  # asked from inside, by machines that know no https
SECURE_HSTS_SECONDS = 0 if DEBUG else 30 * 24 * 3600
if BEHIND_TLS_PROXY:  # one proxy of ours, which sets both headers itself
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    ALLAUTH_TRUSTED_PROXY_COUNT = 1

# django-q2 pokes, and promises nothing -------------------------------------------------------------------------------

# Tasks carry no data and may be lost, late or double: each only says "look what is due".
Q_CLUSTER: dict[str, Any] = {
    "name": "ivy",
    "orm": "default",
    "broker_class": "ivy.queue.signs.Broker",  # the queue in the database, with signs of life
    "poll": 1,
    "workers": 2,
    "queue_limit": 2,  # = workers: a task's lock runs from its fetch, so no fetched task may wait behind another
    "timeout": 30 * 60,  # ends a worker that hangs; the next poke goes on where it stopped
    "retry": 4 * 3600,  # far above the time-out, else a task that still runs is started again
    "ack_failures": True,
    "max_attempts": 1,
    "catch_up": False,
    "save_limit": 250,
    "save_limit_per": "func",
    "recycle": 200,
    "max_rss": 400_000,  # kB
    "guard_cycle": 1,
    "cache": "default",  # PostgreSQL: a cluster that waits for a frozen Redis starts nothing
    "error_reporter": {},
}

# Static files --------------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage",
    },
}

# Time and language ---------------------------------------------------------------------------------------------------

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = True
FORMAT_MODULE_PATH = ["ivy.formats"]  # dates as 2026-11-23 14:30:26

# Logs go to stderr; where they go from there is the supervisor's business --------------------------------------------

LOGGING = logs.config(as_json=not DEBUG)

# The admin: how it looks, and its menu
UNFOLD = unfold.UNFOLD
