"""The menu of the staff pages."""

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from ivy.unfold import MENU
from tests import factories

pytestmark = pytest.mark.django_db


class TestTheMenu:
    def test_leads_to_every_noun(self) -> None:
        links = {str(line["link"]) for group in MENU for line in group["items"]}
        lists = {
            reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            for model in admin.site._registry
        }
        ours = {reverse("admin:runbook"), reverse("admin:money_credits")}
        assert links == lists | ours, "ivy/unfold.py names what the menu shows"

    def test_leads_nowhere_that_does_not_open(self, client: Client, settings: Any) -> None:
        settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
        client.force_login(factories.make_superuser())
        for group in MENU:
            for line in group["items"]:
                assert client.get(str(line["link"])).status_code == 200, line["title"]
