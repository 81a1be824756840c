"""Items: what they will charge is shown before they are saved or changed, and refused where the rules refuse."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.cycle import run_cycle
from billing.models import BillingItem, ItemKind, LedgerEntry
from billing.periods import Kind
from billing.upcoming import next_charges
from ivy.models import AuditEntry
from tests.factories import MARCH_END, make_customer, make_entry, make_item, make_pause, make_period, make_price_change
from tests.staff.working import hidden, send, send_after_preview, staff

pytestmark = pytest.mark.django_db


def monthly(**said: Any) -> dict[str, str]:
    """A new item as the form is filled in."""
    return {
        "account": "A-1", "reference": "trunk-1", "description": "SIP trunk", "kind": "recurring", "amount": "31.00",
        "quantity": "1", "interval": "month", "interval_count": "1", "bill_cycle_day": "1", "timing": "advance",
        "proration": "days", "starts_on": "2026-12-22", "ends_on": "", **said,
    }  # fmt: skip


class TestNextCharges:
    @pytest.mark.django_db(transaction=True)
    def test_are_what_runs_will_charge(self) -> None:
        item = make_item(starts_on=date(2026, 1, 20), bill_cycle_day=31, ends_on=date(2026, 12, 15))
        make_price_change(item=item, from_date=date(2026, 6, 1))
        make_pause(item=item, starts_on=date(2026, 8, 10), ends_on=date(2026, 9, 5))
        told = [(one.period, one.amount) for one in next_charges(item, 50)]
        run_cycle(by="test", at=datetime(2027, 1, 1, tzinfo=UTC))
        charged = [
            (one.start_on, one.end_on, one.kind, one.days, one.whole_days) for one in item.periods.order_by("start_on")
        ]
        assert [(one.start, one.end, one.kind, one.charged_days, one.whole_days) for one, _ in told] == charged
        posted = LedgerEntry.objects.filter(kind="recurring").order_by("period_start").values_list("amount", flat=True)
        assert [-amount for _, amount in told] == list(posted)
        assert {period.kind for period, _ in told} >= {Kind.LEADING_STUB, Kind.WHOLE, Kind.PART, Kind.TRAILING_STUB}

    def test_of_what_is_charged_once_are_one_or_none(self) -> None:
        item = make_item(kind=ItemKind.ONE_OFF)
        assert [one.amount for one in next_charges(item)] == [Decimal(10)]
        BillingItem.objects.filter(pk=item.pk).update(charged_through=item.starts_on)
        item.refresh_from_db()
        assert next_charges(item) == []

    def test_begin_after_what_was_charged(self) -> None:
        item = make_item()
        make_period(item=item)
        assert next_charges(item, 1)[0].period.start == MARCH_END


class TestANewItem:
    URL = "admin:work_item_add"

    def test_shows_its_next_twelve_charges_before_it_is_saved(self) -> None:
        make_customer(account="A-1")
        client = staff("billing")
        shown = client.post(reverse(self.URL), {**hidden(client.get(reverse(self.URL))), **monthly()})
        page = shown.content.decode()
        assert "The next 12 charges" in page
        assert "2026-12-22 to 2026-12-31" in page
        assert "10 of 31" in page
        assert "10.00 GBP" in page
        assert not BillingItem.objects.exists()
        for _ in range(2):
            assert client.post(reverse(self.URL), {**hidden(shown), **monthly()}).status_code == 302
        item = BillingItem.objects.get()
        assert (item.customer.account, item.amount, item.next_due_on) == ("A-1", Decimal(31), date(2026, 12, 22))
        assert AuditEntry.objects.get().after["reference"] == "trunk-1"

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"bill_cycle_day": "32"}, "less than or equal to 31"),
            ({"ends_on": "2026-01-01"}, "before it starts"),
            ({"interval": "", "bill_cycle_day": ""}, "A recurring item needs an interval"),
            ({"interval": "week"}, "has no bill-cycle day"),
            ({"interval_count": "0"}, "at least 1"),
            ({"kind": "one_off"}, "a one-off item has none"),
            ({"quantity": "-1"}, "A quantity must not be negative"),
            ({"account": "A-2"}, "No customer has this account"),
            ({"reference": "trunk 1"}, "Use letters, digits"),
            ({"amount": "1.1234567"}, "no more than 6 decimal places"),
        ],
    )
    def test_is_refused_where_the_rules_refuse(self, wrong: dict[str, str], words: str) -> None:
        make_customer(account="A-1")
        answer = send_after_preview(staff("billing"), reverse(self.URL), **monthly(**wrong))
        assert words in answer.content.decode()
        assert not BillingItem.objects.exists()

    @pytest.mark.parametrize("role", ["support", "operator"])
    def test_is_for_billing(self, role: str) -> None:
        make_customer(account="A-1")
        item = make_item()
        client = staff(role)
        assert client.post(reverse(self.URL), monthly()).status_code == 403
        for name in ("edit", "amount", "pause", "resume", "end"):
            assert client.post(reverse(f"admin:work_item_{name}", args=[item.reference])).status_code == 403
        assert client.get(reverse("admin:work_item", args=[item.reference])).status_code == 200
        assert BillingItem.objects.count() == 1


class TestAnItemThatIsEdited:
    def test_may_change_in_everything_until_it_was_charged(self) -> None:
        item = make_item(customer=make_customer(account="A-1"))
        url = reverse("admin:work_item_edit", args=[item.reference])
        said = monthly(reference=item.reference, starts_on="2027-01-31", bill_cycle_day="")
        assert send_after_preview(staff("billing"), url, **said).status_code == 302
        item.refresh_from_db()
        assert (item.starts_on, item.amount) == (date(2027, 1, 31), Decimal(31))
        entry = AuditEntry.objects.get()
        assert (entry.before["starts_on"], entry.after["starts_on"]) == ("2026-03-01", "2027-01-31")

    def test_keeps_what_is_fixed_once_it_was_charged_whatever_is_sent(self) -> None:
        item = make_item(customer=make_customer(account="A-1"))
        make_period(item=item)
        url = reverse("admin:work_item_edit", args=[item.reference])
        said = monthly(reference="other", description="Trunk of the shop", starts_on="2020-01-01", amount="1")
        assert send_after_preview(staff("billing"), url, **said).status_code == 302
        item.refresh_from_db()
        assert (item.description, item.starts_on, item.amount) == ("Trunk of the shop", date(2026, 3, 1), Decimal(10))

    def test_is_shown_again_when_it_was_charged_meanwhile(self) -> None:
        item = make_item(customer=make_customer(account="A-1"))
        url = reverse("admin:work_item_edit", args=[item.reference])
        client, said = staff("billing"), monthly(reference=item.reference)
        shown = client.post(url, {**hidden(client.get(url)), **said})
        make_period(item=item)
        answer = client.post(url, {**hidden(shown), **said})
        assert "Nothing was done yet" in answer.content.decode()
        item.refresh_from_db()
        assert item.amount == Decimal(10)


class TestAChange:
    @pytest.fixture
    def item(self) -> BillingItem:
        """Ten a month; March was charged, and stands in the ledger."""
        item = make_item(reference="trunk-1", customer=make_customer(account="A-1"))
        period = make_period(item=item)
        make_entry(
            customer=item.customer, key=period.entry_key, kind="recurring", amount=Decimal(-10),
            period_start=period.start_on, period_end=period.end_on,
        )  # fmt: skip
        return item

    def change(self, client: Client, verb: str, **said: str) -> Any:
        return send_after_preview(client, reverse(f"admin:work_item_{verb}", args=["trunk-1"]), **said)

    def test_of_the_amount_holds_from_the_first_day_that_was_not_charged(self, item: BillingItem) -> None:
        client = staff("billing")
        url = reverse("admin:work_item_amount", args=["trunk-1"])
        said = {"amount": "12", "from_date": "2026-03-10", "reason": "New contract."}
        shown = client.post(url, {**hidden(client.get(url)), **said})
        assert "It would hold from <strong>2026-04-01</strong>" in shown.content.decode()
        assert "12.00 GBP" in shown.content.decode()
        assert not item.price_changes.exists()
        for _ in range(2):
            assert client.post(url, {**hidden(shown), **said}).status_code == 302
        assert item.price_changes.get().from_date == MARCH_END
        assert "it costs 12.00 GBP from 2026-04-01" in AuditEntry.objects.get().summary

    def test_pauses_and_resumes(self, item: BillingItem) -> None:
        client = staff("billing")
        assert self.change(client, "pause", from_date="2026-05-01", reason="Moves house.").status_code == 302
        assert self.change(client, "resume", from_date="2026-06-01", reason="Has moved.").status_code == 302
        assert item.pauses.get().ends_on == date(2026, 6, 1)
        page = client.get(reverse("admin:work_item", args=["trunk-1"])).content.decode()
        assert "from 2026-05-01 to 2026-05-31" in page
        assert "2026-05-01 to 2026-05-31</td>" not in page

    @pytest.mark.usefixtures("item")
    def test_ends_it_with_the_credit_that_was_shown(self) -> None:
        client = staff("billing")
        url = reverse("admin:work_item_end", args=["trunk-1"])
        said = {"on": "2026-03-16", "with_credit": "on", "reason": "Gave notice."}
        shown = client.post(url, {**hidden(client.get(url)), **said})
        assert "5.16 GBP would be given back" in shown.content.decode()
        assert not LedgerEntry.objects.filter(kind="credit").exists()
        for _ in range(2):
            assert client.post(url, {**hidden(shown), **said}).status_code == 302
        assert LedgerEntry.objects.get(kind="credit").amount == Decimal("5.16")
        assert AuditEntry.objects.get().after["credit"]["amount"] == "5.160000"

    @pytest.mark.usefixtures("item")
    @pytest.mark.parametrize(
        ("verb", "said", "words"),
        [
            ("end", {"on": "2026-01-01"}, "before it starts"),
            ("amount", {"amount": "9999999999999", "from_date": "2026-05-01"}, "12 digits before"),
            ("pause", {"from_date": ""}, "This field is required"),
            ("amount", {"amount": "12", "from_date": "2026-02-31"}, "Enter a valid date"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, verb: str, said: dict[str, str], words: str) -> None:
        answer = self.change(staff("billing"), verb, reason="A mistake.", **said)
        assert words in answer.content.decode()
        assert not AuditEntry.objects.exists()

    @pytest.mark.usefixtures("item")
    def test_needs_a_reason(self) -> None:
        answer = send(staff("billing"), reverse("admin:work_item_pause", args=["trunk-1"]), from_date="2026-05-01")
        assert "This field is required" in answer.content.decode()


class TestTheList:
    def test_finds_items_of_an_account_and_by_reference_and_asks_no_more_for_more(self) -> None:
        customer = make_customer(account="A-1")
        make_item(reference="trunk-1", customer=customer)
        client, counted = staff("support"), []
        for number in (range(2, 4), range(4, 12)):
            for one in number:
                make_item(reference=f"trunk-{one}", customer=customer)
            with CaptureQueriesContext(connection) as queries:
                for query in ("", "?q=A-1", "?account=A-1", "?q=trunk-1"):
                    assert "trunk-1" in client.get(reverse("admin:work_items") + query).content.decode()
                client.get(reverse("admin:work_item", args=["trunk-1"]))
            counted.append(len(queries))
        assert counted[0] == counted[1]
        assert "No item of this account" in client.get(reverse("admin:work_items"), {"q": "none"}).content.decode()
