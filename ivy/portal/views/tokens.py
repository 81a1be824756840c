from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from ivy.portal import tokens as verbs
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import TokenForm
from ivy.portal.models import ApiToken, Role


@portal_page(role=Role.OWNER)
@require_safe
def tokens(request: PortalRequest) -> HttpResponse:
    """Which programs may read, and a form for one more."""
    return _page(request, TokenForm(scope=request.scope))


@portal_page(role=Role.OWNER)
@require_POST
def make(request: PortalRequest) -> HttpResponse:
    """Make a token, and show its text, this once."""
    form = TokenForm(request.POST, scope=request.scope)
    if not form.is_valid():
        return _page(request, form)
    asked = form.cleaned_data
    days = int(asked["days"]) if asked["days"] else None
    token, text = verbs.make(
        request.scope.partner,
        name=asked["name"],
        by=request.user,
        resources=asked["resources"],
        customers=asked["accounts"],
        rate_per_minute=asked["rate_per_minute"],
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )
    return _page(request, TokenForm(scope=request.scope), made=token, text=text)


@portal_page(role=Role.OWNER)
@require_POST
def revoke(request: PortalRequest, reference: UUID) -> HttpResponse:
    token = request.scope.token(reference)
    if verbs.revoke(token, by=request.user.email):
        messages.success(request, f"“{token.name}” is revoked: whoever has it reads nothing any more.")
    else:
        messages.info(request, f"“{token.name}” was revoked already.")
    return HttpResponseRedirect(reverse("portal:tokens"))


def _page(request: PortalRequest, form: TokenForm, *, made: ApiToken | None = None, text: str = "") -> HttpResponse:
    context = {"form": form, "tokens": request.scope.tokens(), "made": made, "text": text, "now": timezone.now()}
    return render(request, "portal/tokens.html", context, status=400 if form.errors else 200)
