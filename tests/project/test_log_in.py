"""One log-in for everybody, by e-mail address, guarded against guessing; no signing up."""

import re
import socket
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from axes.models import AccessAttempt
from django.core import mail
from django.core.cache import cache
from django.db.models import F
from django.http import HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, reverse
from pytest_django import Settings

from ivy.accounts.models import User
from tests.faults.processes import wait_until

PASSWORD = "correct horse battery staple"
LOGIN = "/accounts/login/"
SECRET = "JBSWY3DPEHPK3PXP"  # of an authenticator app

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nobody_has_tried_before() -> None:
    cache.clear()


@pytest.fixture
def ann() -> User:
    return User.objects.create_superuser("ann@example.org", PASSWORD)


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob@example.org", PASSWORD)


def try_to_log_in(client: Client, email: str, password: str = PASSWORD, **headers: str) -> HttpResponse:
    return client.post(LOGIN, {"login": email, "password": password}, headers=headers)


def code_now() -> str:
    """What the authenticator app shows."""
    return format_hotp_value(hotp_value(SECRET, next(yield_hotp_counters_from_time())))


def at_one_moment() -> time_machine.travel:
    """Time stands still during the block: a code is of no use once its half minute is over."""
    return time_machine.travel(datetime.now(UTC), tick=False)


def is_logged_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.usefixtures("ann", "bob")
class TestLoggingIn:
    @pytest.mark.parametrize("typed", ["ann@example.org", "ANN@example.ORG", " Ann@Example.org "])
    def test_takes_the_address_in_any_case(self, client: Client, typed: str) -> None:
        try_to_log_in(client, typed)
        assert is_logged_in(client)

    def test_brings_staff_to_the_admin_and_others_to_the_start(self, client: Client) -> None:
        assert try_to_log_in(client, "ann@example.org").headers["Location"] == "/admin/"
        assert try_to_log_in(Client(), "bob@example.org").headers["Location"] == "/"

    def test_works_for_an_address_without_rows_of_allauth_s(self, client: Client) -> None:
        try_to_log_in(client, "ann@example.org")
        assert not EmailAddress.objects.exists()

    def test_works_while_redis_is_down(self, client: Client, ann: User, settings: Settings) -> None:
        nobody_listens = {**settings.CACHES["redis"], "LOCATION": "redis://127.0.0.1:1/0"}
        settings.CACHES = {**settings.CACHES, "redis": nobody_listens}
        TOTP.activate(ann, SECRET)
        with at_one_moment():
            try_to_log_in(client, "ann@example.org")
            client.post(reverse("mfa_authenticate"), {"code": code_now()})
        assert client.get("/admin/").status_code == 200

    def test_refuses_a_wrong_password_and_an_unknown_address_in_the_same_words(self, client: Client) -> None:
        wrong = try_to_log_in(client, "ann@example.org", "wrong")
        unknown = try_to_log_in(client, "carl@example.org", "wrong")
        assert not is_logged_in(client)
        said = re.compile(r'<ul class="errorlist.*?</ul>', re.DOTALL)
        assert said.findall(wrong.text) == said.findall(unknown.text) != []

    def test_refuses_who_is_not_active(self, client: Client) -> None:
        User.objects.filter(email="bob@example.org").update(is_active=False)
        try_to_log_in(client, "bob@example.org")
        assert not is_logged_in(client)

    def test_asks_for_the_second_factor_where_there_is_one(self, client: Client, ann: User) -> None:
        TOTP.activate(ann, SECRET)
        assert try_to_log_in(client, "ann@example.org").headers["Location"] == reverse("mfa_authenticate")
        assert not is_logged_in(client)

        with at_one_moment():
            code = code_now()
            client.post(reverse("mfa_authenticate"), {"code": code})
            assert is_logged_in(client)

            again = Client()
            try_to_log_in(again, "ann@example.org")
            again.post(reverse("mfa_authenticate"), {"code": code})
            assert not is_logged_in(again), "a code works once"


class TestTheAdmin:
    def test_sends_strangers_to_the_one_log_in(self, client: Client) -> None:
        answer = client.get("/admin/", follow=True)
        assert answer.redirect_chain[-1][0] == f"{LOGIN}?next=%2Fadmin%2F"

    def test_has_no_log_in_of_its_own(self, client: Client, ann: User) -> None:
        client.post("/admin/login/", {"username": ann.email, "password": PASSWORD})
        assert not is_logged_in(client)

    def test_opens_after_it(self, client: Client, ann: User) -> None:
        client.post(f"{LOGIN}?next=/admin/", {"login": ann.email, "password": PASSWORD})
        assert client.get("/admin/").status_code == 200

    def test_tells_who_has_no_staff_rights_what_is_the_matter(self, client: Client, bob: User) -> None:
        client.force_login(bob)
        answer = client.get("/admin/", follow=True)
        assert answer.status_code == 403
        assert "bob@example.org" in answer.text
        assert "this account has no staff" in answer.text
        assert reverse("account_logout") in answer.text


@pytest.mark.usefixtures("ann", "bob")
class TestGuessing:
    def guess(self, client: Client, email: str = "ann@example.org", *, times: int) -> HttpResponse:
        for n in range(times):
            answer = try_to_log_in(client, email, f"guess {n}")
        return answer

    def test_is_locked_out_at_the_fifth_wrong_password_even_with_the_right_one(self, client: Client) -> None:
        assert self.guess(client, times=4).status_code == 200
        locked = self.guess(client, times=1)
        assert locked.status_code == 429
        assert "Too many attempts" in locked.text
        assert "15\n    minutes" in locked.text
        assert try_to_log_in(client, "ann@example.org").status_code == 429
        assert not is_logged_in(client)

    def test_counts_all_spellings_as_one(self, client: Client) -> None:
        for email in ("ann@example.org", "Ann@example.org", "ANN@example.org", "aNn@example.org"):
            self.guess(client, email, times=1)
        assert self.guess(client, "anN@example.org", times=1).status_code == 429

    def test_locks_out_neither_a_colleague_nor_another_network(self, client: Client) -> None:
        self.guess(client, times=5)
        try_to_log_in(client, "bob@example.org")
        assert is_logged_in(client)
        elsewhere = Client(REMOTE_ADDR="192.0.2.7")
        try_to_log_in(elsewhere, "ann@example.org")
        assert is_logged_in(elsewhere)

    def test_is_forgotten_after_a_right_password(self, client: Client) -> None:
        self.guess(client, times=4)
        try_to_log_in(client, "ann@example.org")
        client.logout()
        assert self.guess(client, times=4).status_code == 200

    def test_is_forgotten_after_a_quarter_of_an_hour(self, client: Client) -> None:
        self.guess(client, times=5)
        AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=16))
        try_to_log_in(client, "ann@example.org")
        assert is_logged_in(client)

    def test_is_lifted_by_staff(self, client: Client, ann: User) -> None:
        self.guess(client, "bob@example.org", times=5)
        staff = Client()
        staff.force_login(ann)
        attempt = AccessAttempt.objects.get()
        staff.post(reverse("admin:axes_accessattempt_delete", args=[attempt.pk]), {"post": "yes"})
        try_to_log_in(client, "bob@example.org")
        assert is_logged_in(client)

    def test_from_behind_a_forged_header_counts_for_the_real_network(self, client: Client) -> None:
        for n in range(5):
            answer = try_to_log_in(client, "ann@example.org", "wrong", **{"X-Forwarded-For": f"198.51.100.{n}"})
        assert answer.status_code == 429


class TestSigningUp:
    def test_has_no_page(self, client: Client) -> None:
        with pytest.raises(NoReverseMatch):
            reverse("account_signup")
        assert client.get("/accounts/signup/").status_code == 404
        assert "sign up" not in client.get(LOGIN).text.lower()


class TestAForgottenPassword:
    def link_from_the_mail(self) -> str:
        wait_until(lambda: mail.outbox, what="the mail")
        (message,) = mail.outbox
        match = re.search(r"https?://testserver(/accounts/password/reset/key/\S+)", str(message.body))
        assert match
        return match[1]

    def test_is_replaced_through_a_link_that_works_once(self, client: Client, bob: User) -> None:
        client.post("/accounts/password/reset/", {"email": "BOB@example.org"})
        link = self.link_from_the_mail()
        page = client.get(link, follow=True)
        form = {"password1": "new " + PASSWORD, "password2": "new " + PASSWORD}
        client.post(page.redirect_chain[-1][0], form)
        bob.refresh_from_db()
        assert bob.check_password("new " + PASSWORD)
        assert "Bad Token" in Client().get(link, follow=True).text
        assert not EmailAddress.objects.exists(), "no second place where an address is kept"

    def test_mails_nobody_without_an_account(self, client: Client) -> None:
        answer = client.post("/accounts/password/reset/", {"email": "stranger@example.org"})
        assert answer.status_code == 302
        assert mail.outbox == []

    def test_is_answered_alike_for_known_and_unknown_addresses_while_the_mail_server_hangs(
        self, client: Client, bob: User, settings: Settings
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
            settings.EMAIL_HOST, settings.EMAIL_PORT = silent.getsockname()
            known = client.post("/accounts/password/reset/", {"email": bob.email})
            connected, _ = silent.accept()  # the hand-over is under way, and nobody waits for it
            unknown = Client().post("/accounts/password/reset/", {"email": "stranger@example.org"})
            connected.close()
        assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])


class TestTheSecondFactor:
    def test_is_offered_and_can_be_taken_away_by_staff(self, client: Client, ann: User, bob: User) -> None:
        client.force_login(bob)
        answer = client.get("/accounts/2fa/")
        assert "Authenticator App" in answer.text
        assert "no-store" in answer["Cache-Control"]
        TOTP.activate(bob, SECRET)
        client.force_login(ann)
        factor = Authenticator.objects.get(user=bob)
        page = client.get(reverse("admin:mfa_authenticator_change", args=[factor.pk]))
        assert SECRET not in page.text
        client.post(reverse("admin:mfa_authenticator_delete", args=[factor.pk]), {"post": "yes"})
        assert not Authenticator.objects.exists()
