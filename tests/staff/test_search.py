"""One box finds by whatever somebody has in hand; what a person may not look at is not found."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Customer, IdentityKind
from billing.payments import take_payment
from ivy.staff.customers import finding
from notifications.models import NotificationLog, StaffOrder, Verb
from tests.factories import (
    MORNING,
    make_alert,
    make_call,
    make_customer,
    make_free_call,
    make_identity,
    make_item,
    make_quarantined_call,
    make_recipient,
    make_source,
)
from tests.notifications.stories import make_fallen, owe
from tests.staff.forms import browser_of, member, text_of

pytestmark = pytest.mark.django_db

SEARCH = "admin:search"


@pytest.fixture(autouse=True)
def no_lockout(settings: Any) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def okafor() -> Customer:
    return make_customer(account="LD-1007", name="Okafor Bakery & Sons", email="Accounts@Okafor.example")


@pytest.fixture
def support() -> Client:
    return browser_of(member("support"))


def search(browser: Client, term: str, **more: str) -> Any:
    return browser.get(f"{reverse(SEARCH)}?{urlencode({'q': term, **more})}")


def page_of(customer: Customer, term: str) -> str:
    return f"{reverse('admin:customer', args=[customer.account])}?{urlencode({'searched': term})}"


def plan_of(query: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {query}")
        return "\n".join(row[0] for row in cursor.fetchall())


class TestTheBox:
    @pytest.mark.parametrize(
        "term",
        ["LD-1007", " LD-1007 ", "okafor bakery & sons", "accounts@okafor.example", "ACCOUNTS@okafor.example"],
    )
    def test_leads_straight_to_the_customer_whose_name_it_is(
        self, term: str, support: Client, okafor: Customer
    ) -> None:
        make_customer(account="LD-10071", name="Okafor Bakeries", email="accounts@okafor.example.net")
        assert search(support, term).url == page_of(okafor, term.strip())

    @pytest.mark.parametrize(
        "written",
        [
            "+49 30 901820",
            "+49 (0)30 90 18-20",
            "0049 30 901820",
            "004930901820",
            "4930901820",
            "030 901820",
            "030/901820",
        ],
    )
    def test_finds_a_phone_number_however_it_is_written(self, written: str, support: Client, okafor: Customer) -> None:
        make_source(name="pbx-berlin", region="DE")
        make_source(name="pbx-plain")
        make_identity(customer=okafor, value="4930901820")
        assert search(support, written).url == page_of(okafor, written)

    def test_shows_what_begins_with_it_and_marks_what_is_it(self, support: Client, okafor: Customer) -> None:
        make_customer(account="LD-10071", name="Van den Berg Cycles")
        told = text_of(search(support, "LD-1007", all="1"))
        assert "LD-1007 · Okafor Bakery & Sons customer of Harbour exactly" in told
        assert "LD-10071 · Van den Berg Cycles customer of Harbour" in told

    @pytest.mark.parametrize("term", ["bak", "oka bak", "son", "Accounts@oka"])
    def test_finds_by_beginnings_of_words_and_addresses(self, term: str, support: Client, okafor: Customer) -> None:
        assert "LD-1007 · Okafor Bakery" in text_of(search(support, term))

    def test_finds_by_the_address_that_an_alert_goes_to(self, support: Client, okafor: Customer) -> None:
        make_recipient(alert=make_alert(customer=okafor), email="boss@okafor.example")
        told = text_of(search(support, "boss@ok"))
        assert "LD-1007 · Okafor Bakery & Sons customer of Harbour · mails to boss@okafor.example" in told

    def test_finds_peers_and_codes(self, support: Client, okafor: Customer) -> None:
        make_identity(customer=okafor, kind=IdentityKind.PEER, value="301@pbx-north")
        assert search(support, "301@pbx-north").url == page_of(okafor, "301@pbx-north")

    def test_leads_from_the_id_of_a_call_to_what_became_of_it(self, support: Client) -> None:
        call = make_call(call_id="1790672989.826#276")
        key = {"key": "call:pbx-north:1790672989.826%23276", "searched": call.call_id}
        assert search(support, call.call_id).url == f"{reverse('admin:explain')}?{urlencode(key)}"

    def test_leads_from_keys_and_references_to_the_entry(self, support: Client, okafor: Customer) -> None:
        take_payment("LD-1007", Decimal(5), source="bank", reference="RE 2026:77", at=MORNING)
        key = "payment:bank:RE 2026:77"
        for term in (key, "RE 2026:77"):
            answer = search(support, term)
            assert answer.url == f"{reverse('admin:explain')}?{urlencode({'key': key, 'searched': term})}"
        assert key in text_of(search(support, "payment:bank:RE"))

    def test_finds_calls_that_were_free_or_are_in_quarantine_by_their_keys(self, support: Client) -> None:
        for row in (make_free_call(), make_quarantined_call()):
            expected = {"key": row.call_key, "searched": row.call_key}
            assert search(support, row.call_key).url == f"{reverse('admin:explain')}?{urlencode(expected)}"

    def test_finds_items_and_mails(self, support: Client, okafor: Customer) -> None:
        make_fallen(customer=okafor)
        owe()
        mail = NotificationLog.objects.get(kind="low_balance")
        for term in (mail.message_id, mail.message_id.strip("<>"), mail.key):
            assert str(mail.pk) in search(support, term).url
        item = make_item(customer=okafor, reference="trunk-7")
        assert f"billingitem/{item.pk}/" in search(support, "trunk-7").url

    @pytest.mark.parametrize("term", ["", " ", "%", "_", "';--", "\x00", "a" * 5_000, "(((", "!!!", "\\", "::", "&"])
    def test_answers_nonsense_in_words(self, term: str, support: Client, okafor: Customer) -> None:
        assert search(support, term).status_code == 200

    def test_leads_from_a_colleagues_address_to_what_they_did(self) -> None:
        reader = browser_of(member("admin"))
        order = StaffOrder.objects.create(verb=Verb.RESEND, by="tom.evening@ivy.example", reason="None came.", count=0)
        found = search(reader, order.by)
        assert found.url.startswith(f"{reverse('admin:changes')}?{urlencode({'by': order.by})}")
        assert "None came." in text_of(reader.get(found.url))

    def test_says_when_nothing_is_called_so(self, support: Client) -> None:
        assert "Nothing is called “nobody”" in text_of(search(support, "nobody"))

    def test_is_on_top_of_every_page_with_what_was_asked(self, support: Client) -> None:
        assert 'role="search"' in support.get(reverse("admin:index")).content.decode()
        assert 'value="no &quot;one&quot;"' in search(support, 'no "one"').content.decode()


class TestTheFence:
    def test_hides_what_a_person_may_not_look_at(self, okafor: Customer) -> None:
        user = member()
        user.user_permissions.add(Permission.objects.get(codename="view_callrecord"))
        make_call(call_id="leg-x", customer=okafor)
        browser = browser_of(user)
        assert "Nothing is called" in text_of(search(browser, "LD-1007"))
        assert "leg-x" in text_of(search(browser, "leg-x", all="1"))

    def test_lets_nobody_in_who_is_no_staff(self, client: Client) -> None:
        assert "login" in search(client, "LD-1007").url


class TestTheCommandPalette:
    def test_lists_what_is_found_and_the_lines_of_the_menu(self, support: Client, okafor: Customer) -> None:
        url = reverse(SEARCH)
        assert "LD-1007 · Okafor Bakery" in text_of(support.get(url, {"s": "LD-1007", "extended": "1"}))
        assert "Call identities" in text_of(support.get(url, {"s": "ident", "extended": "1"}))
        nothing = text_of(support.get(url, {"s": "second factors", "extended": "1"}))
        assert "Second factors" not in nothing
        assert "Nothing is called so" in nothing

    def test_forgets_what_it_found(self, support: Client, okafor: Customer) -> None:
        url = reverse(SEARCH)
        support.get(url, {"s": "LD-1007", "extended": "1"})
        Customer.objects.filter(pk=okafor.pk).update(name="Okafor & Daughters")
        assert "Okafor & Daughters" in text_of(support.get(url, {"s": "LD-1007", "extended": "1"}))


class TestASearch:
    @pytest.mark.parametrize("term", ["LD-1007", "okafor", "+49 30 901820", "payment:bank:1", "leg-1"])
    def test_reads_by_index_and_as_little_for_many_as_for_one(self, term: str, okafor: Customer) -> None:
        for _ in range(25):
            make_identity(customer=make_customer(name="Okafor and others"))
        user = member(superuser=True)
        with CaptureQueriesContext(connection) as asked:
            finding.find(term, user)
        assert len(asked) <= 14
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            for query in asked.captured_queries:
                plan = plan_of(query["sql"])
                for table in ("customer", "callidentity", "ledgerentry", "callrecord", "notificationlog", "freecall"):
                    assert f"Seq Scan on billing_{table}" not in plan, f"{query['sql']}\n{plan}"
            # Tables as small as these are read as soon by any index that has the rows: away with those of customers.
            cursor.execute("DROP INDEX movements_of_a_customer, entries_of_a_customer")
            cursor.execute("SET LOCAL enable_indexscan = off")
            for query in asked.captured_queries:
                if "^payment:" in query["sql"]:
                    assert "payments_by_reference" in plan_of(query["sql"])
                if "to_tsquery" in query["sql"]:
                    assert "customers_by_words_of_name" in plan_of(query["sql"])
