"""The pages of staff about mails: they show, and change nothing."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from notifications import reviewing
from notifications.models import BreakerLimits, BreakerTrip, NotificationLog, StaffOrder, State, Verb
from notifications.rendering import render
from tests import factories
from tests.notifications.mails import frozen, make_owed
from tests.notifications.stories import make_mail

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

    def test_says_in_words_whether_a_mail_is_errant(self, staff: Client) -> None:
        wrong = make_owed(state=State.SENT, sent_at=timezone.now(), is_errant=True)
        address = reverse("admin:notifications_notificationlog_changelist")
        assert "errant; " in staff.get(address).content.decode()
        page = staff.get(reverse("admin:notifications_notificationlog_change", args=[wrong.pk])).content.decode()
        assert "yes: wrong, or one copy too many" in page
        make_owed()
        listed = staff.get(address, {"is_errant__exact": "1"}).context["cl"].result_list
        assert [log.pk for log in listed] == [wrong.pk]


class TestAnOrderOfStaff:
    def test_lists_its_mails_with_links_in_a_few_questions(self, staff: Client) -> None:
        logs = [make_mail(State.HELD) for _ in range(12)]
        reviewing.review(Verb.APPROVE, [log.key for log in logs], reason="They called.", by="Bob")
        with CaptureQueriesContext(connection) as asked:
            page = staff.get(self.address()).content.decode()
        for log in logs:
            assert reverse("admin:review_mail", args=[log.pk]) in page
            assert f"low balance to {log.content.recipient}, account {log.customer.account}</a>: owed" in page
        assert len(asked) <= 20

    def test_of_thousands_lists_the_first_and_says_how_many_there_are_more(
        self, staff: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("notifications.admin.MAILS_SHOWN", 2)
        logs = [make_mail(State.HELD) for _ in range(5)]
        reviewing.review(Verb.APPROVE, [log.key for log in logs], reason="They called.", by="Bob")
        page = staff.get(self.address()).content.decode()
        assert "and 3 more" in page
        assert logs[1].customer.account in page
        assert logs[2].customer.account not in page

    def address(self) -> str:
        return reverse("admin:notifications_stafforder_change", args=[StaffOrder.objects.get().pk])


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
