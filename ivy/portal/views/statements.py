from collections.abc import Callable
from datetime import date
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from billing import statements as verbs
from billing.models import EntryKind
from billing.statements import Month
from ivy.portal import statement_files, words
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.statement_files import NoPaper, totals_of
from ivy.portal.statement_words import KINDS, state_of, why_here

CUSTOMERS_ON_A_PAGE = 50
LINES_ON_A_PAGE = 100


@portal_page()
@require_safe
def months(request: PortalRequest) -> HttpResponse:
    """The partner's months, the latest first."""
    return render(request, "portal/statements.html", {"months": request.scope.months()})


@portal_page()
@require_safe
def month(request: PortalRequest, month: date) -> HttpResponse:
    """A month of all customers: their totals, and a page of customers. Of an open month of many customers the totals
    are added up only when asked for.
    """
    scope = request.scope
    asked = scope.month(month)
    account = request.GET.get("after", "")
    after = scope.customer(account).pk if account else 0
    sheets = verbs.sheets_in(scope.partner, asked, after=after, limit=CUSTOMERS_ON_A_PAGE + 1)
    page = sheets[:CUSTOMERS_ON_A_PAGE]
    is_added_up = asked.is_closed or len(sheets) <= CUSTOMERS_ON_A_PAGE or request.GET.get("totals") == "now"
    totals = verbs.totals_of(scope.partner, asked) if is_added_up else []
    context = {
        "month": asked,
        "is_added_up": is_added_up,
        "totals": [(total, totals_of(total.totals)) for total in totals],
        "sheets": page,
        "is_first_page": not account,
        "next": page[-1].customer.account if len(sheets) > CUSTOMERS_ON_A_PAGE else None,
    }
    return _in_zone_of(asked, request, "portal/month_statement.html", context)


@portal_page()
@require_safe
def month_csv(request: PortalRequest, month: date) -> HttpResponseBase:
    return statement_files.csv_of_all(request.scope.partner, request.scope.month(month))


@portal_page()
@require_safe
def month_pdf(request: PortalRequest, month: date) -> HttpResponse:
    scope = request.scope
    asked = scope.month(month)
    sheets = verbs.sheets_in(scope.partner, asked, limit=statement_files.CUSTOMERS_ON_PAPER)
    totals = verbs.totals_of(scope.partner, asked)
    return _on_paper(
        request,
        asked,
        f"{scope.partner.slug}-{asked.first:%Y-%m}.pdf",
        lambda: statement_files.pdf_of_all(scope.partner, asked, totals, sheets),
    )


@portal_page()
@require_safe
def of_customer(request: PortalRequest, account: str) -> HttpResponse:
    """A customer's statements, the latest first."""
    customer = request.scope.customer(account)
    context = {"customer": customer, "sheets": verbs.sheets_of(customer)}
    return render(request, "portal/customer_statements.html", context)


@portal_page()
@require_safe
def statement(request: PortalRequest, month: date, account: str) -> HttpResponse:
    """A customer's month: its totals, and a page of its lines with the balance after each."""
    scope = request.scope
    sheet = scope.sheet(account, month)
    kind = _kind(request.GET.get("kind", ""))
    key = request.GET.get("after", "")
    after = scope.entry(key).pk if key else 0
    lines = list(verbs.lines_of([sheet], kind=kind, after=after, limit=LINES_ON_A_PAGE + 1))
    page = lines[:LINES_ON_A_PAGE]
    with words.written_for(scope.language, sheet.month.timezone):
        context = {
            "sheet": sheet,
            "month": sheet.month,
            "state": state_of(sheet.month),
            "totals": totals_of(sheet.totals),
            "kind": kind,
            "kind_name": KINDS[kind] if kind else "",
            "kind_total": sheet.totals.get(kind, 0) if kind else None,
            "lines": [(line, KINDS[line.kind], why_here(line)) for line in page],
            "is_first_page": not key,
            "next": page[-1].key if len(lines) > LINES_ON_A_PAGE else None,
        }
        return render(request, "portal/statement.html", context)


@portal_page()
@require_safe
def statement_csv(request: PortalRequest, month: date, account: str) -> HttpResponseBase:
    return statement_files.csv_of(request.scope.sheet(account, month))


@portal_page()
@require_safe
def statement_pdf(request: PortalRequest, month: date, account: str) -> HttpResponse:
    sheet = request.scope.sheet(account, month)
    name = f"{sheet.customer.account}-{sheet.month.first:%Y-%m}.pdf"
    return _on_paper(request, sheet.month, name, lambda: statement_files.pdf_of(sheet))


def _kind(asked: str) -> EntryKind | None:
    if asked and asked not in EntryKind.values:
        raise Http404
    return EntryKind(asked) if asked else None


def _in_zone_of(month: Month, request: PortalRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A statement is read in the zone by which its month begins and ends, whatever zone the reader has chosen."""
    with words.written_for(request.scope.language, month.timezone):
        return render(request, template, {"state": state_of(month)} | context)


def _on_paper(request: PortalRequest, month: Month, name: str, make: Callable[[], bytes]) -> HttpResponse:
    """On paper for whoever it concerns: in the partner's language, whichever the reader has chosen."""
    try:
        with words.written_for(request.scope.partner.language, month.timezone):
            content = make()
    except NoPaper as why:
        return render(request, "portal/no_paper.html", {"why": why, "month": month}, status=503)
    disposition = content_disposition_header(as_attachment=True, filename=name) or ""
    return HttpResponse(content, content_type="application/pdf", headers={"Content-Disposition": disposition})
