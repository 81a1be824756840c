"""Incidents: told once by whoever tells, in order with what happened, and to those alone who are meant to read it."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing import halting
from billing.models import Process
from ivy import incidents
from ivy.accounts.models import User
from ivy.incidents import BadIncident, ChangedMeanwhile
from ivy.models import Alarm, Incident, IncidentUpdate
from notifications.models import BreakerTrip
from tests import factories
from tests.billing.at_once import at_once, real_commits

ANN, BOB = "ann@example.org", "bob@example.org"
Submit = Callable[..., Any]

pytestmark = pytest.mark.django_db


def opened(title: str = "Calls are not billed", **how: Any) -> Incident:
    asked: dict[str, Any] = {"affects": ["calls"], "text": "Two decks look swapped.", "by": ANN}
    return incidents.open_incident(title, **asked | how).incident


def resolved(**how: Any) -> Incident:
    return incidents.update(opened(**how).pk, by=ANN, state="resolved", text="Decks put right.").incident


class TestAnIncident:
    def test_is_opened_with_its_first_update(self) -> None:
        incident = opened(shown_to="partners", affects=["notifications", "calls", "calls"])
        assert (incident.state, incident.affects, incident.opened_by) == (
            "investigating",
            ["calls", "notifications"],
            ANN,
        )
        update = incident.updates.get()
        assert (update.text, update.by, update.is_shown) == ("Two decks look swapped.", ANN, True)

    def test_is_opened_once_whoever_opens_it_again(self) -> None:
        incident = opened()
        again = incidents.open_incident("calls are NOT billed", affects=["items"], text="What is this?", by=BOB)
        assert again == incidents.Change(incident, changed=False)
        assert IncidentUpdate.objects.count() == 1

    def test_may_happen_again_once_it_was_resolved(self) -> None:
        first = resolved()
        assert opened().pk != first.pk
        assert Incident.objects.count() == 2

    def test_goes_through_its_states_in_any_order(self) -> None:
        incident = opened()
        for state in ("monitoring", "identified", "investigating", "resolved"):
            change = incidents.update(incident.pk, by=BOB, state=state, text=f"Now {state}.")
            assert (change.incident.state, change.changed, change.reopened) == (state, True, False)
        assert change.incident.resolved_at is not None

    def test_keeps_its_state_where_an_update_names_none(self) -> None:
        incident = opened()
        incidents.update(incident.pk, by=ANN, state="identified", text="It is the decks.")
        assert incidents.update(incident.pk, by=ANN, text="Mending.").incident.state == "identified"

    def test_is_resolved_once(self) -> None:
        incident = resolved()
        again = incidents.update(incident.pk, by=BOB, state="resolved", text="It works again.")
        assert again == incidents.Change(incident, changed=False)
        assert again.incident.resolved_at == incident.resolved_at
        assert incident.updates.count() == 2

    def test_can_be_reopened_and_says_so(self) -> None:
        incident = resolved()
        change = incidents.update(incident.pk, by=BOB, state="identified", text="It is back.")
        assert change.reopened
        assert change.incident.resolved_at is None
        assert incident.updates.latest("pk").is_reopening
        assert incidents.timeline(change.incident)[-1].words == "Reopened: identified. It is back."

    def test_takes_the_same_words_once_and_once_more_when_time_has_passed(self) -> None:
        incident = opened()
        words = {"by": BOB, "text": "Still looking.", "state": "investigating"}
        assert incidents.update(incident.pk, **words).changed
        assert not incidents.update(incident.pk, **words).changed
        assert incidents.update(incident.pk, **words | {"by": ANN}).changed
        assert incidents.update(incident.pk, **words).changed, "somebody else wrote in between"

    def test_is_not_changed_by_who_has_not_seen_the_last_words(self) -> None:
        incident = opened()
        seen = incidents.version(incident)
        incidents.update(incident.pk, by=ANN, state="resolved", text="Mended.", seen=seen)
        with pytest.raises(ChangedMeanwhile):
            incidents.update(incident.pk, by=BOB, state="monitoring", text="Looks better.", seen=seen)
        assert Incident.objects.get().state == "resolved"

    def test_gets_its_post_mortem_once_it_is_resolved(self) -> None:
        incident = opened()
        with pytest.raises(BadIncident, match="once the incident is resolved"):
            incidents.write_post_mortem(incident.pk, text="Decks were swapped.", by=ANN)
        incidents.update(incident.pk, by=ANN, state="resolved", text="Mended.")
        assert incidents.write_post_mortem(incident.pk, text="Decks were swapped.", by=ANN).changed
        again = incidents.write_post_mortem(incident.pk, text="Decks were swapped.", by=BOB)
        assert not again.changed
        assert again.incident.post_mortem_by == ANN

    @pytest.mark.parametrize(
        ("how", "sentence"),
        [
            ({"title": "  "}, "has a title"),
            ({"title": "x" * 201}, "at most 200"),
            ({"text": " "}, "Say what is known"),
            ({"affects": []}, "Say what it affects"),
            ({"affects": ["call"]}, "no part “call”"),
            ({"shown_to": "partner"}, "no audience “partner”"),
            ({"began_at": datetime.now(UTC) + timedelta(hours=1)}, "began before now"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, how: dict[str, Any], sentence: str) -> None:
        with pytest.raises(BadIncident, match=sentence):
            opened(**how)
        assert not Incident.objects.exists()

    def test_takes_no_update_that_makes_no_sense(self) -> None:
        incident = opened()
        for how in ({"text": ""}, {"text": "x", "state": "closed"}, {"text": "x", "affects": ["phone"]}):
            with pytest.raises(BadIncident):
                incidents.update(incident.pk, **{"by": ANN} | how)
        assert incident.updates.count() == 1


class TestWhatWasTold:
    @pytest.mark.parametrize("verb", ["update", "delete"])
    def test_stays(self, verb: str) -> None:
        opened()
        rows = IncidentUpdate.objects.all()
        with pytest.raises(IntegrityError, match="incidentupdate"), transaction.atomic():
            rows.update(text="nothing happened") if verb == "update" else rows._raw_delete("default")
        with pytest.raises(IntegrityError, match="ivy_incident"), transaction.atomic():
            Incident.objects.all()._raw_delete("default")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("state", "closed"), ("shown_to", "nobody"), ("affects", []), ("title", ""), ("state", "resolved")],
    )
    def test_obeys_the_rules_of_the_database(self, field: str, value: Any) -> None:
        opened()
        with pytest.raises(IntegrityError), transaction.atomic():
            Incident.objects.update(**{field: value})


@real_commits
class TestTwoPeopleAtOnce:
    def test_open_one_incident(self) -> None:
        changes = at_once(
            *(
                lambda by=by: incidents.open_incident("Calls stopped", affects=["calls"], text="?", by=by)
                for by in (ANN, BOB)
            )
        )
        assert sorted(change.changed for change in changes) == [False, True]
        assert len({change.incident.pk for change in changes}) == 1

    def test_resolve_it_once(self) -> None:
        incident = opened()
        changes = at_once(
            *(lambda by=by: incidents.update(incident.pk, by=by, state="resolved", text="Done.") for by in (ANN, BOB))
        )
        assert sorted(change.changed for change in changes) == [False, True]
        assert incident.updates.count() == 2


@real_commits
class TestTheTimeLine:
    def test_joins_all_that_happened_in_order(self) -> None:
        factories.make_partner(slug="fjord")
        halting.halt(Process.CALLS, reason="the decks look swapped", by=ANN)
        (offer,) = incidents.offers()
        incident = opened(began_at=offer.began_at)
        Alarm.objects.create(key="quarantine")
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails within an hour")
        halting.resume(Process.CALLS, reason="decks put right", by=BOB)
        incidents.update(incident.pk, by=BOB, state="resolved", text="All charged.")
        halting.halt(Process.ITEMS, reason="afterwards", by=ANN)

        incident.refresh_from_db()
        assert [(moment.kind, moment.by) for moment in incidents.timeline(incident)] == [
            ("halt", ANN),
            ("update", ANN),
            ("alarm", ""),
            ("trip", ""),
            ("resume", BOB),
            ("update", BOB),
        ]
        assert incidents.timeline(incident)[0].words == "calls halted: the decks look swapped"

    def test_offers_what_no_open_incident_tells_of(self) -> None:
        assert incidents.offers() == []
        halting.halt(Process.CALLS, reason="look", by=ANN, partner=factories.make_partner(slug="fjord", name="Fjord"))
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails within an hour")
        assert [offer.title for offer in incidents.offers()] == [
            "Calls are not billed for some customers",
            "Customers are not mailed",
        ]
        opened(affects=["calls", "notifications"])
        assert incidents.offers() == []

    def test_offers_one_for_calls_and_items_together(self) -> None:
        for process in halting.BILLING:
            halting.halt(process, reason="look", by=ANN)
        (offer,) = incidents.offers()
        assert (offer.title, offer.affects) == ("Calls and items are not billed", ("calls", "items"))


class TestWhatPartnersRead:
    def test_is_what_staff_show_them_and_carries_no_names(self) -> None:
        incident = opened(shown_to="partners", affects=["calls", "portal"])
        incidents.update(incident.pk, by=BOB, state="identified", text="Deck 7 of Fjord.", is_shown=False)
        incidents.update(incident.pk, by=BOB, state="monitoring", text="Charged again soon.")
        (found,) = incidents.open_for_partners()
        assert (found.title, found.state, found.affects) == (
            incident.title,
            "monitoring",
            ["billing of calls", "portal"],
        )
        assert [update.text for update in found.updates] == ["Two decks look swapped.", "Charged again soon."]
        assert not any(secret in repr(found) for secret in (ANN, BOB, "Fjord"))

    def test_is_nothing_of_an_incident_for_staff_alone(self) -> None:
        incident = opened()
        assert incidents.open_for_partners() == []
        incidents.update(incident.pk, by=ANN, text="Partners ask.", shown_to="everybody")
        (found,) = incidents.open_for_partners()
        assert [update.text for update in found.updates] == ["Partners ask."]

    def test_moves_to_the_history_once_it_is_resolved(self) -> None:
        incident = resolved(shown_to="partners")
        incidents.write_post_mortem(incident.pk, text="Olga swapped the decks.", by=ANN)
        assert incidents.open_for_partners() == []
        (found,) = incidents.history_for_partners()
        assert found.resolved_at is not None
        assert "Olga" not in repr(found)
        assert incidents.history_for_partners(days=0) == []

    def test_costs_as_many_queries_however_many_there_are(self, django_assert_num_queries: Any) -> None:
        for number in range(5):
            opened(title=f"Trouble {number}", shown_to="everybody")
        with django_assert_num_queries(2):
            assert len(incidents.open_for_partners()) == 5


def run(*words: str, status: int = 0) -> dict[str, Any]:
    """What the command answers a program."""
    out = io.StringIO()
    if status:
        with pytest.raises(CommandError) as refused:
            call_command("incident", *words, "--json", stdout=out)
        assert refused.value.returncode == status
    else:
        call_command("incident", *words, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def say(*words: str) -> str:
    """What it tells a person."""
    out = io.StringIO()
    call_command("incident", *words, stdout=out)
    return out.getvalue()


OPEN = ("open", "Calls are not billed", "--affects", "calls", "portal", "--shown-to", "partners", "--text", "Looking.")


class TestTheCommand:
    def test_opens_once(self) -> None:
        first = run(*OPEN)
        assert first == {"incident": Incident.objects.get().pk, "state": "investigating", "changed": True}
        assert run(*OPEN) == first | {"changed": False}
        assert "was open already" in say(*OPEN)

    def test_takes_json_before_the_verb_as_well(self) -> None:
        out = io.StringIO()
        call_command("incident", "--json", "list", stdout=out)
        assert json.loads(out.getvalue()) == {"incidents": []}

    def test_updates_resolves_and_reopens(self) -> None:
        key = str(run(*OPEN)["incident"])
        assert run("update", key, "--state", "identified", "--text", "Decks swapped.")["state"] == "identified"
        assert run("update", key, "--text", "Only ours.", "--only-staff")["changed"]
        assert not IncidentUpdate.objects.latest("pk").is_shown
        assert run("update", key, "--state", "resolved", "--text", "Done.")["changed"]
        assert not run("update", key, "--state", "resolved", "--text", "Done!")["changed"]
        assert "was reopened: monitoring" in say("update", key, "--state", "monitoring", "--text", "Back.")

    def test_lists_open_ones_first_and_shows_one_with_its_time_line(self) -> None:
        resolved(title="Older")
        key = str(run(*OPEN)["incident"])
        assert [row["title"] for row in run("list")["incidents"]] == ["Calls are not billed", "Older"]
        shown = run("show", key)
        assert (shown["affects"], shown["shown_to"]) == (["calls", "portal"], "partners")
        assert [(row["kind"], row["words"]) for row in shown["timeline"]] == [("update", "Investigating. Looking.")]
        assert "Investigating. Looking. (" in say("show", key)
        assert "Older: resolved" in say("list")

    def test_writes_a_post_mortem(self) -> None:
        key = str(resolved().pk)
        assert run("post-mortem", key, "--text", "Decks were swapped.")["changed"]
        assert not run("post-mortem", key, "--text", "Decks were swapped.")["changed"]
        assert "Decks were swapped." in say("show", key)

    @pytest.mark.parametrize(
        "words",
        [
            ("open", "", "--affects", "calls", "--text", "x"),
            ("open", "Calls", "--text", "x"),
            ("open", "Calls", "--affects", "calls"),
            ("open", "Calls", "--affects", "calls", "--text", "x", "--since", "yesterday"),
            ("open", "Calls", "--affects", "calls", "--text", "x", "--shown-to", "all"),
            ("update", "7", "--text", "x"),
            ("update", "seven", "--text", "x"),
            ("show", "99999999999999999999999"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, words: tuple[str, ...]) -> None:
        assert "error" in run(*words, status=2)
        assert not Incident.objects.exists()


@real_commits
class TestHalt:
    def halt(self, *more: str) -> str:
        out = io.StringIO()
        call_command("halt", "calls", "--reason", "look", *more, stdout=out)
        return out.getvalue()

    def test_names_the_command_that_tells_of_it(self) -> None:
        words = self.halt()
        assert 'manage.py incident open "Calls are not billed" --affects calls --shown-to partners --since ' in words
        assert "processes" in json.loads(self.halt("--json"))
        opened()
        assert "incident open" not in self.halt()


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
    client.force_login(factories.make_superuser())
    return client


def page_of(incident: Incident) -> str:
    return reverse("admin:ivy_incident_change", args=[incident.pk])


ADD = "/admin/ivy/incident/add/"
NEW = {
    "title": "Calls are not billed",
    "affects": ["calls"],
    "shown_to": "partners",
    "began_at_0": "2026-03-02",
    "began_at_1": "02:10:00",
    "text": "Looking.",
}


def update_form(incident: Incident, **changes: Any) -> dict[str, Any]:
    stands: dict[str, Any] = {
        "state": incident.state,
        "shown_to": incident.shown_to,
        "affects": incident.affects,
        "text": "Decks swapped.",
        "is_shown": "on",
        "post_mortem": incident.post_mortem,
        "seen": incidents.version(incident),
    }
    return stands | changes


class TestTheStaffPages:
    def test_open_an_incident_once_however_often_the_form_is_sent(self, staff: Client) -> None:
        for _ in range(2):
            assert staff.post(ADD, NEW).status_code == 302
        incident = Incident.objects.get()
        assert incident.began_at == datetime(2026, 3, 2, 2, 10, tzinfo=UTC)
        assert (incident.opened_by, incident.updates.count()) == (User.objects.get().email, 1)

    def test_say_what_is_missing(self, staff: Client) -> None:
        page = staff.post(ADD, NEW | {"affects": [], "text": ""})
        assert page.status_code == 200
        assert set(page.context["adminform"].form.errors) == {"affects", "text"}
        refused = staff.post(ADD, NEW | {"began_at_0": "2126-03-02"})
        assert "An incident began before now." in refused.content.decode()
        assert not Incident.objects.exists()

    def test_add_an_update_once_however_often_the_form_is_sent(self, staff: Client) -> None:
        incident = opened()
        form = update_form(incident, state="identified", shown_to="partners")
        for _ in range(2):
            assert staff.post(page_of(incident), form).status_code == 302
        incident.refresh_from_db()
        assert (incident.state, incident.shown_to, incident.updates.count()) == ("identified", "partners", 2)

    def test_show_what_somebody_else_has_written_before_they_take_more(self, staff: Client) -> None:
        incident = opened()
        form = update_form(incident, text="Mine.")
        incidents.update(incident.pk, by=BOB, state="resolved", text="Mended by Bob.")
        page = staff.post(page_of(incident), form)
        assert "Somebody else has changed the incident meanwhile" in page.content.decode()
        assert "Mended by Bob." in page.content.decode()
        assert "Mine." in page.content.decode()
        again = form | {"seen": page.context["adminform"].form["seen"].value()}
        assert staff.post(page_of(incident), again).status_code == 302
        assert incident.updates.latest("pk").text == "Mine."

    def test_take_a_post_mortem_once_it_is_resolved(self, staff: Client) -> None:
        incident = opened()
        assert "post_mortem" not in staff.get(page_of(incident)).context["adminform"].form.fields
        incident = incidents.update(incident.pk, by=ANN, state="resolved", text="Mended.").incident
        form = update_form(incident, text="", post_mortem="Decks were swapped.")
        for _ in range(2):
            staff.post(page_of(incident), form)
        incident.refresh_from_db()
        assert incident.post_mortem == "Decks were swapped."
        assert incident.updates.count() == 2

    def test_ask_for_words(self, staff: Client) -> None:
        incident = opened()
        page = staff.post(page_of(incident), update_form(incident, text=" "))
        assert page.context["adminform"].form.errors == {"text": ["Say what was found or done."]}

    def test_show_words_as_text(self, staff: Client) -> None:
        incident = opened(text="<script>alert(1)</script>")
        assert "<script>alert(1)" not in staff.get(page_of(incident)).content.decode()

    def test_keep_what_was_told_from_everybody(self, staff: Client) -> None:
        incident = opened()
        assert staff.post(reverse("admin:ivy_incident_delete", args=[incident.pk]), {"post": "yes"}).status_code == 403
        staff.post(page_of(incident), update_form(incident) | {"title": "Nothing", "opened_by": BOB})
        incident.refresh_from_db()
        assert (incident.title, incident.opened_by) == ("Calls are not billed", ANN)

    def test_are_for_those_who_may(self, client: Client, settings: Any) -> None:
        settings.AXES_ENABLED = False
        reader = User.objects.create_user("reader@example.org", "a long walk along the quay", is_staff=True)
        reader.user_permissions.add(Permission.objects.get(codename="view_incident"))
        client.force_login(reader)
        incident = resolved()
        incidents.write_post_mortem(incident.pk, text="Decks were swapped.", by=ANN)
        page = client.get(page_of(incident))
        assert page.status_code == 200
        assert "Decks were swapped." in page.content.decode()
        assert 'name="text"' not in page.content.decode()
        assert client.post(page_of(incident), update_form(incident, state="identified")).status_code == 403
        assert client.get(ADD).status_code == 403
        assert incident.updates.count() == 2


class TestPagesOfWhatIsHalted:
    def offers_on(self, client: Client, address: str) -> list[str]:
        page = client.get(address)
        assert page.status_code == 200
        return [link for _, link in page.context["incident_offers"]]

    def test_offer_the_filled_in_form(self, staff: Client) -> None:
        switch = factories.make_switch(since=datetime(2026, 3, 2, 2, 10, 7, tzinfo=UTC))
        pages = [
            reverse("admin:billing_processswitch_changelist"),
            reverse("admin:billing_processswitch_change", args=[switch.pk]),
            reverse("admin:ivy_incident_changelist"),
            reverse("admin:notifications_breakertrip_changelist"),
        ]
        links = {link for page in pages for link in self.offers_on(staff, page)}
        assert len(links) == 1
        form = staff.get(links.pop()).context["adminform"].form
        assert form.initial == {
            "title": "Calls are not billed",
            "affects": ["calls"],
            "shown_to": "partners",
            "began_at": datetime(2026, 3, 2, 2, 10, 7, tzinfo=UTC),
        }
        assert "Open an incident" in staff.get(pages[0]).content.decode()
        opened()
        assert self.offers_on(staff, pages[0]) == []

    def test_offer_it_when_the_breaker_has_tripped(self, staff: Client) -> None:
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails within an hour")
        (link,) = self.offers_on(staff, reverse("admin:notifications_breakertrip_changelist"))
        assert "affects=notifications" in link

    def test_offer_nothing_to_who_may_not_open_one(self, client: Client, settings: Any) -> None:
        settings.AXES_ENABLED = False
        reader = User.objects.create_user("reader@example.org", "a long walk along the quay", is_staff=True)
        reader.user_permissions.add(Permission.objects.get(codename="view_processswitch"))
        client.force_login(reader)
        factories.make_switch()
        assert self.offers_on(client, reverse("admin:billing_processswitch_changelist")) == []
