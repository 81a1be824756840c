"""What staff see of alarms in the admin: a banner on every page, the list, and each alarm with its messages."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from ivy.models import Alarm, AlarmMessage
from tests.factories import make_superuser, make_user

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def make_alarm(key: str, **fields: Any) -> Alarm:
    words = {"wrong": f"The {key} is <broken>.", "affects": "Nobody is billed.", "todo": "Mend it."}
    alarm = Alarm.objects.create(key=key, **words | fields)
    AlarmMessage.objects.create(
        alarm=alarm, event="raised", channel="mail", sent_at=Now(), answer="Taken, for 3 of staff."
    )
    return alarm


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
    client.force_login(make_superuser())
    return client


class TestTheBanner:
    def test_is_not_there_while_all_is_well(self, staff: Client) -> None:
        make_alarm("cache", cleared_at=Now())
        assert "alarm-banner" not in staff.get("/admin/runbook/").text

    def test_is_not_on_the_first_page_which_tells_of_each(self, staff: Client) -> None:
        make_alarm("queue")
        make_alarm("disk")
        text = staff.get("/admin/").text
        assert "alarm-banner" not in text
        for words in ("Alarm queue", "The disk is &lt;broken&gt;.", 'href="/admin/runbook/#disk"'):
            assert words in text

    @pytest.mark.parametrize("page", ["/admin/runbook/", "/admin/billing/customer/", "/admin/ivy/pulse/"])
    def test_names_what_has_been_wrong_longest_and_how_many_more(self, staff: Client, page: str) -> None:
        make_alarm("queue")
        make_alarm("cache", since=Now() - 3 * HOUR, well_since=Now())
        make_alarm("disk", since=Now() - 2 * HOUR)
        text = staff.get(page).text
        assert "Alarm: disk" in text
        assert "The disk is &lt;broken&gt;. Nobody is billed." in text
        assert "2 more alarms" in text
        assert 'href="/admin/runbook/#disk"' in text
        assert f'href="{reverse("admin:ivy_alarm_changelist")}"' in text

    def test_is_amber_once_all_is_well_again(self, staff: Client) -> None:
        make_alarm("disk", well_since=Now())
        assert "alarm-banner is-well" in staff.get("/admin/runbook/").text

    def test_is_shown_to_staff_who_may_see_nothing_else(self, client: Client, settings: Any) -> None:
        settings.AXES_ENABLED = False
        client.force_login(make_user(is_staff=True))
        make_alarm("disk")
        make_alarm("queue")
        text = client.get("/admin/runbook/").text
        assert "1 more alarm" in text
        assert "/admin/ivy/alarm/" not in text

    def test_costs_one_query_and_strangers_none(self, staff: Client, django_assert_max_num_queries: Any) -> None:
        make_alarm("disk")
        with django_assert_max_num_queries(50) as captured:
            staff.get("/admin/runbook/")
            assert sum("ivy_alarm" in query["sql"] for query in captured.captured_queries) == 1
            Client().get("/admin/login/", follow=True)
            assert sum("ivy_alarm" in query["sql"] for query in captured.captured_queries) == 1


class TestThePages:
    def test_list_what_stands_first(self, staff: Client) -> None:
        make_alarm("queue", raised_at=Now() - 2 * HOUR)
        make_alarm("disk", raised_at=Now() - HOUR, cleared_at=Now())
        text = staff.get(reverse("admin:ivy_alarm_changelist")).text.partition("result_list")[2]
        assert text.index(">queue<") < text.index(">disk<")
        text = staff.get(reverse("admin:ivy_alarm_changelist"), {"state": "over"}).text.partition("result_list")[2]
        assert ">disk<" in text
        assert ">queue<" not in text

    @pytest.mark.parametrize("moments", [{}, {"well_since": Now()}, {"well_since": Now(), "cleared_at": Now()}])
    def test_tell_all_of_an_alarm_and_change_nothing(self, staff: Client, moments: dict[str, Any]) -> None:
        alarm = make_alarm("source-quiet:pbx-1", **moments)
        text = staff.get(reverse("admin:ivy_alarm_change", args=[alarm.pk])).text
        for words in ("Mend it.", "/admin/runbook/#source-quiet", "Taken, for 3 of staff."):
            assert words in text
        assert 'name="_save"' not in text
        assert staff.post(reverse("admin:ivy_alarm_change", args=[alarm.pk]), {"wrong": "nothing"}).status_code == 403
