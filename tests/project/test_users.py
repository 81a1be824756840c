"""People log in with their e-mail address, and one address is one person."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from ivy.accounts.models import User
from tests import factories

PASSWORD = "correct horse battery staple"


@pytest.mark.django_db
class TestUsers:
    def test_have_one_spelling_of_their_address(self) -> None:
        assert User.objects.create_user("  Ann.Weber@Example.ORG ").email == "ann.weber@example.org"

    def test_are_found_in_any_case(self) -> None:
        ann = User.objects.create_user("ann@example.org")
        assert User.objects.get_by_natural_key("ANN@example.org") == ann

    def test_cannot_share_an_address(self) -> None:
        User.objects.create_user("ann@example.org")
        with pytest.raises(IntegrityError, match="one_user_per_email_address"):
            User.objects.create_user("ANN@EXAMPLE.ORG")

    def test_cannot_be_stored_in_a_second_spelling_behind_the_manager_s_back(self) -> None:
        with pytest.raises(IntegrityError, match="email_addresses_are_in_lower_case"):
            User.objects.bulk_create([User(email="Ann@example.org")])

    def test_need_an_address(self) -> None:
        with pytest.raises(ValueError, match="needs an e-mail address"):
            User.objects.create_user("")
        with pytest.raises(IntegrityError, match="a_user_has_an_email_address"):
            User.objects.bulk_create([User(email="")])

    def test_are_told_in_a_form_that_an_address_is_taken(self) -> None:
        User.objects.create_user("ann@example.org")
        with pytest.raises(ValidationError, match="There is a user with this e-mail address already"):
            User(email="Ann@Example.org", password="!").full_clean()

    def test_cannot_log_in_without_a_password(self) -> None:
        assert not User.objects.create_user("ann@example.org").has_usable_password()

    def test_are_staff_only_when_made_so(self) -> None:
        assert not User.objects.create_user("bob@example.org").is_staff
        ann = User.objects.create_superuser("ann@example.org", PASSWORD)
        assert ann.is_staff
        assert ann.is_superuser


@pytest.mark.django_db
class TestTheAdminOfUsers:
    @pytest.fixture
    def staff(self, client: Client) -> Client:
        client.force_login(User.objects.create_superuser("ann@example.org", PASSWORD))
        return client

    def test_makes_a_user_who_can_log_in(self, staff: Client) -> None:
        form = {"email": "Bob@Example.org", "name": "Bob", "usable_password": "true"}
        answer = staff.post(reverse("admin:accounts_user_add"), {**form, "password1": PASSWORD, "password2": PASSWORD})
        assert answer.status_code == 302
        assert User.objects.get(email="bob@example.org").check_password(PASSWORD)

    def test_refuses_a_second_spelling_of_a_user(self, staff: Client) -> None:
        form = {"email": "ANN@example.org", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
        answer = staff.post(reverse("admin:accounts_user_add"), form)
        assert answer.status_code == 200
        assert "There is a user with this e-mail address already." in answer.text

    def test_changes_an_address_and_with_it_the_log_in(self, staff: Client) -> None:
        bob = User.objects.create_user("bob@example.org", PASSWORD)
        answer = staff.post(
            reverse("admin:accounts_user_change", args=[bob.pk]), {"email": "Robert@example.org", "is_active": "on"}
        )
        assert answer.status_code == 302
        guest = Client()
        assert "_auth_user_id" not in log_in(guest, "bob@example.org").session
        assert log_in(guest, "robert@example.org").session["_auth_user_id"] == str(bob.pk)

    @pytest.mark.parametrize(
        "page",
        [
            "accounts_user", "auth_group", "axes_accessattempt", "axes_accesslog", "django_q_schedule",
            "django_q_success", "django_q_failure", "django_q_ormq", "ivy_pulse", "mfa_authenticator",
        ],
    )  # fmt: skip
    def test_lists_what_other_apps_keep(self, staff: Client, page: str) -> None:
        assert staff.get(reverse(f"admin:{page}_changelist")).status_code == 200

    def test_lets_nobody_edit_schedules(self, staff: Client) -> None:
        assert staff.get(reverse("admin:django_q_schedule_add")).status_code == 403


def log_in(client: Client, email: str, password: str = PASSWORD) -> Client:
    client.post(reverse("account_login"), {"login": email, "password": password})
    return client


@pytest.mark.django_db
class TestGivingOutRoles:
    """By an admin, who is no superuser."""

    def admin(self, client: Client) -> User:
        admin = User.objects.create_user("admin@example.org", "correct horse battery staple", is_staff=True)
        admin.groups.add(factories.role("admin"))
        client.force_login(admin)
        return admin

    def test_makes_nobody_a_superuser(self, client: Client) -> None:
        admin = self.admin(client)
        sent = {"email": admin.email, "is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": []}
        assert client.post(f"/admin/accounts/user/{admin.pk}/change/", sent).status_code == 302
        admin.refresh_from_db()
        assert not admin.is_superuser

    def test_leaves_superusers_alone(self, client: Client) -> None:
        self.admin(client)
        boss = User.objects.create_superuser("boss@example.org", "correct horse battery staple")
        assert client.post(f"/admin/accounts/user/{boss.pk}/change/", {"email": "x@example.org"}).status_code == 403
        assert client.post(f"/admin/accounts/user/{boss.pk}/password/", {}).status_code == 403
