"""Who may do what: roles are made by code, and each holds what the ones it includes hold."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from ivy.accounts.models import User
from ivy.staff import roles
from tests import factories
from tests.staff.forms import browser_of, member, text_of

pytestmark = pytest.mark.django_db


def permissions(role: str) -> set[str]:
    group = factories.role(role)
    return {f"{one.content_type.app_label}.{one.codename}" for one in group.permissions.select_related("content_type")}


class TestRoles:
    def test_are_there_after_a_migration_and_name_only_permissions_that_exist(self) -> None:
        known = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
        for role in roles.INCLUDES:
            assert set(roles.MAY[role]) <= known
            assert permissions(role) == roles.permissions_of(role, known)

    def test_are_put_right_however_often_they_are_made(self) -> None:
        support = factories.role(roles.SUPPORT)
        before = permissions(roles.SUPPORT)
        support.permissions.add(Permission.objects.get(codename="halt_process"))
        roles.install()
        roles.install()
        assert permissions(roles.SUPPORT) == before

    @pytest.mark.parametrize(
        ("role", "may", "may_not"),
        [
            ("support", "notifications.mark_errant", "billing.take_payment"),
            ("support", "billing.view_customer", "billing.change_customer"),
            ("billing", "billing.take_payment", "billing.halt_process"),
            ("billing", "billing.work_quarantine", "notifications.review_mails"),
            ("operator", "billing.halt_process", "billing.give_credit"),
            ("operator", "notifications.reset_breaker", "accounts.change_user"),
            ("admin", "billing.approve_credit", "billing.delete_ledgerentry"),
            ("admin", "accounts.change_user", "ivy.delete_auditentry"),
        ],
    )
    def test_fence_what_they_do_not_hold(self, role: str, may: str, may_not: str) -> None:
        user = User.objects.create_user("ann@ivy.example", is_staff=True)
        user.groups.add(factories.role(role))
        assert user.has_perm(may)
        assert not user.has_perm(may_not)


class TestARoleThatWasTakenAway:
    def test_is_not_given_back_by_a_form_that_was_open_then(self) -> None:
        bob = member("operator", email="bob@ivy.example")
        boss = browser_of(member("admin"))
        address = reverse("admin:accounts_user_change", args=[bob.pk])
        form = boss.get(address).context["adminform"].form
        sent = {"email": bob.email, "name": "Bob", "is_active": "on", "is_staff": "on", "as_opened": form.as_opened}
        bob.groups.clear()
        answer = boss.post(address, sent | {"groups": [factories.role("operator").pk]})
        assert "Somebody else has saved this since you opened it: Groups is now “nothing”" in text_of(answer)
        assert not bob.groups.exists()
        sent["as_opened"] = answer.context["adminform"].form.as_opened
        assert boss.post(address, sent).status_code == 302
        assert User.objects.get(pk=bob.pk).name == "Bob"
