from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from ivy.portal import brands, colours
from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import BrandForm
from ivy.portal.models import Role
from ivy.portal.scope import NOT_THERE
from notifications.facts import sender_of

YEAR = 365 * 24 * 3600  # seconds
OWN_GREEN = "#0b7a53"


@portal_page(role=Role.OWNER)
@require_http_methods(["GET", "HEAD", "POST"])
def brand(request: PortalRequest) -> HttpResponse:
    """How the portal looks, and whom mails to customers come from."""
    partner, standing = request.scope.partner, request.scope.brand
    initial = {
        "name": partner.name,
        "sender_name": partner.sender_name,
        "reply_to": partner.reply_to,
        "colour": (standing.colour if standing else "") or OWN_GREEN,
    }
    form = BrandForm(request.POST or None, request.FILES or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        brands.change(
            partner,
            by=request.user.email,
            name=said["name"],
            sender_name=said["sender_name"],
            reply_to=said["reply_to"],
            colour="" if said["colour"] == OWN_GREEN else said["colour"],
            logo=said["logo"],
            forgets_logo=said["forgets_logo"],
        )
        messages.success(request, "Saved.")
        return HttpResponseRedirect(reverse("portal:brand"))
    context = {"form": form, "sender": sender_of(partner)}
    return render(request, "portal/brand.html", context, status=400 if form.errors else 200)


@portal_page()
@require_safe
def brand_style(request: PortalRequest) -> HttpResponse:
    """The partner's colour as a style sheet, for its own people: our policy lets no page carry one."""
    standing = request.scope.brand
    if standing is None or not standing.colour:
        raise Http404(NOT_THERE)
    shades = colours.shades(standing.colour)
    return _kept(
        render(request, "portal/brand.css", {"shades": shades}, content_type="text/css; charset=utf-8"),
    )


@portal_page()
@require_safe
def logo(request: PortalRequest) -> HttpResponse:
    """The partner's logo, for its own people."""
    drawn = request.scope.logo()
    if drawn is None:
        raise Http404(NOT_THERE)
    answer = HttpResponse(drawn, content_type="image/png")
    answer["Content-Disposition"] = 'inline; filename="logo.png"'
    return _kept(answer)


def _kept(answer: HttpResponse) -> HttpResponse:
    """Browsers keep it: its address changes with it, and a shared cache must not, as it is one partner's."""
    answer["Cache-Control"] = f"private, max-age={YEAR}, immutable"
    return answer
