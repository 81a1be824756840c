from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from ivy.portal.access import PortalRequest, portal_page
from ivy.portal.forms import ReaderForm


@portal_page()
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: PortalRequest) -> HttpResponse:
    """How the reader wants money, dates and times to be written."""
    place = request.scope.portal_user
    if place is None:  # staff that look have no place here
        return render(request, "portal/settings.html", {"form": None})
    form = ReaderForm(request.POST or None, instance=place)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return HttpResponseRedirect(reverse("portal:settings"))
    return render(request, "portal/settings.html", {"form": form}, status=400 if form.errors else 200)
