"""The pages that tell who changed what: of one thing, and of one person."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse

from billing.models import Customer
from ivy.models import CHANGES
from ivy.staff import changes, deeds
from ivy.staff.pages import StaffPage

AUDITED = {"billing.customer": ("customer", "account"), "billing.billingitem": ("item", "reference")}
"""By which noun, and which of its fields, the audit trail names a thing."""


class ThingChanges(StaffPage):
    """In place of the admin's own history, which knows only what was sent through its forms."""

    title = "Who changed what"
    template_name = "admin/staff/changes.html"

    def get(self, request: HttpRequest, app: str, model: str, object_id: str) -> HttpResponseBase:
        label = f"{app}.{model}"
        try:
            noun = apps.get_model(app, model)
        except LookupError:
            raise Http404 from None
        if not request.user.has_perm(f"{app}.view_{model}"):
            raise PermissionDenied("Your roles do not let you look at this.")
        if label not in CHANGES:
            return admin.site.get_model_admin(noun).history_view(request, object_id)
        thing = noun._default_manager.filter(pk=object_id).first() if object_id.isdecimal() else None
        if thing is None:
            raise Http404
        named, field = AUDITED.get(label, (str(noun._meta.verbose_name), "pk"))
        return self.page(
            subject=f"{noun._meta.verbose_name} {thing}".capitalize(),
            back=request.path.removesuffix("history/") + "change/",
            changes=changes.of(label, thing.pk, audited_as=(named, str(getattr(thing, field)))),
        )


class CustomerChanges(StaffPage):
    """All that somebody with a name did about a customer, as far as whoever looks may see it."""

    permission = "ivy.view_auditentry"
    title = "What was done about a customer"
    template_name = "admin/staff/changes.html"

    def get(self, request: HttpRequest, account: str) -> HttpResponse:
        customer = get_object_or_404(Customer, account=account)
        return self.page(
            subject=f"What was done about {customer.account} · {customer.name}",
            back=reverse("admin:customer", args=[account]),
            changes=deeds.about_customer(
                customer,
                shown=changes.SHOWN,
                mails=request.user.has_perm("notifications.view_notificationlog"),
                ledger=request.user.has_perm("billing.view_ledgerentry"),
            ),
        )


class PersonChanges(StaffPage):
    """What one person did, on pages and by commands; asked by the name under which histories know them."""

    permission = "ivy.view_auditentry"
    title = "What a person did"
    template_name = "admin/staff/changes.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        person = request.GET.get("by", "").strip()
        return self.page(
            asks=True,
            person=person,
            subject=f"What {person} did" if person else "",
            changes=deeds.by_person(person) if person else [],
        )
