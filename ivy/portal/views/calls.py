from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing import explain as explaining
from ivy.portal import asked, calls, csv_files
from ivy.portal.access import PortalRequest, portal_page

COLUMNS = (
    "started_at", "account", "direction", "from_number", "to_number", "seconds", "billed_seconds", "price", "currency",
    "free_because", "corrected", "key",
)  # fmt: skip


@portal_page()
@require_safe
def listing(request: PortalRequest) -> HttpResponse:
    """Billed calls, newest first, a page at a time."""
    form = asked.CallsForm(request.GET)
    context: dict[str, object] = {"form": form, "calls": [], "asked": _asked(request)}
    if form.is_valid():
        found, more = calls.page(request.scope, form.asked, after=asked.place(request.GET.get("after", "")))
        context |= {"calls": found, "next": found[-1].place if more else "", "what": form.cleaned_data}
        context["is_first"] = "after" not in request.GET
    return render(request, "portal/calls.html", context)


@portal_page()
@require_safe
def totals(request: PortalRequest) -> HttpResponse:
    """What all of these calls come to: a part of the page, asked for once it stands."""
    form = asked.CallsForm(request.GET)
    context: dict[str, object] = {"totals": []}
    if form.is_valid():
        try:
            context["totals"] = calls.totals(request.scope, form.asked)
        except calls.TooMuch as too_much:
            context["sentence"] = str(too_much)
    return render(request, "portal/parts/call_totals.html", context)


@portal_page()
@require_safe
def listing_file(request: PortalRequest) -> HttpResponseBase:
    """The same calls as a CSV file, of any length."""
    form = asked.CallsForm(request.GET)
    if not form.is_valid():
        return render(request, "portal/calls.html", {"form": form, "calls": [], "asked": ""}, status=400)
    rows = (
        (
            call.started_at, call.account, call.direction, call.from_number, call.to_number, call.seconds,
            call.billed_seconds, call.price, call.currency, call.free_because,
            "yes" if call.is_corrected else "no", call.key,
        )
        for call in calls.every(request.scope, form.asked)
    )  # fmt: skip
    name = f"calls-{form.cleaned_data['since']}-{form.cleaned_data['until']}.csv"
    return csv_files.answer(name, COLUMNS, rows)


@portal_page()
@require_safe
def explain(request: PortalRequest) -> HttpResponse:
    """How a charge, a free call or any other entry came about, step by step."""
    key = request.GET.get("key", "")
    customer = request.scope.owner_of(key)
    explanation = explaining.explain(key, names_staff=False)
    return render(request, "portal/explain.html", {"explanation": explanation, "customer": customer})


def _asked(request: PortalRequest) -> str:
    again = request.GET.copy()
    again.pop("after", None)
    return again.urlencode()
