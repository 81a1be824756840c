from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from ivy.portal import people as verbs
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import ROLES, ChangePersonForm, InviteForm
from ivy.portal.models import Role


@portal_page(role=Role.OWNER)
@require_safe
def people(request: PortalRequest) -> HttpResponse:
    """Who may see the portal, who was invited, and a form to invite."""
    return _page(request, InviteForm())


@portal_page(role=Role.OWNER)
@require_POST
def invite(request: PortalRequest) -> HttpResponse:
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, form)
    try:
        sent = verbs.invite(
            request.scope.partner,
            email=form.cleaned_data["email"],
            role=Role(form.cleaned_data["role"]),
            by=request.user.email,
        )
    except verbs.NotPossible as why:
        form.add_error("email", str(why))
        return _page(request, form)
    _tell(request, sent)
    return _back()


@portal_page(role=Role.OWNER)
@require_POST
def send_again(request: PortalRequest, reference: UUID) -> HttpResponse:
    try:
        _tell(request, verbs.send_again(request.scope.invitation(reference)))
    except verbs.NotPossible as why:
        messages.error(request, str(why))
    return _back()


@portal_page(role=Role.OWNER)
@require_POST
def withdraw(request: PortalRequest, reference: UUID) -> HttpResponse:
    invitation = request.scope.invitation(reference)
    verbs.withdraw(invitation)
    messages.success(request, f"The invitation of {invitation.email} is withdrawn; its link opens nothing any more.")
    return _back()


@portal_page(role=Role.OWNER)
@require_POST
def change(request: PortalRequest) -> HttpResponse:
    """Give somebody another role, shut them out, or let them in again."""
    form = ChangePersonForm(request.POST)
    if not form.is_valid():
        messages.error(request, "That could not be understood; nothing was changed.")
        return _back()
    person = request.scope.person(form.cleaned_data["email"])
    role = Role(form.cleaned_data["role"]) if form.cleaned_data["role"] else None
    active = {"yes": True, "no": False}.get(form.cleaned_data["active"])
    try:
        changed = verbs.change(person, role=role, is_active=active)
    except verbs.NotPossible as why:
        messages.error(request, str(why))
    else:
        said = f"{person.user.email} is changed." if changed else f"{person.user.email} stood so already."
        messages.success(request, said)
    return _back()


def _page(request: PortalRequest, form: InviteForm) -> HttpResponse:
    context = {
        "form": form,
        "people": request.scope.people().order_by("-is_active", "user__email"),
        "invitations": request.scope.invitations().order_by("email"),
        "roles": ROLES,
    }
    return render(request, "portal/people.html", context, status=400 if form.errors else 200)


def _tell(request: PortalRequest, sent: verbs.Sent) -> None:
    email = sent.invitation.email
    if sent.is_mailed:
        messages.success(request, f"The invitation is on its way to {email}.")
    else:
        messages.warning(
            request, f"{email} is invited, but the mail server did not take the mail. Send it again in a minute."
        )


def _back() -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("portal:people"))
