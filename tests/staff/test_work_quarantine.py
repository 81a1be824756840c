"""Quarantine as a work list: what waits is grouped by what would mend it, and is mended, released or put away, once."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing import quarantine, waiting
from billing.cycle import run_cycle
from billing.models import (
    ArrivalBatch,
    CallIdentity,
    CallRecord,
    Customer,
    LedgerEntry,
    QuarantinedCall,
    QuarantineReason,
    Rate,
)
from billing.waiting import Selection
from ivy.models import AuditEntry
from ivy.staff import roles
from tests.factories import (
    key_of,
    make_call,
    make_customer,
    make_deck,
    make_identity,
    make_quarantined_call,
    make_rate,
    make_source,
    make_unparsable_line,
)
from tests.staff.working import hidden, send, send_after_preview, staff

pytestmark = pytest.mark.django_db


def without_a_rate(**fields: Any) -> CallRecord:
    """A call that waits for a rate; its customer's deck knows British mobiles alone."""
    if "customer" not in fields:
        deck = make_deck(name="standard")
        make_rate(deck=deck)
        fields["customer"] = make_customer(name="Café Lindqvist", rate_deck=deck)
    call = make_call(to_number="4689412345", **fields)
    make_quarantined_call(call)
    ArrivalBatch.objects.filter(pk=call.batch_id).update(closed_at=timezone.now())
    return call


def row_of(call: CallRecord) -> QuarantinedCall:
    return QuarantinedCall.objects.get(content_hash=call.content_hash)


class TestTheWorkList:
    def test_groups_calls_by_the_prefix_that_is_missing(self) -> None:
        first = without_a_rate()
        without_a_rate(customer=first.customer)
        [heap] = waiting.work_list()
        assert (heap.reason, heap.calls) == (QuarantineReason.NO_RATE, 2)
        [group] = heap.groups
        assert (group.begins, group.deck, group.calls, group.seconds) == ("46", "standard", 2, 120)
        assert {row.id for row in waiting.rows(group.selection)} == {row.pk for row in QuarantinedCall.objects.all()}

    def test_groups_calls_of_nobody_by_what_they_name(self) -> None:
        for peer in ("301", "301", "302"):
            make_quarantined_call(make_call(customer=None, from_peer=peer), reason="no_customer", customer=None)
        [heap] = waiting.work_list()
        assert [(group.identity, group.calls) for group in heap.groups] == [("peer:301", 2), ("peer:302", 1)]
        assert waiting.count(heap.groups[0].selection).calls == 2

    def test_tells_when_there_is_nothing_to_do(self) -> None:
        page = staff("support").get(reverse("admin:work_quarantine"))
        assert "Nothing waits" in page.content.decode()

    def test_shows_lines_that_could_not_be_read_as_they_came_and_harmless(self) -> None:
        make_unparsable_line(raw=b"<script>alert(1)</script>\xfc")
        page = staff("support").get(reverse("admin:work_quarantine")).content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\\xfc" in page
        assert "<script>alert(1)" not in page

    def test_asks_no_more_for_more_rows(self) -> None:
        call = without_a_rate()
        client, counted = staff("billing"), []
        pages = [reverse("admin:work_quarantine"), f"{reverse('admin:work_calls')}?reason=no_rate"]
        for calls in (1, 8):
            for _ in range(calls):
                without_a_rate(customer=call.customer)
            with CaptureQueriesContext(connection) as queries:
                for page in pages:
                    assert client.get(page).status_code == 200
            counted.append(len(queries))
        assert counted[0] == counted[1] <= 26

    def test_means_nobody_where_an_address_makes_no_sense(self) -> None:
        without_a_rate()
        client = staff("billing")
        for query in ("reason=bad+weather", "id=x", "id=99999999999999999999", "page=x&reason=no_rate&source=nowhere"):
            page = client.get(f"{reverse('admin:work_calls')}?{query}")
            assert "No call waits for this" in page.content.decode(), query


class TestTheRowsPage:
    def test_says_why_it_waits_as_it_came_and_what_would_become_of_it(self) -> None:
        call = without_a_rate()
        QuarantinedCall.objects.update(raw="<b>the raw line</b>")
        page = staff("billing").get(reverse("admin:work_call", args=[row_of(call).pk])).content.decode()
        assert "has no prefix for 4689412345" in page
        assert "&lt;b&gt;the raw line&lt;/b&gt;" in page
        assert f"{call.batch.delivery.file_name}, line {call.line_number}" in page
        assert "back in quarantine: no rate" in page
        assert f"{reverse('admin:work_add_rate')}?call={row_of(call).pk}&amp;deck=standard&amp;prefix=46" in page

    def test_shows_support_nothing_to_press(self) -> None:
        page = staff("support").get(reverse("admin:work_call", args=[row_of(without_a_rate()).pk])).content.decode()
        assert "Add a rate" not in page
        assert "Release…" not in page

    def test_tells_the_price_by_the_rates_of_now(self) -> None:
        call = without_a_rate()
        Rate.objects.create(deck=call.customer.rate_deck, prefix="468", price_per_minute=Decimal("0.12"))
        page = staff("billing").get(reverse("admin:work_call", args=[row_of(call).pk])).content.decode()
        assert "charged 0.12 GBP" in page


class TestFates:
    """What would follow a release is what follows it."""

    def test_are_what_a_release_and_a_run_bring(self) -> None:
        call = without_a_rate()
        nobody = make_quarantined_call(make_call(customer=None, from_number=""), reason="no_customer", customer=None)
        make_rate(deck=call.customer.rate_deck, prefix="46", price_per_minute=Decimal("0.07"))
        told = {(fate.outcome, fate.reason): (fate.calls, fate.amount) for fate in quarantine.fates()}
        assert told == {("charge", ""): (1, Decimal("0.07")), ("left", "no_customer"): (1, Decimal(0))}
        assert row_of(call).state == "waiting", "a look changes nothing"

        assert quarantine.release() == 1
        assert quarantine.release() == 0
        nobody.refresh_from_db()
        assert nobody.state == "waiting"

    def test_find_the_rates_that_slices_find(self) -> None:
        deck = make_deck(name="standard")
        day = timedelta(days=1)
        now = timezone.now()
        for prefix, begins, ends in (
            ("4", None, None), ("46", now - 9 * day, now - day), ("46", now - day, None), ("468", now + day, None),
            ("4689", None, now - 5 * day), ("46894123456789", None, None), ("4477009", None, None),
        ):  # fmt: skip
            make_rate(
                deck=deck, prefix=prefix, valid_from=begins, valid_to=ends,
                price_per_minute=Decimal(len(prefix)) + (0 if begins is None else begins.day),
            )  # fmt: skip
        customer = make_customer(rate_deck=deck)
        called = [("4689412345", 8), ("4689412345", 3), ("4689412345", 0), ("46894123456789012", 0), ("4", 0)]
        called += [("447700900123", 20), ("49", 1), ("5", 1), ("46x", 0), ("", 0), ("1" * 30, 0)]
        for number, days in called:
            make_call(customer=customer, to_number=number, started_at=now - days * day, answered_at=now - days * day)
        from billing import decks
        from billing.rating import rated

        decks.slice_for_pending_calls(for_preview=True)
        asked = "SELECT id, outcome, reason, rate_id, price FROM rated ORDER BY id"
        with connection.cursor() as cursor:
            cursor.execute(f"WITH {rated('true')} {asked}")
            by_slices = cursor.fetchall()
            cursor.execute(f"WITH {rated('true', straight_from_rates=True)} {asked}")
            assert cursor.fetchall() == by_slices
        assert {row[1] for row in by_slices} == {"charge", "quarantine"}


class TestMending:
    def test_adds_a_rate_after_showing_which_calls_it_brings_back(self) -> None:
        call = without_a_rate()
        client = staff("billing")
        url = f"{reverse('admin:work_add_rate')}?call={row_of(call).pk}&deck=standard&prefix=46"
        said = {"deck": "standard", "prefix": "+46", "price_per_minute": "0.12", "connect_fee": "0",
                "minimum_charge": "0", "first_increment": "1", "increment": "1"}  # fmt: skip
        shown = client.post(url, {**hidden(client.get(url)), **said})
        assert "charged 0.12 GBP" in shown.content.decode()
        assert not Rate.objects.filter(prefix="46").exists(), "a preview writes nothing"
        for _ in range(2):
            done = client.post(url, {**hidden(shown), **said})
            assert done.status_code == 302
        assert Rate.objects.filter(prefix="46").count() == 1
        assert AuditEntry.objects.get().summary == "The deck standard has a rate for 46 now: 0.12 GBP a minute."

    def test_tells_what_the_database_refuses_at_the_form(self) -> None:
        call = without_a_rate()
        make_rate(deck=call.customer.rate_deck, prefix="46")
        url = reverse("admin:work_add_rate")
        said = {"deck": "standard", "prefix": "46", "price_per_minute": "1", "connect_fee": "0",
                "minimum_charge": "0", "first_increment": "1", "increment": "1"}  # fmt: skip
        answer = send_after_preview(staff("billing"), url, **said)
        assert "Another rate of this prefix holds" in answer.content.decode()
        assert not AuditEntry.objects.exists()

    def test_adds_an_identity_to_the_customer_of_an_account(self) -> None:
        switch = make_source(name="pbx-south")
        call = make_call(customer=None, from_peer="301", from_number="", source=switch)
        row = make_quarantined_call(call, reason="no_customer", customer=None)
        customer = make_customer(account="A-7", name="Rossi Ceramics", rate_deck=make_rate().deck)
        client = staff("billing")
        mend = client.get(reverse("admin:work_call", args=[row.pk])).content.decode()
        url = re.search(r'href="([^"]*add-identity[^"]*)"', mend)[1].replace("&amp;", "&")
        assert "kind=peer&value=301&source=pbx-south" in url
        said = {"account": "Rossi", "kind": "peer", "value": "301", "source": "pbx-south"}
        shown = client.post(url, {**hidden(client.get(url)), **said})
        assert "charged 0.03 GBP" in shown.content.decode()
        assert client.post(url, {**hidden(shown), **said}).status_code == 302
        identity = CallIdentity.objects.get(kind="peer")
        assert (identity.customer, identity.value, identity.source) == (customer, "301", switch)

    def test_asks_which_customer_where_several_are_called_so(self) -> None:
        make_customer(account="A-1", name="Rossi Ceramics")
        make_customer(account="A-2", name="Rossi Books")
        said = {"account": "rossi", "kind": "code", "value": "X"}
        answer = send(staff("billing"), reverse("admin:work_add_identity"), **said).content.decode()
        assert "Which? A-1 (Rossi Ceramics), A-2 (Rossi Books)" in answer


class TestReleasing:
    def ready(self) -> tuple[CallRecord, CallRecord]:
        """Two calls that contradicted themselves, and would be charged were they released."""
        customer = make_customer(rate_deck=make_rate().deck)
        calls = [make_call(customer=customer), make_call(customer=customer)]
        for call in calls:
            make_quarantined_call(call, reason="contradictory")
        return calls[0], calls[1]

    def test_previews_and_releases_what_was_chosen(self) -> None:
        one, other = self.ready()
        url = f"{reverse('admin:work_release')}?id={row_of(one).pk}"
        client = staff("billing")
        assert "charged 0.03 GBP" in client.get(url).content.decode()
        assert send(client, url, reason="Compared with the switch.").status_code == 302
        assert (row_of(one).state, row_of(other).state) == ("released", "waiting")
        assert AuditEntry.objects.get().name == key_of(one)

    def test_releases_everything_that_matches_once(self) -> None:
        self.ready()
        without_a_rate(customer=make_customer(rate_deck=make_deck(name="empty")))
        url = f"{reverse('admin:work_release')}?reason=contradictory"
        client = staff("billing")
        form = {**hidden(client.get(url)), "reason": "The switch's clock was right."}
        client.post(url, form)
        again = client.post(url, form, follow=True)
        assert "This was done already" in again.content.decode()
        assert QuarantinedCall.objects.filter(state="released").count() == 2
        assert AuditEntry.objects.count() == 1

    def test_shows_anew_what_somebody_else_has_changed_meanwhile(self) -> None:
        one, _ = self.ready()
        url = f"{reverse('admin:work_release')}?reason=contradictory"
        ann, ben = staff("billing"), staff("billing")
        seen = hidden(ann.get(url))
        send(ben, f"{reverse('admin:work_dismiss')}?id={row_of(one).pk}", reason="A test call.")
        answer = ann.post(url, {**seen, "reason": "As it stands."}).content.decode()
        assert "Nothing was done yet" in answer
        assert not QuarantinedCall.objects.filter(state="released").exists()

    def test_needs_a_reason(self) -> None:
        self.ready()
        answer = send(staff("billing"), f"{reverse('admin:work_release')}?reason=contradictory", reason=" ")
        assert "This field is required" in answer.content.decode()
        assert not QuarantinedCall.objects.filter(state="released").exists()

    def test_refuses_what_names_nobody(self) -> None:
        make_quarantined_call(make_call(customer=None, from_number=""), reason="no_customer", customer=None)
        page = staff("billing").get(f"{reverse('admin:work_release')}?reason=no_customer").content.decode()
        assert "None of them can be released" in page
        assert 'name="once"' not in page

    def test_stops_at_so_many_and_says_how_many_are_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready()
        monkeypatch.setattr("ivy.staff.work.quarantine.AT_A_TIME", 1)
        url = f"{reverse('admin:work_release')}?reason=contradictory"
        client = staff("billing")
        assert "1 are left for another time" in client.get(url).content.decode()
        send(client, url, reason="As it stands.")
        assert QuarantinedCall.objects.filter(state="released").count() == 1


class TestDismissing:
    def test_puts_away_for_good_under_a_name_with_a_reason(self) -> None:
        call = without_a_rate()
        url = f"{reverse('admin:work_dismiss')}?reason=no_rate"
        client = staff("billing")
        form = {**hidden(client.get(url)), "reason": "Tests of the installer."}
        for _ in range(2):
            client.post(url, form)
        row = row_of(call)
        assert (row.state, row.dismissed_because) == ("dismissed", "Tests of the installer.")
        assert row.dismissed_by == AuditEntry.objects.get().by


class TestWhoMay:
    @pytest.mark.parametrize("name", ["work_release", "work_dismiss", "work_add_rate", "work_add_identity"])
    @pytest.mark.parametrize("role", ["support", "operator"])
    def test_mend_and_decide_is_for_billing(self, name: str, role: str) -> None:
        call = without_a_rate()
        client = staff(role)
        url = f"{reverse(f'admin:{name}')}?id={row_of(call).pk}"
        for answer in (client.get(url), client.post(url, {"reason": "x", "once": "x"})):
            assert answer.status_code == 403
            assert "Nothing was changed" in answer.content.decode()
        assert row_of(call).state == "waiting"

    def test_look_is_for_all(self) -> None:
        row = row_of(without_a_rate())
        for role in roles.INCLUDES:
            client = staff(role)
            pages = [reverse("admin:work_quarantine"), reverse("admin:work_calls")]
            for url in (*pages, reverse("admin:work_call", args=[row.pk])):
                assert client.get(url).status_code == 200

    def test_strangers_are_sent_to_log_in(self) -> None:
        assert Client().get(reverse("admin:work_quarantine")).status_code == 302


@pytest.mark.django_db(transaction=True)
class TestAMendedCall:
    def test_comes_back_by_itself_and_is_billed_by_the_next_run(self) -> None:
        call = without_a_rate()
        assert isinstance(call.customer, Customer)
        make_identity(customer=call.customer)
        run_cycle(by="test", at=timezone.now())
        said = {"deck": "standard", "prefix": "46", "price_per_minute": "0.12", "connect_fee": "0",
                "minimum_charge": "0", "first_increment": "1", "increment": "1"}  # fmt: skip
        send_after_preview(staff("billing"), reverse("admin:work_add_rate"), **said)
        assert run_cycle(by="test", at=timezone.now()).calls_billed == 1
        assert LedgerEntry.objects.get(key=key_of(call)).amount == Decimal("-0.12")


class TestSelections:
    def test_say_in_words_what_they_mean(self) -> None:
        said = Selection(reasons=("no_rate",), source="pbx", deck="standard", begins="46")
        assert said.words == "no rate, from pbx, in the deck standard, to numbers that begin with 46"
        assert Selection().words == "everything"
