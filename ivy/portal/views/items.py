from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from billing.upcoming import upcoming
from ivy.portal import requests
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import AskForEndForm, AskForItemForm
from ivy.portal.models import Role

SHOWN = 50


@portal_page()
@require_safe
def asked(request: PortalRequest) -> HttpResponse:
    """What was asked for, and what staff said."""
    found = request.scope.item_requests().order_by("-pk")[:SHOWN]
    return render(request, "portal/item_requests.html", {"requests": found})


@portal_page()
@require_safe
def of_customer(request: PortalRequest, account: str) -> HttpResponse:
    """What a customer has, what each item charges next, and what was asked for."""
    return _page(request, account, AskForItemForm())


@portal_page(role=Role.MANAGER)
@require_POST
def ask(request: PortalRequest, account: str) -> HttpResponse:
    """Ask for a new item, or (with `item`) for the end of one. Staff confirm it."""
    customer = request.scope.customer(account)
    is_end = "item" in request.POST
    form = AskForEndForm(request.POST) if is_end else AskForItemForm(request.POST)
    if not form.is_valid():
        if not is_end:
            return _page(request, account, form, status=400)
        messages.error(request, "Say why, and from which day on; nothing was asked.")
        return _back(customer.account)
    said, by = form.cleaned_data, request.user.email
    try:
        if is_end:
            item = request.scope.item(said["item"])
            requests.ask_for_end(item, text=said["text"], on=said["on"], by=by)
        else:
            requests.ask_for_item(customer, text=said["text"], on=said["on"], by=by)
    except requests.NotPossible as why:
        messages.error(request, str(why))
    else:
        messages.success(request, "Asked. Your carrier's staff confirm it; nothing is charged or ended before.")
    return _back(customer.account)


@portal_page(role=Role.MANAGER)
@require_POST
def withdraw(request: PortalRequest, number: int) -> HttpResponse:
    """Ask for it no more."""
    asked = request.scope.item_request(number)
    withdrawn = requests.withdraw(asked, by=request.user.email)
    messages.success(request, "It is withdrawn." if withdrawn else "It was decided already; look at what was said.")
    return HttpResponseRedirect(reverse("portal:item_requests"))


def _page(request: PortalRequest, account: str, form: object, *, status: int = 200) -> HttpResponse:
    scope = request.scope
    customer = scope.customer(account)
    context = {
        "customer": customer,
        "items": scope.items().filter(customer=customer).order_by("ends_on", "reference"),
        "outlook": upcoming(customer, at=timezone.now()),
        "requests": scope.item_requests().filter(customer=customer).order_by("-pk")[:SHOWN],
        "form": form,
        "ending": AskForEndForm(),
    }
    return render(request, "portal/items.html", context, status=status)


def _back(account: str) -> HttpResponse:
    return HttpResponseRedirect(reverse("portal:items", args=[account]))
