"""Who changed what: kept by triggers, read newest first, and changed by nobody."""

from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import corrections, halting
from billing.acting import acting_as
from billing.models import Customer, Process, Rate
from ivy import incidents
from ivy.models import CHANGES, AuditEntry
from ivy.staff import changes, deeds
from notifications import reviewing
from notifications.models import State, Verb
from tests.factories import (
    make_alert,
    make_customer,
    make_entry,
    make_item,
    make_rate,
    make_rerating,
    make_reversal,
    make_superuser,
    make_user,
)
from tests.notifications.stories import make_mail
from tests.staff.forms import text_of

pytestmark = pytest.mark.django_db


def changed_fields(change: changes.Change) -> dict[str, tuple[str, str]]:
    return {one.name: (one.before, one.after) for one in change.differences}


def of_the_customer_itself(customer: Customer) -> list[changes.Change]:
    return [change for change in changes.of("billing.customer", customer.pk) if change.noun == "customer"]


class TestAChange:
    def test_past_every_form_is_kept_with_before_and_after(self) -> None:
        customer = make_customer(name="Quayside Café")
        Customer.objects.filter(pk=customer.pk).update(name="Quayside Bar")
        with connection.cursor() as cursor:
            cursor.execute("UPDATE billing_customer SET status = 'suspended' WHERE id = %s", [customer.pk])
        suspended, renamed, made = of_the_customer_itself(customer)
        assert changed_fields(suspended) == {"status": ("active", "suspended")}
        assert changed_fields(renamed) == {"name": ("Quayside Café", "Quayside Bar")}
        assert (made.verb, made.by) == ("made", "")

    def test_is_noted_under_the_name_of_who_makes_it_and_under_none_afterwards(self) -> None:
        customer = make_customer()
        for name in ("First", "Second"):
            with acting_as("ann@ivy.example", path="/admin/"):
                Customer.objects.filter(pk=customer.pk).update(name=name)
        Customer.objects.filter(pk=customer.pk).update(name="Third")
        by = [change.by for change in of_the_customer_itself(customer)]
        assert by == ["", "ann@ivy.example", "ann@ivy.example", ""]
        assert len(deeds.by_person("ann@ivy.example")) == 2

    def test_by_a_command_names_the_person_at_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        item = make_item(starts_on="2026-01-01", amount=Decimal(10))
        call_command("change_item", item.reference, "--amount", "12", "--from", "2027-01-01")
        capsys.readouterr()
        newest = changes.of("billing.billingitem", item.pk)[0]
        assert newest.noun == "item price change"
        assert newest.by.endswith("(command line)")
        assert newest.way == "change_item"

    def test_of_many_rows_at_once_is_kept_for_each(self) -> None:
        rate = make_rate(prefix="44")
        Rate.objects.bulk_create(
            Rate(deck=rate.deck, prefix=f"44{number}", price_per_minute=Decimal("0.1")) for number in range(50)
        )
        assert CHANGES["billing.rate"].objects.count() == 51

    def test_of_what_belongs_to_a_customer_is_told_with_it(self) -> None:
        customer = make_customer()
        alert = make_alert(customer=customer, threshold=Decimal(10))
        type(alert).objects.filter(pk=alert.pk).update(threshold=Decimal(25))
        newest = changes.of("billing.customer", customer.pk)[0]
        assert changed_fields(newest)["threshold"] == ("10.000000", "25.000000")

    def test_of_what_a_billing_run_moves_is_none(self) -> None:
        item = make_item()
        type(item).objects.filter(pk=item.pk).update(next_due_on="2026-12-01")
        assert [change.verb for change in changes.of("billing.billingitem", item.pk)] == ["made"]

    @pytest.mark.parametrize("table", sorted(table._meta.db_table for table in CHANGES.values()))
    @pytest.mark.parametrize("attempt", ["UPDATE {} SET pgh_label = 'x'", "DELETE FROM {}"])
    def test_that_was_kept_is_never_changed(self, table: str, attempt: str) -> None:
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(attempt.format(table))

    def test_of_a_person_keeps_no_password(self) -> None:
        make_user()
        assert "password" not in {field.name for field in CHANGES["accounts.user"]._meta.get_fields()}


BOB = "bob.evening@ivy.example"
NO_MAIL_CAME = "Customers on the phone say no mail came."


def a_night_of_bob() -> Customer:
    """He sends two mails again, adjusts a balance and halts notifications, all by command: no page notes it."""
    first, second = (make_mail(State.UNCERTAIN) for _ in range(2))
    reviewing.review(Verb.RESEND, [first.key, second.key], reason=NO_MAIL_CAME, by=BOB)
    corrections.adjust(
        first.customer.account,
        Decimal("-118.5"),
        reference="t-9",
        reason="Charged too low",
        by=BOB,
        at=timezone.now(),
    )
    halting.halt(Process.NOTIFICATIONS, reason="Two mails each", by=BOB)
    return first.customer


class TestWhatAPersonDid:
    def test_has_orders_corrections_and_switches_whichever_way_they_were_given(self) -> None:
        customer = a_night_of_bob()
        told = [(change.sentence, change.reason) for change in deeds.by_person(BOB)]
        assert told == [
            ("Notifications of everyone were halted.", "Two mails each"),
            (f"Adjustment of {customer.account}, -118.50 GBP: Adjustment t-9.", "Charged too low"),
            ("2 mails were sent again, perhaps a second time.", NO_MAIL_CAME),
        ]

    def test_leads_to_what_it_is_about(self, client: Client) -> None:
        a_night_of_bob()
        client.force_login(make_superuser())
        page = client.get("/admin/changes/", {"by": BOB})
        assert NO_MAIL_CAME in text_of(page)
        for change in deeds.by_person(BOB):
            assert client.get(change.url).status_code == 200, change.words

    def test_is_told_once_where_the_audit_trail_tells_it_too(self) -> None:
        customer = a_night_of_bob()
        act = {"by": BOB, "noun": "process", "name": "notifications", "summary": "Halted.", "verb": "halt"}
        AuditEntry.objects.create(**act, reason="Two mails each")
        key = f"adjustment:{customer.account}:t-9"
        AuditEntry.objects.create(**act | {"summary": "Adjusted.", "verb": "adjust"}, after={"entry": key})
        told = [change.sentence for change in deeds.by_person(BOB)]
        assert told == ["Adjusted.", "Halted.", "2 mails were sent again, perhaps a second time."]

    def test_has_what_they_told_of_an_incident_whatever_else_they_did_in_that_minute(self) -> None:
        AuditEntry.objects.create(by=BOB, verb="note", noun="customer", name="A-1", summary="A note was kept.")
        told = incidents.open_incident("Mails twice", affects=["notifications"], text="We look into it.", by=BOB)
        newest = deeds.by_person(BOB)[0]
        assert (newest.noun, newest.name) == ("incident", "“Mails twice”")
        assert newest.sentence == f"{told.incident.get_state_display().capitalize()}: We look into it."

    def test_counts_a_re_rating_of_many_calls_as_one(self) -> None:
        customer = make_customer()
        rerating = make_rerating(entered_by=BOB, reason="wrong prices", reversed_count=3, charged_count=3)
        for _ in range(3):
            make_reversal(make_entry(customer=customer), entered_by=BOB, rerating_id=rerating.pk)
        for told in (
            deeds.by_person(BOB),
            deeds.about_customer(customer, shown=10, mails=True, ledger=True),
        ):
            assert [(change.noun, change.reason) for change in told] == [("re-rating", "wrong prices")]

    def test_is_found_by_indexes(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
            cursor.execute(
                "EXPLAIN SELECT * FROM billing_ledgerentry WHERE NOT entered_by = '' AND entered_by = 'x'"
                " AND rerating_id IS NULL ORDER BY id DESC LIMIT 200"
            )
            assert "entries_by_person" in str(cursor.fetchall())

    def test_takes_as_many_queries_however_much_it_is(self) -> None:
        a_night_of_bob()
        with CaptureQueriesContext(connection) as once:
            deeds.by_person(BOB)
        for verb in (halting.resume, halting.halt):
            verb(Process.NOTIFICATIONS, reason="again", by=BOB)
        make_reversal(make_entry(), entered_by=BOB)
        with CaptureQueriesContext(connection) as again:
            assert len(deeds.by_person(BOB)) == 6
        assert len(again) == len(once) <= 30


class TestThePages:
    def test_tell_of_a_customer_what_was_sent_through_a_form(self, client: Client) -> None:
        boss, customer = make_superuser(), make_customer(account="A-77")
        client.force_login(boss)
        with acting_as(boss.email):
            Customer.objects.filter(pk=customer.pk).update(name="Renamed")
        page = client.get(f"/admin/billing/customer/{customer.pk}/history/").content.decode()
        assert "A-77: changed" in page
        assert "Renamed" in page
        assert boss.email in page

    def test_tell_what_a_person_did(self, client: Client) -> None:
        client.force_login(make_superuser())
        with acting_as("ben@ivy.example"):
            make_customer(account="A-78")
        page = client.get("/admin/changes/", {"by": "ben@ivy.example"}).content.decode()
        assert "customer A-78: made" in page
        assert (
            "Nothing is noted under this name"
            in client.get("/admin/changes/", {"by": "nobody@ivy.example"}).content.decode()
        )

    def test_are_closed_to_those_who_may_not_look(self, client: Client) -> None:
        client.force_login(make_user(is_staff=True))
        assert client.get(f"/admin/billing/customer/{make_customer().pk}/history/").status_code == 403
        assert client.get("/admin/changes/").status_code == 403

    @pytest.mark.parametrize("address", ["billing/customer/0", "billing/customer/x", "billing/nothing/1"])
    def test_of_what_is_not_there_are_not_there(self, client: Client, address: str) -> None:
        client.force_login(make_superuser())
        assert client.get(f"/admin/{address}/history/").status_code == 404

    def test_take_few_queries_however_much_was_changed(self, client: Client, django_assert_max_num_queries) -> None:
        client.force_login(make_superuser())
        customer = make_customer()
        for number in range(60):
            Customer.objects.filter(pk=customer.pk).update(name=f"Name {number}")
        with django_assert_max_num_queries(25):
            client.get(f"/admin/billing/customer/{customer.pk}/history/")
