import smtplib
from decimal import Decimal, InvalidOperation

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from billing import alerts as verbs
from billing import customer_changes
from billing.alerts import AlertNotChangeable, Terms
from ivy.portal import alerting, defaults, testing
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import AlertForm, LanguageForm, TermsForm
from ivy.portal.models import Role
from ivy.portal.scope import NOT_THERE
from notifications.rendering import Unusable

MAILS_SHOWN = 20
LARGEST = Decimal(10) ** 12


@portal_page()
@require_safe
def of_partner(request: PortalRequest) -> HttpResponse:
    """What new customers of the partner get, and in which language mails are written."""
    return _partners_page(request, TermsForm())


@portal_page(role=Role.MANAGER)
@require_POST
def change_default(request: PortalRequest) -> HttpResponse:
    """Add or replace the default alert at a threshold, or take one away (`do=remove`)."""
    partner = request.scope.partner
    if request.POST.get("do") == "remove":
        removed = defaults.remove(partner, _amount(request.POST.get("threshold", "")))
        messages.success(request, "It is gone: new customers get it no more." if removed else "It was gone already.")
        return HttpResponseRedirect(reverse("portal:alerts"))
    form = TermsForm(request.POST)
    if not form.is_valid():
        return _partners_page(request, form, status=400)
    said = form.cleaned_data
    terms = Terms(
        remind_every_days=said["remind_every_days"],
        remind_at_most=said["remind_at_most"],
        tells_restored=said["tells_restored"],
    )
    defaults.keep(partner, said["threshold"], terms)
    messages.success(request, "Kept: customers who are entered from now on get it.")
    return HttpResponseRedirect(reverse("portal:alerts"))


@portal_page(role=Role.MANAGER)
@require_POST
def change_language(request: PortalRequest) -> HttpResponse:
    """The language of the mails of all customers, or of one (`account`)."""
    partner = request.scope.partner
    account = request.POST.get("account", "")
    form = LanguageForm(request.POST, usual=partner.language)
    if not form.is_valid() or not (account or form.cleaned_data["language"]):
        messages.error(request, "That is no language that mails can be written in; nothing was changed.")
    elif account:
        customer = request.scope.customer(account)
        customer_changes.change_language(customer.account, form.cleaned_data["language"])
        messages.success(request, "Saved: from the next mail on.")
        return HttpResponseRedirect(reverse("portal:customer_alerts", args=[customer.account]))
    else:
        defaults.change_language(partner, form.cleaned_data["language"])
        messages.success(request, "Saved: from the next mail on.")
    return HttpResponseRedirect(reverse("portal:alerts"))


@portal_page()
@require_safe
def of_customer(request: PortalRequest, account: str) -> HttpResponse:
    """One customer's alerts, whom they tell, and what was told so far."""
    return _customers_page(request, account, AlertForm())


@portal_page(role=Role.MANAGER)
@require_POST
def change(request: PortalRequest, account: str) -> HttpResponse:
    """Add an alert, change the one at `which` (a threshold, or `exhausted`), or end it (`do=end`)."""
    scope, which = request.scope, request.POST.get("which", "")
    customer = scope.customer(account)
    alert = scope.alert_at(account, None if which == "exhausted" else _amount(which)) if which else None
    back = HttpResponseRedirect(reverse("portal:customer_alerts", args=[customer.account]))
    try:
        if request.POST.get("do") == "end" and alert is not None:
            verbs.end(alert.pk)
            messages.success(request, "The alert is ended: nobody is told of it any more.")
            return back
        form = AlertForm(request.POST)
        if not form.is_valid():
            return _customers_page(request, account, form, which=which, status=400)
        if alert is None:
            alerting.add(scope, customer, form.cleaned_data["threshold"], form.terms)
            messages.success(request, "The alert is set.")
        else:
            changed = alerting.change(scope, customer, alert, form.cleaned_data["threshold"], form.terms)
            messages.success(request, "The alert is changed." if changed else "It stood so already.")
    except AlertNotChangeable as why:
        messages.error(request, str(why))
    return back


@portal_page(role=Role.MANAGER)
@require_POST
def send_test(request: PortalRequest, account: str) -> HttpResponse:
    """Send the alert's mail, as it would be now, to whoever asks."""
    which = request.POST.get("which", "")
    alert = request.scope.alert_at(account, None if which == "exhausted" else _amount(which))
    try:
        testing.send(alert, to=request.user.email)
    except testing.TooMany as too_many:
        messages.error(request, str(too_many))
    except Unusable as why:
        messages.error(request, f"The mail can't be written: {why}")
    except (OSError, smtplib.SMTPException):
        messages.error(request, "The mail server did not take it just now. Try again in a few minutes.")
    else:
        messages.success(request, f"Sent to {request.user.email}. No customer was told anything.")
    return HttpResponseRedirect(reverse("portal:customer_alerts", args=[account]))


def _partners_page(request: PortalRequest, form: TermsForm, status: int = 200) -> HttpResponse:
    scope = request.scope
    context = {
        "form": form,
        "defaults": scope.default_alerts().order_by("threshold"),
        "language": LanguageForm(initial={"language": scope.partner.language}, usual=scope.partner.language),
    }
    return render(request, "portal/alerts.html", context, status=status)


def _customers_page(
    request: PortalRequest, account: str, form: AlertForm, *, which: str = "", status: int = 200
) -> HttpResponse:
    scope = request.scope
    customer = scope.customer(account)
    alerts = scope.alerts().filter(customer=customer, is_active=True).prefetch_related("recipients")
    context = {
        "customer": customer,
        "alerts": alerts.order_by("kind", "threshold"),
        "form": form,
        "which": which,
        "language": LanguageForm(initial={"language": customer.language}, usual=scope.partner.language),
        "mails": scope.mails().filter(customer=customer).select_related("content").order_by("-pk")[:MAILS_SHOWN],
    }
    return render(request, "portal/customer_alerts.html", context, status=status)


def _amount(text: str) -> Decimal:
    """The threshold that was named; nonsense names nothing that is there."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise Http404(NOT_THERE) from None
    if not amount.is_finite() or not -LARGEST < amount < LARGEST:
        raise Http404(NOT_THERE)
    return amount
