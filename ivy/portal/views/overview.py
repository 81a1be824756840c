from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from billing import standing
from ivy.portal import overview as page
from ivy.portal.access import PortalRequest, portal_page

MAILS = 8


@portal_page()
@require_safe
def overview(request: PortalRequest) -> HttpResponse:
    """Where a partner's customers stand."""
    scope = request.scope
    mails = scope.mails().select_related("customer", "content").order_by("-pk")
    context = {
        "standings": standing.of_customers(scope.partner.pk),
        "used": page.used(scope.partner.pk, zone=scope.timezone, now=timezone.now()),
        "through": page.billed_through(scope.partner.pk),
        "mails": mails[:MAILS],
    }
    return render(request, "portal/overview.html", context)
