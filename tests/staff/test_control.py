"""The control room: what it tells, what it costs, and that whatever is done there is done once."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from ivy.accounts.models import User
from ivy.staff import roles
from tests.factories import make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(settings: Any) -> Any:
    """`staff("operator")`: a client of somebody with that role."""
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here

    def staff(*names: str, email: str = "ann@ivy.example") -> Client:
        roles.install()
        user = User.objects.create_user(email, is_staff=True)
        user.groups.set(Group.objects.filter(name__in=names))
        client = Client()
        client.force_login(user)
        return client

    return staff


class TestTheFirstPage:
    def test_opens(self, staff) -> None:
        make_run(amount={"GBP": "12.50"}, errors=[{"kind": "call", "key": "call:pbx:1", "error": "x"}], calls_billed=2)
        text = staff("operator").get("/admin/").text
        print(text)
        assert "nobody has halted it" in text

    def test_pages_open(self, staff) -> None:
        run = make_run(
            amount={"GBP": "12.50"}, errors=[{"kind": "call", "key": "call:pbx:1", "error": "x"}], calls_billed=2
        )
        client = staff("operator")
        for url in [
            reverse("admin:control_halt", args=["calls"]),
            reverse("admin:control_resume", args=["calls"]),
            reverse("admin:control_reset_breaker"),
            reverse("admin:control_run", args=[run.pk]),
            reverse("admin:control_run_part", args=[run.pk]),
            reverse("admin:control_run_charges", args=[run.pk]),
        ]:
            assert client.get(url).status_code == 200, url
