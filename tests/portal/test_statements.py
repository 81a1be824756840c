"""Statements in the portal: the same figures on the screen, as CSV and as PDF, and all of them the ledger's."""

import csv
import io
import os
import random
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, count
from typing import Any
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import Sum
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone
from PIL import Image
from pypdf import PdfReader

from billing import statements
from billing.models import Customer, CustomerBalance, LedgerEntry, Partner
from billing.statements import Line, Sheet
from ivy.portal import brands, statement_files, words
from ivy.portal.models import PortalUser, Role
from ivy.portal.views import statements as views
from tests.billing.test_reconcile import nobody_looking
from tests.factories import make_customer, make_entry, make_partner, make_reversal, make_run, make_user
from tests.portal import statements as statement_figures
from tests.portal.statements import can_print, figures_in, pdf_text

AUGUST_END = datetime(2026, 8, 31, 22, tzinfo=UTC)  # midnight in Berlin
SECOND = timedelta(seconds=1)


def reader_of(partner: Partner, **fields: Any) -> Client:
    user = make_user()
    PortalUser.objects.create(user=user, partner=partner, role=Role.VIEWER, **fields)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def forced_log_ins(settings: Any) -> None:
    settings.AXES_ENABLED = False  # it asks for an address, which no forced log-in brings


@pytest.fixture
def fjord() -> Partner:
    return make_partner(
        slug="fjord",
        name="Fjord Telekom",
        timezone="Europe/Berlin",
        currency="EUR",
        language="de",
        created_at=datetime(2026, 8, 3, tzinfo=UTC),
    )


@pytest.fixture
def lindqvist(fjord: Partner) -> Customer:
    return came_early(fjord, account="10001", name="Café Lindqvist")


def came_early(partner: Partner, **fields: Any) -> Customer:
    return make_customer(partner=partner, created_at=datetime(2026, 8, 3, tzinfo=UTC), **fields)


def close_months() -> None:
    now = timezone.now()
    statements.close_months(make_run(started_at=now, business_at=now))


def body(answer: HttpResponseBase) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]


def paper_at(client: Client, where: str) -> str:
    """The text of the PDF there; without Pango the test ends here, as nothing can be printed."""
    answer = client.get(where)
    if answer.status_code == 503 and not can_print():
        pytest.skip("PDF files can't be made on this machine.")
    return pdf_text(body(answer))


def address(sheet: Sheet) -> str:
    return f"/portal/statements/{sheet.month.first:%Y-%m}/{sheet.customer.account}/"


def without_tags(html: str) -> str:
    return re.sub("<[^>]+>", " ", html)


def assert_same_everywhere(client: Client, sheet: Sheet, *, on_screen: bool = True, on_paper: bool = True) -> None:
    """Screen, CSV and PDF tell this sheet, to the last decimal, and it is the ledger's."""
    assert_is_the_ledgers(sheet)
    lines = list(statements.lines_of([sheet]))
    figures = [figure for line in lines for figure in (line.amount, line.balance)]

    rows = list(csv.DictReader(io.StringIO(body(client.get(f"{address(sheet)}statement.csv")).decode())))
    told = [(row["key"], Decimal(row["amount"]), Decimal(row["balance"])) for row in rows[1:-1]]
    assert told == [(line.key, line.amount, line.balance) for line in lines]
    assert [Decimal(row["balance"]) for row in (rows[0], rows[-1])] == [sheet.opening_balance, sheet.closing_balance]

    def written(*amounts: Decimal) -> list[str]:
        return [statement_figures.written(amount, sheet.currency) for amount in amounts]

    with words.written_for(sheet.customer.partner.language, sheet.month.timezone):
        if on_screen:
            screen = ""
            page = client.get(address(sheet))
            totals = page.content.decode().split('id="lines"')[0]
            assert figures_in(without_tags(totals), sheet.currency) == written(*totals_of(sheet))
            while True:
                screen += page.content.decode().split('id="lines"')[1]
                if page.context["next"] is None:
                    break
                page = client.get(address(sheet), {"after": page.context["next"]})
            assert figures_in(without_tags(screen), sheet.currency) == written(*figures)
        if on_paper:
            paper = paper_at(client, f"{address(sheet)}statement.pdf")
            top, below = paper.split("\nLines\n")
            assert figures_in(top, sheet.currency) == written(*totals_of(sheet))
            told_below = figures_in(below, sheet.currency)
            if len(lines) <= statement_files.LINES_ON_PAPER:
                assert told_below == written(*figures)
            else:
                assert told_below == written(*figures_by_day(sheet, lines))


def totals_of(sheet: Sheet) -> list[Decimal]:
    """In the order in which they are read."""
    by_kind = [total for _, _, total in statement_files.totals_of(sheet.totals)]
    return [sheet.opening_balance, *by_kind, sheet.closing_balance]


def figures_by_day(sheet: Sheet, lines: list[Line]) -> list[Decimal]:
    """Amount and balance of each line where the calls of a day are one, in the place of the first of them."""
    zone = ZoneInfo(sheet.month.timezone)
    amounts: dict[object, Decimal] = {}
    for line in lines:
        what = line.occurred_at.astimezone(zone).date() if line.kind == "call" else line.key
        amounts[what] = amounts.get(what, Decimal(0)) + line.amount
    balances = accumulate(amounts.values(), initial=sheet.opening_balance)
    next(balances)
    return [figure for pair in zip(amounts.values(), balances, strict=True) for figure in pair]


def assert_is_the_ledgers(sheet: Sheet) -> None:
    """Sums of the entries by when they were posted; the tests here leave nobody in the middle of posting."""
    entries = LedgerEntry.objects.filter(customer=sheet.customer, posted_at__lt=sheet.month.ends_at)
    assert sheet.closing_balance == (entries.aggregate(total=Sum("amount"))["total"] or 0)
    of_month = entries.filter(posted_at__gte=sheet.month.starts_at)
    by_kind = of_month.values("kind").annotate(total=Sum("amount")).exclude(total=0)
    assert dict(by_kind.values_list("kind", "total")) == sheet.totals
    assert sheet.entry_count == of_month.count()


@pytest.mark.django_db(transaction=True)
class TestTheSameFigures:
    def test_are_told_of_the_demo_world(self) -> None:
        """Billed at once, and then posted as it would have been day by day. Every CSV file; every 24th page and
        PDF, and all of them with EVERY_PDF set.
        """
        call_command("load_demo", "--json", stdout=io.StringIO())
        call_command("run_billing", "--json", stdout=io.StringIO())
        with nobody_looking(), connection.cursor() as cursor:
            cursor.execute("UPDATE billing_ledgerentry SET posted_at = occurred_at + interval '1 hour'")
            cursor.execute("UPDATE billing_customer SET created_at = created_at - interval '3 months'")
            cursor.execute("UPDATE billing_partner SET created_at = created_at - interval '3 months'")
        close_months()
        assert Customer.objects.count() > 50
        numbers = count()
        for partner in Partner.objects.all():
            client = reader_of(partner)
            for customer in partner.customers.all():
                sheets = statements.sheets_of(customer)
                assert sheets[0].closing_balance == CustomerBalance.objects.get(customer=customer).balance
                for sheet in sheets:
                    is_chosen = "EVERY_PDF" in os.environ or next(numbers) % 24 == 0
                    assert_same_everywhere(client, sheet, on_screen=is_chosen, on_paper=is_chosen)

    def test_are_told_of_any_world(self, fjord: Partner) -> None:
        dice = random.Random(8)
        customers = [came_early(fjord, currency=currency) for currency in ("EUR", "GBP", "EUR")]
        call = {"kind": "call", "rate_id": 1, "billed_seconds": 60}
        for number in range(40):
            posted_at = timezone.now() - timedelta(days=dice.randint(0, 60))
            occurred_at = posted_at - timedelta(days=dice.choice([0, 0, 50]))
            at = {"customer": dice.choice(customers), "posted_at": posted_at, "occurred_at": occurred_at}
            amount = Decimal(dice.randint(1, 10**9)) / 10 ** dice.randint(2, 6)
            entry = (
                make_entry(**at, **call, key=f"call:pbx:{number}", amount=-amount, description="outbound call, 44")
                if dice.random() < 0.6
                else make_entry(**at, amount=amount, description="Payment, thank you")
            )
            if dice.random() < 0.2:
                make_reversal(entry, posted_at=posted_at)
        client = reader_of(fjord)
        for _ in range(2):  # open, and closed where a month is over
            for customer in customers:
                for sheet in statements.sheets_of(customer):
                    assert_same_everywhere(client, sheet)
            close_months()

    def test_are_told_on_paper_when_the_calls_of_a_day_are_one_line(
        self, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(statement_files, "LINES_ON_PAPER", 5)
        began = timezone.now().replace(microsecond=0)
        for number in range(12):
            occurred_at = began - timedelta(hours=5 * number)
            call = {"key": f"call:pbx:{number}", "kind": "call", "rate_id": 1, "billed_seconds": 60}
            make_entry(customer=lindqvist, **call, amount=Decimal("-0.0301"), occurred_at=occurred_at)
            if number == 6:
                make_entry(customer=lindqvist, amount=20, occurred_at=occurred_at)
        client = reader_of(lindqvist.partner)
        (sheet,) = [sheet for sheet in statements.sheets_of(lindqvist) if sheet.entry_count]
        assert_same_everywhere(client, sheet)
        paper = paper_at(client, f"{address(sheet)}statement.pdf")
        assert "The calls of a day are one line here" in paper

    def test_are_told_of_a_partner_by_page_pdf_and_csv(self, fjord: Partner, lindqvist: Customer) -> None:
        okafor = came_early(fjord)
        for customer, amount in [(lindqvist, "12.345678"), (okafor, "-7.5")]:
            make_entry(customer=customer, kind="adjustment", amount=amount, reason="Agreed.", entered_by="Mei")
        client = reader_of(fjord)
        here = f"/portal/statements/{statements.months_of(fjord)[0].first:%Y-%m}/"
        with words.written_for("de", "Europe/Berlin"):
            totals = [statement_figures.written(Decimal(amount), "EUR") for amount in ("0", "4.845678", "4.845678")]
            screen = figures_in(without_tags(client.get(here).content.decode()), "EUR")
            paper = figures_in(paper_at(client, f"{here}statements.pdf"), "EUR")
        assert screen[:3] == totals
        assert paper == screen
        rows = list(csv.DictReader(io.StringIO(body(client.get(f"{here}statements.csv")).decode())))
        assert sum(Decimal(row["amount"]) for row in rows if row["amount"]) == Decimal("4.845678")
        assert [row["kind"] for row in rows] == ["opening_balance", "adjustment", "closing_balance"] * 2


@pytest.mark.django_db
class TestAStatement:
    @pytest.fixture
    def here(self, lindqvist: Customer) -> str:
        return address(statements.sheets_of(lindqvist)[0])

    @pytest.fixture
    def client(self, fjord: Partner) -> Client:
        return reader_of(fjord, language="en-GB", timezone="Asia/Tokyo")

    def test_says_which_month_and_key_a_late_line_belongs_to(
        self, client: Client, here: str, lindqvist: Customer
    ) -> None:
        wrong = make_entry(
            customer=lindqvist, key="payment:bank:7", occurred_at=AUGUST_END - SECOND, posted_at=timezone.now()
        )
        make_reversal(wrong)
        page = without_tags(client.get(here).content.decode())
        assert "Belongs to August 2026; posted" in page
        assert "Belongs to August 2026: takes back payment:bank:7" in page
        paper = re.sub(r"\s+", " ", paper_at(client, f"{here}statement.pdf"))
        assert "Belongs to August 2026: takes back payment:bank:7" in paper
        rows = list(csv.DictReader(io.StringIO(body(client.get(f"{here}statement.csv")).decode())))
        assert [row["belongs_to"] for row in rows[1:-1]] == ["2026-08", "2026-08"]

    def test_is_read_in_the_zone_of_its_month_and_on_paper_in_the_partners_language(
        self, client: Client, here: str, lindqvist: Customer
    ) -> None:
        make_entry(customer=lindqvist, amount=Decimal("1234.5"), occurred_at=AUGUST_END + timedelta(hours=1))
        page = client.get(here).content.decode()
        assert "€1,234.50" in page
        assert "01:00 CEST" in page, "though the reader's own zone is another"
        paper = paper_at(client, f"{here}statement.pdf")
        assert re.search(r"1\.234,50\s€", paper)
        assert "Fjord Telekom" in paper
        assert "Café Lindqvist" in paper

    def test_carries_the_partners_logo_on_paper(self, client: Client, here: str, fjord: Partner) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (40, 10), "#123456").save(picture, "PNG")
        paper_at(client, f"{here}statement.pdf")
        brands.change(fjord, by="owner", name="Fjord", sender_name="", reply_to="", colour="", logo=picture.getvalue())
        pages = PdfReader(io.BytesIO(body(client.get(f"{here}statement.pdf")))).pages
        assert [image.image.size for image in pages[0].images] == [(40, 10)]

    def test_leads_from_each_total_to_its_lines(self, client: Client, here: str, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, amount=3)
        make_entry(customer=lindqvist, kind="refund", amount=-1)
        assert f'href="{here}?kind=refund#lines"' in client.get(here).content.decode()
        refunds = client.get(here, {"kind": "refund"})
        assert [(line.amount, line.balance) for line, *_ in refunds.context["lines"]] == [(-1, 2)]
        assert refunds.context["kind_total"] == -1

    def test_goes_on_page_by_page(self, client: Client, here: str, lindqvist: Customer) -> None:
        for number in range(views.LINES_ON_A_PAGE + 1):
            make_entry(customer=lindqvist, key=f"payment:bank:{number}", amount=1)
        first = client.get(here)
        assert first.context["next"] == "payment:bank:99"
        (last,) = client.get(here, {"after": first.context["next"]}).context["lines"]
        assert (last[0].key, last[0].balance) == ("payment:bank:100", 101)

    @pytest.mark.parametrize(
        "forged",
        ["?kind=debt", "?after=payment:bank:0", "?after=%00", "../../0000-01/10001/", "../../9999-12/10001/", "../x/"],
    )
    def test_that_is_not_there_is_told_as_such(self, client: Client, here: str, forged: str) -> None:
        assert client.get(urljoin(here, forged)).status_code == 404

    def test_is_no_formula_for_a_spreadsheet_and_no_script_for_a_page(
        self, client: Client, here: str, lindqvist: Customer
    ) -> None:
        make_entry(customer=lindqvist, description="=1+1")
        make_entry(customer=lindqvist, description="<script>alert(1)</script><img src=http://example.com/x>")
        assert ",'=1+1," in body(client.get(f"{here}statement.csv")).decode()
        assert "<script>alert" not in client.get(here).content.decode()
        assert "<script>alert" in paper_at(client, f"{here}statement.pdf")

    def test_says_what_is_missing_where_no_pdf_can_be_made(
        self, client: Client, here: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "weasyprint", None)  # importing it fails, as it does without Pango
        answer = client.get(f"{here}statement.pdf")
        assert answer.status_code == 503
        assert "libpango-1.0-0" in answer.content.decode()
        assert client.get(f"{here}statement.csv").status_code == 200

    def test_asks_few_questions_whatever_its_length(
        self, client: Client, here: str, lindqvist: Customer, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(30):
            make_entry(customer=lindqvist)
        with django_assert_max_num_queries(16):
            client.get(here)
