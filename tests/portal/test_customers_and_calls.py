"""What a partner finds of its customers and their calls, and that it is the same everywhere."""

import csv
import io
import xml.etree.ElementTree as ET
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing.corrections import reverse as take_back
from ivy.portal import calls, customers
from ivy.portal.asked import CallsForm, place
from ivy.portal.scope import Scope, of_user
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _log_ins_come_from_nowhere(settings) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def scope() -> Scope:
    found = of_user(factories.make_portal_user().user)
    assert found is not None
    return found


@pytest.fixture
def at(scope: Scope) -> Client:
    client = Client()
    client.force_login(scope.user)
    return client


def customer_of(scope: Scope, **fields):
    return factories.make_customer(partner=scope.partner, **fields)


def billed_call(customer, *, price: str = "-0.03", minutes_ago: int = 60, **fields):
    began = timezone.now() - timedelta(minutes=minutes_ago)
    call = factories.make_call(customer=customer, started_at=began, **fields)
    factories.make_call_charge(call, amount=Decimal(price))
    return call


def week(**wishes) -> calls.Asked:
    now = timezone.now()
    return calls.Asked(since=now - timedelta(days=7), until=now, **wishes)


def lines(answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


class TestTheListOfCustomers:
    def test_finds_by_account_name_and_address_in_any_case(self, scope: Scope) -> None:
        found = customer_of(scope, account="Q-77", name="Corner Café", email="till@corner.example")
        customer_of(scope, account="Z-1", name="Elsewhere", email="x@elsewhere.example")
        for text in ("Q-7", "corner c", "TILL@"):
            assert [one.pk for one in customers.listing(scope, text=text)] == [found.pk]

    def test_tells_who_is_low_used_up_and_closed(self, scope: Scope) -> None:
        low = customer_of(scope, account="A", balance=5)
        factories.make_alert(customer=low, threshold=Decimal(10))
        customer_of(scope, account="B", balance=-1)
        customer_of(scope, account="C", balance=5, credit_limit=Decimal(10))
        closed = customer_of(scope, account="D", balance=-5)
        type(closed).objects.filter(pk=closed.pk).update(status="closed", closed_at=timezone.now())
        states = {one.account: one.state for one in customers.listing(scope)}
        assert states == {"A": "low", "B": "exhausted", "C": "fine", "D": "closed"}
        assert [one.account for one in customers.listing(scope, state="low")] == ["A"]

    @pytest.mark.parametrize(
        ("balance", "status", "days"),
        [(30, "active", 27), (0, "active", 0), (-1, "suspended", 0), (-1, "closed", None), (30, "closed", None)],
    )
    def test_tells_how_long_a_balance_lasts(self, scope: Scope, at: Client, balance: int, status: str, days) -> None:
        customer = customer_of(scope, account="A", balance=balance + 14)
        call = factories.make_call(customer=customer, started_at=timezone.now() - timedelta(days=13))
        factories.make_call_charge(call, amount=Decimal(-14))
        closed_at = timezone.now() if status == "closed" else None
        type(customer).objects.filter(pk=customer.pk).update(status=status, closed_at=closed_at)
        (row,) = customers.rows(list(customers.listing(scope)), at=timezone.now())
        assert row.days_left == days
        assert ("Lasts" in at.get(reverse("portal:customer", args=["A"])).content.decode()) == (status != "closed")

    def test_sorts_by_balance(self, scope: Scope) -> None:
        for account, balance in (("A", 3), ("B", -4), ("C", 9)):
            customer_of(scope, account=account, balance=balance)
        assert [one.account for one in customers.listing(scope, order="least")] == ["B", "A", "C"]
        assert [one.account for one in customers.listing(scope, order="nonsense")] == ["A", "B", "C"]

    def test_takes_as_many_queries_for_many_as_for_one(
        self, scope: Scope, at: Client, django_assert_num_queries
    ) -> None:
        customer_of(scope)
        url = reverse("portal:customers")
        at.get(url)
        with CaptureQueriesContext(connection) as few:
            at.get(url)
        for _ in range(30):
            customer_of(scope, balance=3)
        with django_assert_num_queries(len(few)):
            at.get(url)

    def test_is_a_file_without_formulas_too(self, scope: Scope, at: Client) -> None:
        customer_of(scope, account="A", name="=HYPERLINK(1)", balance=Decimal("12.50"))
        (line,) = lines(at.get(reverse("portal:customers_file")))
        assert line["name"] == "'=HYPERLINK(1)"
        assert Decimal(line["balance"]) == Decimal("12.5")

    @pytest.mark.parametrize("nonsense", [{"state": "rich"}, {"order": "password"}, {"q": "x" * 101}])
    def test_is_no_file_of_all_where_the_question_makes_no_sense(self, scope: Scope, at: Client, nonsense) -> None:
        customer_of(scope, account="A-1")
        answer = at.get(reverse("portal:customers_file"), nonsense)
        assert answer.status_code == 400
        assert "A-1" not in answer.content.decode()


class TestACustomer:
    def test_is_told_on_one_page(self, scope: Scope, at: Client) -> None:
        customer = customer_of(scope, account="A-1", name="<b>Bold</b> & Sons", balance=40)
        factories.make_item(customer=customer, description="Trunk of ten lines")
        page = at.get(reverse("portal:customer", args=["A-1"])).content.decode()
        assert "&lt;b&gt;Bold&lt;/b&gt; &amp; Sons" in page
        assert "Trunk of ten lines" in page
        assert "<svg" in page

    def test_has_a_picture_of_its_balance_with_a_step_for_each_day_and_today(self, scope: Scope) -> None:
        customer_of(scope, account="A-1", balance=40)
        chart = customers.look_at(scope, "A-1", at=timezone.now()).chart
        assert chart.columns == ["Day", "Balance"]
        assert len(chart.rows) == 90
        assert chart.ends == (chart.rows[0][0], chart.rows[-1][0])
        assert chart.rows[-1][1] == "£40.00"
        line = next(one for one in ET.fromstring(chart.svg).iter("polyline"))
        assert line.get("points", "").split()[-2].startswith("988.9,")

    def test_has_a_ledger_whose_balances_run_to_todays_through_all_pages(self, scope: Scope, monkeypatch) -> None:
        monkeypatch.setattr(customers, "A_PAGE", 4)
        customer = customer_of(scope, balance=100)
        for number in range(9):
            factories.make_entry(customer=customer, key=f"payment:bank:{number}", amount=Decimal(number + 1))
        seen, before = [], None
        while True:
            page, more = customers.ledger(scope, scope.customer(customer.account), before=before)
            seen += page
            if not more:
                break
            before = page[-1].entry.pk
        assert len({line.entry.key for line in seen}) == len(seen) == 10
        assert seen[0].balance == scope.customer(customer.account).balance_row.balance == 145
        for newer, older in pairwise(seen):
            assert newer.balance - newer.entry.amount == older.balance
        assert seen[-1].balance == seen[-1].entry.amount

    def test_has_a_ledger_whose_balances_are_of_one_moment_whoever_posts_meanwhile(self, scope: Scope) -> None:
        customer = scope.customer(customer_of(scope, balance=100).account)
        factories.make_entry(customer=customer, key="payment:bank:1", amount=Decimal(5))
        (newest, oldest), _ = customers.ledger(scope, customer)
        assert (newest.balance, oldest.balance) == (105, 100)
        (below,), _ = customers.ledger(scope, customer, before=newest.entry.pk)
        assert below.balance == 100

    def test_has_a_ledger_file_with_every_entry(self, scope: Scope, at: Client) -> None:
        customer = customer_of(scope, account="A-1", balance=7)
        factories.make_entry(customer=customer, key="payment:bank:1", amount=Decimal("3.25"))
        listed = lines(at.get(reverse("portal:ledger_file", args=["A-1"])))
        assert sum(Decimal(line["amount"]) for line in listed) == Decimal("10.25")


class TestCalls:
    def test_are_there_once_they_are_billed(self, scope: Scope) -> None:
        customer = customer_of(scope)
        pending = factories.make_call(customer=customer, started_at=timezone.now() - timedelta(hours=2))
        billed = billed_call(customer)
        found, more = calls.page(scope, week())
        assert [call.key for call in found] == [factories.key_of(billed)]
        assert not more
        factories.make_free_call(pending)
        assert [call.free_because for call in calls.page(scope, week())[0]] == ["", "not_answered"]

    def test_are_found_behind_days_of_a_halt(self, scope: Scope) -> None:
        customer = customer_of(scope)
        billed = billed_call(customer, minutes_ago=5 * 24 * 60)
        for number in range(3):
            factories.make_call(customer=customer, started_at=timezone.now() - timedelta(hours=number))
        assert [call.key for call in calls.page(scope, week())[0]] == [factories.key_of(billed)]

    def test_come_page_by_page_each_once(self, scope: Scope, monkeypatch) -> None:
        monkeypatch.setattr(calls, "A_PAGE", 3)
        customer = customer_of(scope)
        for number in range(8):
            billed_call(customer, minutes_ago=30 + 600 * (number // 2))  # two begin at about the same time
        seen, after = [], None
        while True:
            page, more = calls.page(scope, week(), after=after)
            seen += page
            if not more:
                break
            after = place(page[-1].place)
        assert len(seen) == len({call.key for call in seen}) == 8
        assert [call.started_at for call in seen] == sorted((call.started_at for call in seen), reverse=True)

    @pytest.mark.parametrize(
        ("wishes", "fits"),
        [
            ({"number": "7700900"}, True),
            ({"number": "4412"}, False),
            ({"direction": "outbound"}, True),
            ({"direction": "inbound"}, False),
            ({"at_least": Decimal("0.03"), "at_most": Decimal("0.03")}, True),
            ({"at_least": Decimal("0.04")}, False),
            ({"account": "A-1"}, True),
            ({"account": "A-2"}, False),
        ],
    )
    def test_are_found_by_what_is_asked(self, scope: Scope, wishes, fits: bool) -> None:
        billed_call(customer_of(scope, account="A-1"), to_number="447700900123", from_number="442079460000")
        assert bool(calls.page(scope, week(**wishes))[0]) == fits
        assert bool(calls.totals(scope, week(**wishes))) == fits

    def test_cost_what_they_cost_after_a_correction(self, scope: Scope) -> None:
        call = billed_call(customer_of(scope), price="-0.50")
        take_back(factories.key_of(call), reason="Wrong rate", by="ann@ivy.example")
        (found,) = calls.page(scope, week())[0]
        assert (found.price, found.is_corrected) == (0, True)
        assert calls.totals(scope, week())[0].amount == 0

    def test_sum_up_to_the_same_on_the_page_and_in_the_file(self, scope: Scope, at: Client) -> None:
        customer = customer_of(scope)
        for price in ("-0.0301", "-1.25", "-0.7"):
            billed_call(customer, price=price)
        total = calls.totals(scope, week())[0]
        listed = lines(at.get(reverse("portal:calls_file")))
        assert total.amount == sum(Decimal(line["price"]) for line in listed) == Decimal("1.9801")
        assert total.count == len(listed) == 3

    def test_are_explained(self, scope: Scope, at: Client) -> None:
        rate = factories.make_rate()
        call = billed_call(customer_of(scope))
        del rate
        page = at.get(reverse("portal:explain"), {"key": factories.key_of(call)}).content.decode()
        assert factories.key_of(call) in page
        assert at.get(reverse("portal:explain"), {"key": "call:pbx-north:none"}).status_code == 404

    def test_that_were_taken_back_say_why_and_name_nobody(self, scope: Scope, at: Client) -> None:
        key = factories.key_of(billed_call(customer_of(scope)))
        take_back(key, reason="The line was dead.", by="astrid@ivy.example")
        for one in (key, f"reversal:{key}"):
            page = at.get(reverse("portal:explain"), {"key": one}).content.decode()
            assert "The line was dead." in page
            assert "Staff " in page
            assert "astrid" not in page

    @pytest.mark.parametrize(
        ("query", "told"),
        [
            ({"since": "2026-01-01", "until": "2026-03-01"}, "at most 31 days"),
            ({"since": "2026-03-02", "until": "2026-03-01"}, "behind the last day"),
            ({"since": "0001-01-01", "until": "0001-01-02"}, "no calls then"),
            ({"until": "0001-01-01"}, "no calls then"),
            ({"until": "9999-12-31"}, "no calls then"),
            ({"number": "1"}, "at least three digits"),
            ({"since": "tomorrow"}, "valid date"),
        ],
    )
    def test_that_are_asked_for_without_sense_are_told_so(self, at: Client, query, told: str) -> None:
        for name in ("portal:calls", "portal:calls_file"):
            answer = at.get(reverse(name), query)
            assert told in answer.content.decode()

    @pytest.mark.parametrize(
        "after",
        ["", "x", "2026-01-01", "2026-01-01T00:00:00+00:00_x", "_1", "2026-01-01_99999",
         "9999-12-31T23:59:59.999999+00:00_1", "0001-01-01T00:00:00+14:00_1"],
    )  # fmt: skip
    def test_go_on_from_the_first_where_the_place_makes_no_sense(self, at: Client, after: str) -> None:
        assert place(after) is None
        assert at.get(reverse("portal:calls"), {"after": after}).status_code == 200

    def test_go_on_from_a_place_in_whatever_zone_it_is_written(self, at: Client) -> None:
        assert at.get(reverse("portal:calls"), {"after": "2026-01-01T00:00:00+23:59_1"}).status_code == 200

    def test_are_asked_for_by_the_days_of_the_reader(self) -> None:
        with timezone.override("Pacific/Auckland"):
            form = CallsForm({"since": "2026-03-01", "until": "2026-03-01"})
            assert form.is_valid()
            assert form.asked.since.isoformat() == "2026-03-01T00:00:00+13:00"
            assert form.asked.until - form.asked.since == timedelta(days=1)
