"""What partners, and everybody, are told of how things stand."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.models import Partner, Process
from ivy import incidents, pulses
from ivy.models import Audience, Part
from ivy.portal import status
from tests import factories

pytestmark = pytest.mark.django_db
ATOM = "{http://www.w3.org/2005/Atom}"
SINCE = datetime(2026, 3, 2, 14, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _log_ins_come_from_nowhere(settings: Settings) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def mei() -> Client:
    client = Client()
    client.force_login(factories.make_portal_user().user)
    return client


def halt(process: Process, partner: Partner | None = None) -> None:
    factories.make_switch(
        process=process, partner=partner, since=SINCE, reason="Olga found doubled calls.", changed_by="olga@ivy.example"
    )


def tell(title: str, shown_to: str, text: str = "Deliveries stopped.") -> int:
    return incidents.open_incident(
        title, affects=[Part.CALLS], text=text, by="olga@ivy.example", shown_to=shown_to
    ).incident.pk


class TestTheStatusPage:
    def test_says_in_plain_words_what_is_halted_and_up_to_when_things_are_shown(self, mei: Client) -> None:
        call = factories.make_call(batch=factories.make_batch(delivery=factories.make_delivery(), call_count=1))
        assert "is halted" not in mei.get(reverse("portal:status")).text
        halt(Process.CALLS)
        page = mei.get(reverse("portal:status")).text
        assert "Billing of calls is halted since 2 Mar 2026, 14:05 GMT." in page
        assert "Calls are not affected" in page
        assert "Call records and balances are shown up to 2 Mar 2026, 09:30 GMT." in page
        assert call.started_at == factories.MORNING
        assert "Recurring and one-off charges are made as they fall due" in page

    def test_names_no_staff_no_reason_and_no_other_partner_s_halt(self, mei: Client) -> None:
        other = factories.make_partner(name="Lighthouse")
        halt(Process.ITEMS, other)
        halt(Process.CALLS)
        for address in (reverse("portal:status"), "/portal/", reverse("status:page")):
            page = mei.get(address).text
            for word in ("Olga", "olga@", "doubled", "Lighthouse", "items is halted"):
                assert word not in page, (address, word)

    def test_says_when_a_round_is_overdue(self, mei: Client) -> None:
        factories.make_run(ended_at=Now() - timedelta(hours=2), started_at=Now() - timedelta(hours=2))
        assert "is behind: the last round ended at" in mei.get(reverse("portal:status")).text
        factories.make_run()
        assert "is behind" not in mei.get(reverse("portal:status")).text
        pulses.beat(pulses.NOTIFICATIONS_DONE)
        assert "behind" not in mei.get(reverse("portal:status")).text


class TestIncidents:
    def test_are_told_to_those_to_whom_they_are_shown(self, mei: Client) -> None:
        tell("Only staff know", Audience.STAFF)
        tell("Partners know", Audience.PARTNERS)
        everybody = tell("Everybody knows", Audience.EVERYBODY)
        incidents.update(everybody, by="olga@ivy.example", text="Found it: <b>olga</b>.", is_shown=True)
        incidents.update(everybody, by="olga@ivy.example", text="Sam broke it.", is_shown=False)
        theirs, public = mei.get(reverse("portal:status")).text, Client().get(reverse("status:page")).text
        feed = Client().get(reverse("status:feed")).text
        assert ("Partners know" in theirs, "Partners know" in public, "Partners know" in feed) == (True, False, False)
        for page in (theirs, public, feed):
            assert "Only staff know" not in page
            assert "Everybody knows" in page
            assert "Sam broke it" not in page
            assert "<b>olga" not in page

    def test_have_their_post_mortem_where_it_may_be_shown(self, mei: Client) -> None:
        pk = tell("Calls are late", Audience.EVERYBODY)
        incidents.update(pk, by="olga@ivy.example", text="Done.", state="resolved")
        incidents.write_post_mortem(pk, text="A disk was full.", by="olga@ivy.example")
        pages = (reverse("portal:status"), reverse("status:page"), reverse("status:feed"))
        for page in pages:
            assert "A disk was full" not in mei.get(page).text
            assert "Calls are late" in mei.get(page).text
        for _ in range(2):
            incidents.write_post_mortem(pk, text="A disk was full.", by="olga@ivy.example", is_shown=True)
        for page in pages:
            assert "A disk was full" in mei.get(page).text

    def test_are_followed_in_an_atom_feed(self) -> None:
        first = tell("Calls are late", Audience.EVERYBODY)
        tell("Mails are late", Audience.EVERYBODY)
        incidents.update(first, by="olga@ivy.example", text="Once more.")
        answer = Client().get(reverse("status:feed"))
        assert answer.headers["Content-Type"].startswith("application/atom+xml")
        entries = ET.fromstring(answer.text).findall(f"{ATOM}entry")
        assert [one.findtext(f"{ATOM}title") for one in entries] == [
            "Calls are late (investigating)",
            "Mails are late (investigating)",
        ]


class TestTheBanner:
    def test_stands_on_every_page_while_something_is_halted_or_an_incident_is_open(self, mei: Client) -> None:
        halt(Process.CALLS)
        halt(Process.ITEMS)
        tell("Some calls are late", Audience.PARTNERS)
        for address in ("/portal/", reverse("portal:people"), reverse("portal:settings")):
            page = mei.get(address).text
            assert "Billing is halted since 2 Mar 2026, 14:05 GMT. Calls are not affected." in page
            assert "Some calls are late. Since " in page

    def test_is_sent_again_only_when_it_says_something_else(self, mei: Client) -> None:
        address = reverse("portal:banner")
        seen = {"seen": status.fingerprint([])}
        assert mei.get(address, seen).status_code == 204
        halt(Process.NOTIFICATIONS)
        news = mei.get(address, seen)
        assert "Mails to customers are halted since" in news.text
        (seen_now,) = re.findall(r'name="seen" value="(\w+)"', news.text)
        assert mei.get(address, {"seen": seen_now}).status_code == 204

    def test_is_no_other_page_for_who_may_not_see_it_any_more_but_has_theirs_loaded_anew(self) -> None:
        shut_out = Client()
        shut_out.force_login(factories.make_user())
        for client in (Client(), shut_out):
            answer = client.get(reverse("portal:banner"), headers={"HX-Request": "true"})
            assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")

    def test_asks_the_database_little(self, mei: Client) -> None:
        mei.get(reverse("portal:banner"))
        with CaptureQueriesContext(connection) as queries:
            mei.get(reverse("portal:banner"))
        assert len(queries) <= 5  # session, person, place, halts, incidents
