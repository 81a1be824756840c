"""The pages of staff about mails: they show, and change nothing."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from notifications.models import BreakerLimits, BreakerTrip, NotificationLog
from notifications.rendering import render
from tests import factories
from tests.notifications.mails import frozen, make_owed

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
    client.force_login(factories.make_superuser())
    return client


class TestTheLogOfMails:
    def test_is_listed_with_whom_and_what_became_of_it(self, staff: Client) -> None:
        log = make_owed()
        page = staff.get(reverse("admin:notifications_notificationlog_changelist")).content.decode()
        assert log.content.recipient in page
        assert "owed" in page

    def test_shows_a_mails_words_and_offers_no_form(self, staff: Client) -> None:
        log = make_owed()
        frozen(log, render(log))
        address = reverse("admin:notifications_notificationlog_change", args=[log.pk])
        page = staff.get(address).content.decode()
        assert NotificationLog.objects.get(pk=log.pk).key in page
        assert staff.post(address, {"state": "sent"}).status_code == 403


class TestTheBreakersLimits:
    def test_are_one_row_that_staff_may_change(self, staff: Client) -> None:
        BreakerLimits.objects.create(pk=1)
        address = reverse("admin:notifications_breakerlimits_change", args=[1])
        form = staff.get(address).context["adminform"].form
        staff.post(address, {**form.initial, "mails_an_hour": 900})
        assert BreakerLimits.objects.get().mails_an_hour == 900
        assert staff.get(reverse("admin:notifications_breakerlimits_add")).status_code == 403

    def test_that_tripped_are_listed_with_the_reason(self, staff: Client) -> None:
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails within an hour")
        page = staff.get(reverse("admin:notifications_breakertrip_changelist")).content.decode()
        assert "501 mails within an hour" in page
