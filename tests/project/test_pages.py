"""The few pages of the project itself, and what browsers are told they may load with them."""

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.test import Client

from ivy.accounts.models import User

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "object-src": "'none'",
}
ADMIN = STRICT | {
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann@example.org", "correct horse battery staple"))
    return client


def policy(client: Client, path: str) -> dict[str, str]:
    header = client.get(path).headers["Content-Security-Policy"]
    return dict(directive.strip().split(" ", 1) for directive in header.split(";"))


class TestTheContentSecurityPolicy:
    @pytest.mark.parametrize(
        "path", ["/", "/accounts/login/", "/accounts/password/reset/", "/nowhere/", "/static/nowhere"]
    )
    def test_is_strict_for_strangers(self, client: Client, path: str) -> None:
        assert policy(client, path) == STRICT

    @pytest.mark.parametrize("path", ["/", "/accounts/2fa/", "/accounts/logout/", "/accounts/password/change/"])
    def test_stays_strict_for_staff_outside_the_admin(self, staff: Client, path: str) -> None:
        assert policy(staff, path) == STRICT

    @pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/user/", "/admin/django_q/schedule/"])
    def test_lets_the_admin_run_its_own_scripts_and_nothing_from_elsewhere(self, staff: Client, path: str) -> None:
        assert policy(staff, path) == ADMIN

    def test_lets_the_page_of_the_qr_code_show_it(self, staff: Client) -> None:
        staff.post("/accounts/reauthenticate/", {"password": "correct horse battery staple"})
        page = staff.get("/accounts/2fa/totp/activate/")
        assert "data:image/svg+xml" in page.text
        assert policy(staff, "/accounts/2fa/totp/activate/") == STRICT | {"img-src": "'self' data:"}

    @pytest.mark.parametrize("path", ["/", "/accounts/login/"])
    def test_is_kept_by_our_own_pages(self, client: Client, path: str) -> None:
        page = client.get(path).text
        assert "<script" not in page
        assert "style=" not in page
        assert "<style" not in page


class TestTheStartPage:
    def test_offers_strangers_to_sign_in(self, client: Client) -> None:
        page = client.get("/").text
        assert "/accounts/login/" in page
        assert "/admin/" not in page

    def test_offers_staff_the_admin(self, staff: Client) -> None:
        assert "/admin/" in staff.get("/").text

    def test_offers_others_what_there_is(self, client: Client) -> None:
        client.force_login(User.objects.create_user("bob@example.org"))
        page = client.get("/").text
        assert "bob@example.org" in page
        assert "/admin/" not in page


class TestTheCaches:
    def test_that_libraries_use_are_in_postgresql_and_shared(self) -> None:
        caches["default"].set("greeting", "hello", 60)
        assert caches["default"].get("greeting") == "hello"
        assert type(caches["default"]).__name__ == "DatabaseCache"

    def test_in_redis_do_not_swallow_exceptions(self) -> None:
        redis = caches["redis"]
        redis.set("greeting", "hello", 60)
        assert redis.get("greeting") == "hello"
        pool = redis.client.get_client(write=True).connection_pool  # type: ignore[attr-defined]
        connection = pool.make_connection()
        assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.5, 0.5)
        assert connection.health_check_interval == 30
        assert connection.retry.get_retries() == 1
        assert not redis._ignore_exceptions  # type: ignore[attr-defined]


class TestMigrations:
    @pytest.mark.parametrize("app", ["ivy", "accounts"])
    def test_say_what_the_models_say(self, app: str) -> None:
        call_command("makemigrations", app, "--check", "--dry-run", verbosity=0)
