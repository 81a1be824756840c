from django.http import HttpResponse
from django.shortcuts import render

from ivy.portal.access import PortalRequest, portal_page


@portal_page()
def overview(request: PortalRequest) -> HttpResponse:
    """Where a partner's customers stand."""
    return render(request, "portal/overview.html")
