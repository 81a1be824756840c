"""Statements as files: CSV with every line, of any length, and PDF for paper. The same figures as on the screen."""

import base64
import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.http import StreamingHttpResponse
from django.template.loader import render_to_string

from billing import statements
from billing.models import EntryKind, Partner
from billing.statements import Line, Month, Sheet, Total
from ivy.portal import csv_files, words
from ivy.portal.models import Brand
from ivy.portal.statement_words import KINDS, state_of, why_here

COLUMNS = [
    *("account", "occurred_at", "posted_at", "kind", "amount", "currency", "balance", "key", "reverses"),
    *("description", "period_start", "period_end", "belongs_to"),
]
CUSTOMERS_AT_A_TIME = 500
# A page of paper holds about fifty, and takes a tenth of a second or two. Above this, the calls of a day become one
# line; the CSV file has each.
LINES_ON_PAPER = 300
CUSTOMERS_ON_PAPER = 500


class NoPaper(Exception):
    """PDF files can't be made here; the message is a sentence that says what is missing."""


# CSV


def csv_of(sheet: Sheet) -> StreamingHttpResponse:
    """The customer's statement, line by line, between its opening and its closing balance."""
    name = f"{sheet.customer.account}-{sheet.month.first:%Y-%m}.csv"
    return csv_files.answer(name, COLUMNS, _rows(iter([[sheet]])))


def csv_of_all(partner: Partner, month: Month) -> StreamingHttpResponse:
    """Statements of all the partner's customers, one below the other."""
    return csv_files.answer(f"{partner.slug}-{month.first:%Y-%m}.csv", COLUMNS, _rows(_all_sheets(partner, month)))


def _all_sheets(partner: Partner, month: Month) -> Iterator[list[Sheet]]:
    after = 0
    while sheets := statements.sheets_in(partner, month, after=after, limit=CUSTOMERS_AT_A_TIME):
        yield sheets
        after = sheets[-1].customer.pk


def _rows(pages: Iterable[Sequence[Sheet]]) -> Iterator[Sequence[Any]]:
    for sheets in pages:
        lines = statements.lines_of(sheets)
        line = next(lines, None)
        for sheet in sheets:
            zone = ZoneInfo(sheet.month.timezone)
            yield _balance(sheet, "opening_balance", sheet.opening_balance)
            while line is not None and line.customer_id == sheet.customer.pk:
                yield _row(sheet, line, zone)
                line = next(lines, None)
            yield _balance(sheet, "closing_balance", sheet.closing_balance)


def _balance(sheet: Sheet, name: str, balance: Decimal) -> Sequence[Any]:
    return [sheet.customer.account, "", "", name, "", sheet.currency, balance, "", "", "", "", "", ""]


def _row(sheet: Sheet, line: Line, zone: ZoneInfo) -> Sequence[Any]:
    return [
        *(sheet.customer.account, line.occurred_at.astimezone(zone), line.posted_at.astimezone(zone), line.kind.value),
        *(line.amount, sheet.currency, line.balance, line.key, line.reverses, line.description),
        *(line.period_start, line.period_end, f"{line.belongs_to:%Y-%m}" if line.belongs_to else ""),
    ]


# PDF


@dataclass
class PaperLine:
    """A line on paper: one entry, or the calls of a day that go to one month."""

    on: date
    description: str
    why_here: str
    amount: Decimal
    balance: Decimal
    call_count: int = 0


def pdf_of(sheet: Sheet) -> bytes:
    """The customer's statement on A4, in the words and the zone that are set. Raises NoPaper."""
    lines = statements.lines_of([sheet])
    is_short = sheet.entry_count <= LINES_ON_PAPER
    context = {
        "sheet": sheet,
        **_brand(sheet.customer.partner),
        "state": state_of(sheet.month),
        "totals": totals_of(sheet.totals),
        "lines": [_on_paper(line, sheet) for line in lines] if is_short else _by_day(lines, sheet),
        "calls_by_day": not is_short,
    }
    return _print(render_to_string("portal/print/statement.html", context))


def pdf_of_all(partner: Partner, month: Month, totals: Sequence[Total], sheets: Sequence[Sheet]) -> bytes:
    """The partner's statement on A4: its totals, and those customers' balances. Raises NoPaper."""
    context = {
        **_brand(partner),
        "month": month,
        "state": state_of(month),
        "totals": [(total, totals_of(total.totals)) for total in totals],
        "sheets": sheets,
        "is_whole": len(sheets) == sum(total.customer_count for total in totals),
    }
    return _print(render_to_string("portal/print/month.html", context))


def totals_of(totals: dict[EntryKind, Decimal]) -> list[tuple[EntryKind, str, Decimal]]:
    """Kind, its name and its sum, in the order in which they are read."""
    return [(kind, name, totals[kind]) for kind, name in KINDS.items() if kind in totals]


def _brand(partner: Partner) -> dict[str, Any]:
    brand = Brand.objects.filter(partner=partner).first()
    logo = base64.b64encode(brand.logo).decode() if brand and brand.logo else ""
    return {"partner": partner, "logo": logo}


def _on_paper(line: Line, sheet: Sheet) -> PaperLine:
    zone = ZoneInfo(sheet.month.timezone)
    on = line.occurred_at.astimezone(zone).date()
    return PaperLine(on, line.description or KINDS[line.kind], why_here(line), line.amount, line.balance)


def _by_day(lines: Iterable[Line], sheet: Sheet) -> list[PaperLine]:
    """Calls of one day become one line, where the first of them stood; everything else stands by itself."""
    papers: list[PaperLine] = []
    days: dict[date, PaperLine] = {}
    for line in lines:
        paper = _on_paper(line, sheet)
        if line.kind == EntryKind.CALL:
            paper.call_count = 1
            day = days.setdefault(paper.on, paper)
            if day is not paper:
                day.amount += paper.amount
                day.call_count += 1
                continue
            paper.why_here = f"Belongs to {words.month(line.belongs_to)}" if line.belongs_to else ""
        papers.append(paper)
    balance = sheet.opening_balance
    for paper in papers:
        balance += paper.amount
        paper.balance = balance
        if paper.call_count:
            paper.description = f"{words.number(paper.call_count)} calls" if paper.call_count > 1 else "1 call"
    return papers


def _print(html: str) -> bytes:
    try:
        weasyprint = importlib.import_module("weasyprint")  # which loads Pango at once, and fails without it
    except (ImportError, OSError) as missing:
        raise NoPaper(
            "PDF files can't be made on this server, because the library Pango is missing (Debian: apt-get install"
            " libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core). The CSV file has the same"
            " figures."
        ) from missing
    # Nothing is fetched: all that a page needs stands in it.
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=["data"])
    return bytes(weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf())
