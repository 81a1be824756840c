"""Files that come in with the checks of the commands, and lists that go out, harmless to a spreadsheet."""

import csv
import html
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import BillingItem, CallIdentity, Customer, LedgerEntry, Partner
from ivy import housekeeping
from ivy.models import AuditEntry, Upload
from ivy.portal.csv_files import harmless
from tests.factories import (
    make_call,
    make_customer,
    make_entry,
    make_item,
    make_partner,
    make_rate,
    make_unparsable_line,
)
from tests.staff.working import hidden, staff

pytestmark = pytest.mark.django_db

FILES = {
    "customers": "account,partner,email,call_identities,low_balance_threshold,opening_balance\n"
    "A-1,harbour,ann@example.com,code:X1;peer:301,20,15.50\nA-2,harbour,,,,\n",
    "items": "reference,account,amount,interval,starts_on\ntrunk-1,A-1,10,month,2027-01-01\n",
    "payments": "reference,account,amount,received_at\nbank-1,A-1,50,2026-11-01\n",
    "partners": "slug,name,currency\nmeridian,Meridian,EUR\n",
}
WRITTEN = {
    "customers": lambda: Customer.objects.filter(account="A-2").count(),
    "items": BillingItem.objects.count,
    "payments": LedgerEntry.objects.filter(kind="payment").count,
    "partners": lambda: Partner.objects.filter(slug="meridian").count(),
}


def send_file(client: Client, kind: str, text: str) -> Any:
    file = SimpleUploadedFile(f"{kind}.csv", text.encode(), "text/csv")
    return client.post(reverse("admin:work_import"), {"kind": kind, "payment_source": "bank", "file": file})


@pytest.fixture
def harbour() -> Partner:
    return make_partner(slug="harbour", currency="GBP")


@pytest.fixture
def _account(request: pytest.FixtureRequest, harbour: Partner) -> None:
    if "customers" not in request.node.name:
        make_customer(account="A-1", partner=harbour)


@pytest.mark.usefixtures("_account")
@pytest.mark.parametrize("kind", FILES)
class TestAFile:
    def test_is_shown_then_imported_once(self, kind: str) -> None:
        client = staff("admin")
        sent = send_file(client, kind, FILES[kind])
        page = client.get(sent.url)
        assert "would be created" in page.content.decode()
        assert WRITTEN[kind]() == 0
        form = {**hidden(page), "reason": "From the old system."}
        assert client.post(sent.url, form).status_code == 302
        assert WRITTEN[kind]() == 1
        assert "This was done already" in client.post(sent.url, form, follow=True).content.decode()
        again = client.get(send_file(client, kind, FILES[kind]).url)
        assert "there is nothing to import" in again.content.decode()
        assert AuditEntry.objects.count() == 1

    def test_with_a_bad_line_imports_nothing_and_names_the_line(self, kind: str) -> None:
        client = staff("admin")
        bad = FILES[kind] + "\n".join([FILES[kind].splitlines()[-1], "!,!,!"]) + "\n"
        sent = send_file(client, kind, bad)
        page = client.get(sent.url).content.decode()
        assert "stands in line" in page
        assert "The line has 3 cells" in page or "“!” is no name" in page or "is not" in page
        assert 'name="once"' not in page
        client.post(sent.url, {"once": "8f14e45f-ceea-467f-a8f1-1d5f6ba8a4b2", "reason": "x"})
        assert WRITTEN[kind]() == 0

    def test_is_for_those_who_may(self, kind: str) -> None:
        sent = send_file(staff("admin"), kind, FILES[kind])
        for role in ("support", "operator", *(["billing"] if kind == "partners" else [])):
            client = staff(role)
            assert client.get(sent.url).status_code == 403
            assert client.post(sent.url, {"reason": "x"}).status_code == 403
            assert send_file(client, kind, FILES[kind]).status_code in {200, 403}
        assert Upload.objects.count() == 1
        assert WRITTEN[kind]() == 0


class TestFilesOfCustomers:
    def test_bring_their_identities_alerts_and_opening_balances(self, harbour: Partner) -> None:
        client = staff("billing")
        sent = send_file(client, "customers", FILES["customers"])
        client.post(sent.url, hidden(client.get(sent.url)))
        customer = Customer.objects.get(account="A-1")
        assert (customer.partner, customer.balance_row.balance) == (harbour, Decimal("15.5"))
        assert CallIdentity.objects.filter(customer=customer).count() == 2
        assert customer.alerts.filter(threshold=20).exists()

    def test_make_partners_only_for_those_who_may(self) -> None:
        sent = send_file(staff("billing"), "customers", "account,partner,currency\nA-1,new-one,GBP\n")
        page = staff("billing").get(sent.url).content.decode()
        assert "which needs billing.add_partner" in page
        admin_client = staff("admin")
        admin_client.post(sent.url, hidden(admin_client.get(sent.url)))
        assert Partner.objects.filter(slug="new-one").exists()


class TestUploads:
    def test_are_swept_away_after_a_day(self) -> None:
        old = Upload.objects.create(kind="items", file_name="a.csv", content=b"x", by="ann@ivy.example")
        Upload.objects.create(kind="items", file_name="b.csv", content=b"x", by="ann@ivy.example")
        Upload.objects.filter(pk=old.pk).update(at=Now() - timedelta(hours=25))
        assert housekeeping.sweep().uploads == 1
        assert housekeeping.sweep().uploads == 0
        assert Upload.objects.get().file_name == "b.csv"

    @pytest.mark.parametrize(
        ("wrong", "name"),
        [({"kind": "cats"}, "upload_kind_is_known"), ({"by": ""}, "uploads_are_sent_by_somebody")],
    )
    def test_keep_what_they_must(self, wrong: dict[str, str], name: str) -> None:
        with pytest.raises(IntegrityError, match=name):
            Upload.objects.create(**{"kind": "items", "file_name": "a", "content": b"", "by": "ann", **wrong})


def exported(client: Client, app: str, model: str, query: str = "") -> list[dict[str, str]]:
    answer = client.get(reverse("admin:work_export", args=[app, model]) + query)
    assert answer.status_code == 200
    assert answer.streaming
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


class TestAnExport:
    def test_has_what_the_list_shows_filtered_as_it_is(self, harbour: Partner) -> None:
        make_customer(account="A-1", name="Café Lindqvist", partner=harbour)
        make_customer(account="A-2", name="Rossi", partner=harbour, status="suspended")
        client = staff("support")
        assert len(exported(client, "billing", "customer")) == 2
        [row] = exported(client, "billing", "customer", "?status__exact=suspended&p=3")
        assert (row["account"], row["partner"], row["status"]) == ("A-2", "harbour", "suspended")
        assert len(exported(client, "billing", "customer", "?q=lindqvist")) == 1

    def test_is_noted_with_who_took_what_narrowed_how_and_how_many_rows(self) -> None:
        for account in ("A-1", "A-2", "A-3"):
            make_customer(account=account, status="active" if account == "A-1" else "suspended")
        client, ann = staff("support"), staff("admin")
        exported(client, "billing", "customer", "?status__exact=suspended&q=A-&p=2")
        exported(client, "billing", "customer")
        every, narrowed = AuditEntry.objects.filter(verb="export", noun="list", name="customers").order_by("-pk")
        assert every.summary == "A list of customers left as a file, 3 rows."
        assert narrowed.summary == (
            "A list of customers left as a file, 2 rows, narrowed to status__exact suspended; q A-."
        )
        assert narrowed.after == {"rows": 2, "narrowed to": "status__exact suspended; q A-"}
        did = ann.get(reverse("admin:changes"), {"by": narrowed.by}).content.decode()
        assert narrowed.summary in html.unescape(did)
        listed = ann.get(reverse("admin:ivy_auditentry_changelist"), {"verb": "export"}).content.decode()
        assert every.summary in html.unescape(listed)

    def test_that_nobody_reads_to_its_end_is_noted_all_the_same(self) -> None:
        make_customer()
        assert staff("support").get(reverse("admin:work_export", args=["billing", "customer"])).streaming
        assert AuditEntry.objects.get(verb="export").after["rows"] == 1

    def test_that_is_refused_leaves_nothing_to_note(self) -> None:
        staff().get(reverse("admin:work_export", args=["billing", "customer"]))
        answer = staff("support").get(reverse("admin:work_export", args=["billing", "customer"]) + "?id__exact=x")
        assert answer.status_code == 404
        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize("query", ["?q=%00", "?status__exact=%00", "?q=" + "x" * 5000])
    def test_of_whatever_is_asked_does_not_fail(self, query: str) -> None:
        answer = staff("support").get(reverse("admin:work_export", args=["billing", "customer"]) + query)
        assert answer.status_code in {200, 302, 404}

    def test_keeps_formulas_from_running(self) -> None:
        make_customer(account="A-1", name="=HYPERLINK(1)")
        [row] = exported(staff("support"), "billing", "customer")
        assert row["name"] == "'=HYPERLINK(1)"

    @pytest.mark.parametrize(
        ("cell", "written"),
        [
            ("=1+1", "'=1+1"), ("+x", "'+x"), ("-x", "'-x"), ("@x", "'@x"), ("\tx", "'\tx"), ("\rx", "'\rx"),
            ("-12.50", "-12.50"), ("+447700900123", "+447700900123"), (Decimal("-1.5"), "-1.5"), (None, ""),
            ("a=b", "a=b"), ("-1+1", "'-1+1"), (0, "0"),
        ],
    )  # fmt: skip
    def test_puts_an_apostrophe_before_what_would_begin_a_formula(self, cell: Any, written: str) -> None:
        assert harmless(cell) == written

    @pytest.mark.parametrize("label", ["billing.ledgerentry", "notifications.notificationlog", "accounts.user", "x.y"])
    def test_is_not_made_of_ledger_log_and_people(self, label: str) -> None:
        assert staff("admin").get(reverse("admin:work_export", args=label.split("."))).status_code == 404

    def test_is_for_those_who_may_see_the_list(self) -> None:
        assert staff().get(reverse("admin:work_export", args=["billing", "customer"])).status_code == 403
        assert staff("support").get(reverse("admin:work_export", args=["ivy", "probe"])).status_code == 403

    def test_is_made_of_every_list_of_ours_and_asks_no_more_for_more_rows(self) -> None:
        make_item()
        make_rate()
        make_entry()
        make_unparsable_line()
        make_call()
        client = staff("admin")
        for model in admin.site._registry:
            label = model._meta.label_lower
            if label.split(".")[0] in {"billing", "notifications", "ivy"} and label not in {
                "billing.ledgerentry", "notifications.notificationlog",
            }:  # fmt: skip
                exported(client, *label.split("."))
        counted = []
        for _ in range(2):
            for _ in range(5):
                make_call()
            with CaptureQueriesContext(connection) as queries:
                rows = exported(client, "billing", "callrecord")
            counted.append(len(queries))
        assert len(rows) == 11
        assert counted[0] == counted[1]
        assert rows[0]["source"] == "pbx-north"

    def test_is_offered_above_the_list_with_its_filters(self) -> None:
        client = staff("support")
        page = client.get(reverse("admin:billing_customer_changelist"), {"status__exact": "closed"}).content.decode()
        assert f"{reverse('admin:work_export', args=['billing', 'customer'])}?status__exact=closed" in page
        assert "Export CSV" not in client.get(reverse("admin:billing_ledgerentry_changelist")).content.decode()
