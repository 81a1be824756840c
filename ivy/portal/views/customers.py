from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from ivy.portal import asked, csv_files, customers
from ivy.portal.access import PortalRequest, portal_page

FARTHEST_ID = 2**63 - 1


@portal_page()
@require_safe
def listing(request: PortalRequest) -> HttpResponse:
    """All customers of the partner, to search, narrow and sort."""
    form = asked.CustomersForm(request.GET)
    form.is_valid()
    wanted = form.cleaned_data
    found = customers.listing(
        request.scope, text=wanted.get("q", ""), state=wanted.get("state", ""), order=wanted.get("order", "")
    )
    page = Paginator(found, customers.A_PAGE).get_page(request.GET.get("page"))
    context = {
        "form": form,
        "page": page,
        "rows": customers.rows(list(page.object_list), at=timezone.now()),
        "asked": _asked(request),
    }
    return render(request, "portal/customers.html", context)


@portal_page()
@require_safe
def listing_file(request: PortalRequest) -> HttpResponseBase:
    """The same customers as a CSV file, with their balances."""
    form = asked.CustomersForm(request.GET)
    if not form.is_valid():  # a file can't say that it holds other customers than were asked for
        return render(request, "portal/customers.html", {"form": form}, status=400)
    wanted = form.cleaned_data
    found = customers.listing(request.scope, text=wanted["q"], state=wanted["state"], order=wanted["order"])
    rows = found.values_list("account", "name", "email", "status", "currency", "balance_row__balance", "credit_limit")
    columns = ("account", "name", "email", "status", "currency", "balance", "credit_limit")
    return csv_files.answer("customers.csv", columns, rows.iterator(csv_files.ROWS_AT_A_TIME))


@portal_page()
@require_safe
def customer(request: PortalRequest, account: str) -> HttpResponse:
    """One customer: balance and its history, what comes, alerts, items, ledger, mails."""
    picture = customers.look_at(request.scope, account, at=timezone.now())
    return render(request, "portal/customer.html", {"picture": picture, "customer": picture.row.customer})


@portal_page()
@require_safe
def ledger(request: PortalRequest, account: str) -> HttpResponse:
    """The customer's ledger, newest first, each entry with the balance behind it."""
    customer = request.scope.customer(account)
    before = asked.whole_number(request.GET.get("before", ""), most=FARTHEST_ID)
    lines, more = customers.ledger(request.scope, customer, before=before)
    return render(
        request,
        "portal/ledger.html",
        {"customer": customer, "lines": lines, "next": lines[-1].entry.pk if more else None, "is_first": not before},
    )


@portal_page()
@require_safe
def ledger_file(request: PortalRequest, account: str) -> HttpResponseBase:
    """The whole ledger of a customer as a CSV file, as it was posted."""
    customer = request.scope.customer(account)
    columns = (
        "posted_at", "occurred_at", "kind", "amount", "currency", "key", "reverses", "description", "period_start",
        "period_end",
    )  # fmt: skip
    rows = request.scope.entries().filter(customer=customer).order_by("pk").values_list(*columns)
    return csv_files.answer(f"ledger-{customer.account}.csv", columns, rows.iterator(csv_files.ROWS_AT_A_TIME))


@portal_page()
@require_safe
def mail(request: PortalRequest) -> HttpResponse:
    """One mail as it went, or will go once it is written."""
    log = request.scope.mail(request.GET.get("key", ""))
    return render(request, "portal/mail.html", {"mail": log, "content": log.content, "customer": log.customer})


def _asked(request: PortalRequest) -> str:
    """The same question again, for links to another page of it."""
    again = request.GET.copy()
    again.pop("page", None)
    return again.urlencode()
