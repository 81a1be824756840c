"""Tokens as owners and staff handle them: made and shown once, limited, revoked."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from ivy.portal import tokens
from ivy.portal.models import ApiToken, PortalUser, Resource, Role
from tests.factories import harbour, make_customer, make_partner, make_user

pytestmark = pytest.mark.django_db

TERMS = {"name": "Books", "resources": ["ledger", "balances"], "accounts": "", "rate_per_minute": "60", "days": "90"}


@pytest.fixture
def owner(settings: Any) -> Client:
    settings.AXES_ENABLED = False  # it asks for an address, which no forced log-in brings
    user = make_user(email="owner@harbour.example")
    PortalUser.objects.create(user=user, partner=harbour(), role=Role.OWNER)
    client = Client()
    client.force_login(user)
    return client


def status_with(text: str, path: str = "balances") -> int:
    answer = Client().get(f"/portal/api/v1/{path}", headers={"Authorization": f"Bearer {text}"})
    return answer.status_code


class TestAnOwner:
    def test_makes_a_token_sees_it_once_and_revokes_it(self, owner: Client) -> None:
        made = owner.post("/portal/tokens/make/", TERMS)
        text = made.context["text"]
        assert text in made.content.decode()
        assert "no-store" in made["Cache-Control"]
        assert text not in owner.get("/portal/tokens/").content.decode()
        assert (status_with(text), status_with(text, "customers")) == (200, 403)

        token = ApiToken.objects.get()
        assert (token.partner, token.rate_per_minute, token.is_limited) == (harbour(), 60, False)
        assert 89 <= (token.expires_at - timezone.now()).days <= 90  # type: ignore[operator]
        for _ in range(2):
            page = owner.post(f"/portal/tokens/{token.reference}/revoke/", follow=True)
            assert "revoked" in page.content.decode()
        assert status_with(text) == 401
        token.refresh_from_db()
        assert token.revoked_by == "owner@harbour.example"

    def test_limits_a_token_to_accounts_of_their_own(self, owner: Client) -> None:
        mine, foreign = make_customer(account="mine-1"), make_customer(partner=make_partner(), account="foreign-1")
        for account in (foreign.account, "nobody-1"):
            refused = owner.post("/portal/tokens/make/", TERMS | {"accounts": f"mine-1, {account}"})
            assert refused.status_code == 400
            assert f"There is no customer {account}." in refused.content.decode()
        owner.post("/portal/tokens/make/", TERMS | {"accounts": "mine-1"})
        token = ApiToken.objects.get()
        assert (token.is_limited, list(token.customers.all())) == (True, [mine])

    @pytest.mark.parametrize(
        "nonsense",
        [{"name": ""}, {"name": "\0"}, {"resources": []}, {"resources": ["people"]}, {"rate_per_minute": "0"},
         {"rate_per_minute": "6001"}, {"days": "0"}],
        ids=str,
    )  # fmt: skip
    def test_is_told_beside_the_field_what_makes_no_sense(self, owner: Client, nonsense: dict[str, Any]) -> None:
        refused = owner.post("/portal/tokens/make/", TERMS | nonsense)
        assert refused.status_code == 400
        assert "errorlist" in refused.content.decode()
        assert not ApiToken.objects.exists()


class TestStaff:
    def test_revoke_tokens_of_any_partner_if_they_may(self, settings: Any) -> None:
        settings.AXES_ENABLED = False
        token, text = tokens.make(harbour(), name="Books", by=make_user())
        staff = make_user(is_staff=True, email="mei@ivy.example")
        staff.user_permissions.add(Permission.objects.get(codename="view_apitoken"))
        client = Client()
        client.force_login(staff)
        where, chosen = "/admin/portal/apitoken/", {"action": "revoke", "_selected_action": [token.pk]}
        client.post(where, chosen)
        assert status_with(text) == 200
        staff.user_permissions.add(Permission.objects.get(codename="revoke_apitoken"))
        client.post(where, chosen)
        assert status_with(text) == 401
        token.refresh_from_db()
        assert token.revoked_by == "mei@ivy.example"
        assert token.digest not in client.get(f"{where}{token.pk}/change/").content.decode()


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("rule", "fields"),
        [
            ("tokens_have_a_name", {"name": ""}),
            ("rate_of_a_token_is_bounded", {"rate_per_minute": 0}),
            ("rate_of_a_token_is_bounded", {"rate_per_minute": 6_001}),
            ("revoked_by_somebody", {"revoked_at": timezone.now()}),
            ("revoked_by_somebody", {"revoked_by": "mei@ivy.example"}),
        ],
    )
    def test_refuses_a_breach_by_the_name_of_the_rule(self, rule: str, fields: dict[str, Any]) -> None:
        token, _ = tokens.make(harbour(), name="Books", by=make_user(), resources=[Resource.STATUS])
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            ApiToken.objects.filter(pk=token.pk).update(**fields)
