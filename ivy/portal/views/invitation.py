"""Where the link of an invitation leads: the one page of the portal for people who are nobody here yet."""

from allauth.account.adapter import get_adapter
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from ivy.portal import people, words
from ivy.portal.forms import AcceptForm
from ivy.portal.models import Invitation

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@sensitive_post_parameters()
@never_cache
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Accept an invitation: with a new password, or as who is logged in. A worthless link says that and no more."""
    found = people.open_invitation(token)
    if found is None:
        return render(request, "portal/invitation_over.html")
    with words.written_for(found.partner.language, found.partner.timezone):
        if people.has_account(found):
            return _join(request, found)
        return _make_account(request, found)


def _make_account(request: HttpRequest, found: Invitation) -> HttpResponse:
    form = AcceptForm(request.POST or None, invitation=found)
    if request.method == "POST" and form.is_valid():
        try:
            place = people.accept_as_new(found, name=form.cleaned_data["name"], password=form.cleaned_data["password1"])
        except people.NotPossible:
            return render(request, "portal/invitation_over.html")
        place.user.backend = BACKEND
        get_adapter(request).login(request, place.user)
        return HttpResponseRedirect(reverse("portal:overview"))
    return render(request, "portal/invitation.html", {"invitation": found, "form": form})


def _join(request: HttpRequest, found: Invitation) -> HttpResponse:
    """They log in already: with the invited address, one button is left to press."""
    refusal = ""
    if request.method == "POST" and request.user.is_authenticated:
        try:
            people.accept_as(found, request.user)
            return HttpResponseRedirect(reverse("portal:overview"))
        except people.NotPossible as why:
            refusal = str(why)
    is_them = request.user.is_authenticated and request.user.email == found.email
    return render(request, "portal/invitation_join.html", {"invitation": found, "is_them": is_them, "refusal": refusal})
