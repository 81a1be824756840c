"""What Ivy says when it is started with an environment that makes no sense."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from ivy import environment

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef"
SOUND = {
    "DATABASE_URL": "postgres://ivy@127.0.0.1:1/nowhere",
    "CACHE_URL": "redis://127.0.0.1:1/0",
    "EMAIL_URL": "smtp://127.0.0.1:25",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "billing.example.com",
    "DEBUG": "no",
    "BEHIND_TLS_PROXY": "",
    "CSRF_TRUSTED_ORIGINS": "",
}
# Empty, not absent: a checkout may have a var/env, which only the real environment overrules.
NOTHING = dict.fromkeys(SOUND, "")
NONSENSE = {
    "DATABASE_URL": "sqlite:///ivy.db",
    "CACHE_URL": "memcache://127.0.0.1:11211",
    "EMAIL_URL": "pigeon://coop",
    "SECRET_KEY": "short",
    "ALLOWED_HOSTS": "*",
    "DEBUG": "maybe",
    "BEHIND_TLS_PROXY": "perhaps",
    "CSRF_TRUSTED_ORIGINS": "billing.example.com",
}


def run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SOUND}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | {"DJANGO_SETTINGS_MODULE": "ivy.settings"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class TestAnyCommand:
    def test_starts_in_a_sound_environment(self) -> None:
        assert run("manage.py", "check", environment=SOUND).returncode == 0

    def test_needs_neither_mail_server_nor_secret_nor_hosts_while_debugging(self) -> None:
        bare = {**SOUND, "DEBUG": "true", "EMAIL_URL": "", "SECRET_KEY": "", "ALLOWED_HOSTS": ""}
        assert run("manage.py", "check", environment=bare).returncode == 0

    @pytest.mark.parametrize("command", ["check", "migrate", "qcluster", "tick", "install_schedules"])
    def test_names_everything_that_is_missing_and_does_nothing(self, command: str) -> None:
        refused = run("manage.py", command, environment=NOTHING)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        for sentence in (
            "DATABASE_URL is not set: start script/server (it makes a private database and writes var/env), or name",
            "CACHE_URL is not set: start script/server",
            "EMAIL_URL is not set: name the mail server",
            "SECRET_KEY is not set: give it at least 32 random characters",
            "ALLOWED_HOSTS is not set: list the host names of this site",
        ):
            assert sentence in refused.stderr

    def test_names_everything_that_is_nonsense(self) -> None:
        refused = run("manage.py", "check", environment=NONSENSE)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        for sentence in (
            "DATABASE_URL must name a PostgreSQL database (postgres://user@host:port/name), not 'sqlite'",
            "CACHE_URL must name a Redis server",
            "EMAIL_URL must begin with one of smtp, ",
            "SECRET_KEY has 5 characters; it needs at least 32",
            "ALLOWED_HOSTS must list the host names of this site, not '*'",
            "DEBUG must be true or false, not 'maybe'",
            "BEHIND_TLS_PROXY must be true or false, not 'perhaps'",
            "CSRF_TRUSTED_ORIGINS must list whole origins such as https://billing.example.com",
        ):
            assert sentence in refused.stderr

    def test_is_refused_also_without_the_checks_that_take_long(self) -> None:
        """A pass with a mail server that nobody named would try one on this machine."""
        refused = run("manage.py", "run_notifications", "--json", environment=NONSENSE)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
        said = json.loads(refused.stdout)["error"]
        assert "EMAIL_URL must begin with one of smtp, " in said
        assert "DATABASE_URL must name a PostgreSQL database" in said

    def test_reads_a_secret_that_begins_with_a_dollar_sign(self) -> None:
        assert run("manage.py", "check", environment={**SOUND, "SECRET_KEY": "$" + KEY}).returncode == 0


class TestTheWebServer:
    def test_refuses_to_serve(self) -> None:
        refused = run("-c", "import ivy.wsgi", environment=NOTHING)
        assert refused.returncode == 1
        assert "ImproperlyConfigured: " in refused.stderr
        assert "DATABASE_URL is not set" in refused.stderr

    def test_serves_in_a_sound_environment(self) -> None:
        assert run("-c", "import ivy.wsgi", environment=SOUND).returncode == 0


@pytest.mark.parametrize(
    ("hosts", "domain"),
    [
        (["billing.example.com", "example.org"], "billing.example.com"),
        ([".example.com"], "example.com"),
        (["127.0.0.1", "[::1]", "web", "*", "billing.example.com"], "billing.example.com"),
        (["127.0.0.1", "localhost"], "localhost"),
        ([], "localhost"),
    ],
)
def test_ivys_own_address_is_at_a_name_of_the_dns(hosts: list[str], domain: str) -> None:
    assert environment.mail_domain(hosts) == domain


class TestDatabaseUrl:
    @pytest.mark.parametrize(
        "text",
        [
            "mysql://ivy@127.0.0.1/ivy",  # another engine
            "postgis://ivy@127.0.0.1/ivy",  # another backend
            "ivy",  # no address at all
            "postgres://ivy@127.0.0.1:55432",  # no database
            "postgres://ivy@127.0.0.1:many/ivy",  # a port that is no number
            "postgres://ivy@[::1/ivy",  # a bracket that never closes
        ],
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL "):
            environment.database(text)

    def test_keeps_its_password_out_of_the_refusal(self) -> None:
        with pytest.raises(ImproperlyConfigured) as refusal:
            environment.database("mysql://ivy:open-sesame@127.0.0.1/ivy")
        assert "open-sesame" not in str(refusal.value)

    def test_may_carry_options(self) -> None:
        config = environment.database("postgresql://ivy:a%40b@db.example.com/ivy?sslmode=require")
        assert config["ENGINE"] == "django.db.backends.postgresql"
        assert config["PASSWORD"] == "a@b"
        assert config["OPTIONS"] == {"sslmode": "require"}


class TestCacheUrl:
    @pytest.mark.parametrize(
        "text",
        [
            "locmemcache://",  # every process would have its own
            "redis://",  # no server
            "redis://127.0.0.1:6379/first",  # databases have numbers
            "redis://127.0.0.1:none/0",
        ],
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^CACHE_URL "):
            environment.cache(text)

    @pytest.mark.parametrize(
        "text", ["redis://127.0.0.1:6379/4", "rediss://:secret@cache.example.com", "redis://[::1]/0"]
    )
    def test_is_accepted(self, text: str) -> None:
        assert environment.cache(text) == text


class TestEmailUrl:
    @pytest.mark.parametrize(
        "text",
        [
            "https://mail.example.com",  # no mail server
            "smtp:",  # no host
            "smtp://mail.example.com:twenty-five",
            "smtp://mail.example.com?timeout=3",  # not a setting of Django's; it would be ignored in silence
        ],
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^EMAIL_URL "):
            environment.email(text, debug=True)

    @pytest.mark.parametrize(
        ("text", "port", "tls", "ssl"),
        [
            ("smtp://mail.example.com", 25, False, False),
            ("smtp+tls://ivy:secret@mail.example.com", 587, True, False),
            ("smtp+ssl://ivy:secret@mail.example.com", 465, False, True),
            ("smtp+tls://mail.example.com:2525", 2525, True, False),
        ],
    )
    def test_names_a_mail_server(self, text: str, port: int, tls: bool, ssl: bool) -> None:
        config = environment.email(text, debug=False)
        assert config["EMAIL_HOST"] == "mail.example.com"
        assert config["EMAIL_PORT"] == port
        assert config.get("EMAIL_USE_TLS", False) is tls
        assert config.get("EMAIL_USE_SSL", False) is ssl


class TestSiteUrl:
    @pytest.mark.parametrize(
        "text",
        ["billing.example.com", "ftp://billing.example.com", "https://", "https://a.example/?x=1", "https://a:b@c"],
    )
    def test_is_refused(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^SITE_URL must be where people reach this site"):
            environment.site_url(text, debug=False, hosts=[])

    @pytest.mark.parametrize(
        ("text", "debug", "hosts", "url"),
        [
            ("https://billing.example.com/", False, ["other.example"], "https://billing.example.com"),
            ("http://127.0.0.1:8000", True, [], "http://127.0.0.1:8000"),
            (None, False, [".example.com", "ivy.example"], "https://example.com"),
            ("", True, [], "http://localhost"),
        ],
    )
    def test_is_where_links_lead(self, text: str | None, debug: bool, hosts: list[str], url: str) -> None:
        assert environment.site_url(text, debug=debug, hosts=hosts) == url


class TestTheAlarmWebhook:
    @pytest.mark.parametrize(
        "text",
        [
            "http://chat.example.com/hook/open-sesame",  # anybody on the way could read it
            "http://10.0.0.1/open-sesame",
            "ftp://127.0.0.1/open-sesame",
            "https:///open-sesame",
            "https://chat.example.com/open-sesame#there",
            "chat.example.com/open-sesame",
        ],
    )
    def test_is_refused_without_repeating_its_address(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^ALARM_WEBHOOK_URL must be an https:// address") as refusal:
            environment.alarm_webhook_url(text)
        assert "open-sesame" not in str(refusal.value)

    @pytest.mark.parametrize(
        "text",
        ["", "https://chat.example.com/hook/x", "http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:1/x"],
    )
    def test_is_accepted(self, text: str) -> None:
        assert environment.alarm_webhook_url(text) == text

    @pytest.mark.parametrize(
        ("secret", "url", "why"),
        [
            (None, "https://chat.example.com", "ALARM_WEBHOOK_SECRET is not set"),
            ("short", "https://chat.example.com", "has 5 characters; it needs at least 24"),
            ("whsec_c2hvcnQ=", "https://chat.example.com", "has 5 characters; it needs at least 24"),
            ("whsec_no base64!", "https://chat.example.com", "after whsec_ must come base64"),
            (KEY, "", "is set, but no ALARM_WEBHOOK_URL"),
        ],
    )
    def test_needs_a_secret_that_is_one(self, secret: str | None, url: str, why: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"^ALARM_WEBHOOK_SECRET") as refusal:
            environment.alarm_webhook_secret(secret, url=url)
        assert why in str(refusal.value)

    def test_takes_secrets_as_text_or_as_base64(self) -> None:
        assert environment.alarm_webhook_secret(None, url="") == b""
        assert environment.alarm_webhook_secret(KEY, url="https://chat.example.com") == KEY.encode()
        encoded = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
        assert environment.alarm_webhook_secret(encoded, url="https://chat.example.com") == bytes(range(24))


class TestBooleans:
    @pytest.mark.parametrize("text", ["true", "Yes", "ON", "1", " true "])
    def test_are_true(self, text: str) -> None:
        assert environment.boolean("DEBUG", text) is True

    @pytest.mark.parametrize("text", ["false", "No", "off", "0", "", None])
    def test_are_false(self, text: str | None) -> None:
        assert environment.boolean("DEBUG", text) is False

    @pytest.mark.parametrize("text", ["ture", "2", "enabled", "nein"])
    def test_are_nothing_else(self, text: str) -> None:
        with pytest.raises(ImproperlyConfigured):
            environment.boolean("DEBUG", text)
