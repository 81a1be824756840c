"""How things stand: in the portal with the partner's own times, at /status/ for everybody, and as a feed."""

from datetime import datetime

from django.contrib.syndication.views import Feed
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.feedgenerator import Atom1Feed
from django.utils.html import linebreaks
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ivy import incidents
from ivy.incidents import PublicIncident
from ivy.portal import status as page
from ivy.portal.access import PortalRequest, portal_page


@portal_page()
@require_safe
def status(request: PortalRequest) -> HttpResponse:
    partner = request.scope.partner
    context = {
        "processes": page.processes(partner),
        "shown_up_to": page.shown_up_to(partner),
        "open_incidents": page.open_incidents(partner),
        "past_incidents": page.past_incidents(partner),
        "days": incidents.HISTORY_DAYS,
        "now": timezone.now(),
    }
    return render(request, "portal/status.html", context)


@portal_page()
@require_safe
def banner(request: PortalRequest) -> HttpResponse:
    """What pages ask every few seconds; 204 while they show the right thing already."""
    found = page.banners(request.scope.partner)
    if request.GET.get("seen") == page.fingerprint(found):
        return HttpResponse(status=204)
    return render(request, "portal/parts/banners.html", {"banners": found, "seen": page.fingerprint(found)})


@never_cache
@require_safe
def public(request: HttpRequest) -> HttpResponse:
    """The same for people who are not logged in: nobody's name, nobody's figures. Times in UTC."""
    context = {
        "processes": page.processes(None),
        "open_incidents": page.open_incidents(None),
        "past_incidents": page.past_incidents(None),
        "days": incidents.HISTORY_DAYS,
        "now": timezone.now(),
    }
    return render(request, "portal/public_status.html", context)


class IncidentFeed(Feed):
    """Incidents that everybody may read of, the latest change first."""

    feed_type = Atom1Feed
    title = "Status"
    link = "/status/"
    subtitle = "What is wrong with billing and mails, and how far its mending is."

    def items(self) -> list[PublicIncident]:
        found = [*incidents.open_for_everybody(), *incidents.history_for_everybody()]
        return sorted(found, key=lambda one: one.updated_at, reverse=True)

    def item_title(self, item: PublicIncident) -> str:
        return f"{item.title} ({item.state})"

    def item_description(self, item: PublicIncident) -> str:
        """All that was told, the latest first, and in the end the post-mortem. HTML, escaped."""
        told = [f"{one.at:%Y-%m-%d %H:%M} UTC, {one.state}: {one.text}" for one in reversed(item.updates)]
        return linebreaks("\n\n".join([*told, *([item.post_mortem] if item.post_mortem else [])]), autoescape=True)

    def item_link(self, item: PublicIncident) -> str:
        return f"{self.link}#incident-{item.id}"

    def item_pubdate(self, item: PublicIncident) -> datetime:
        return item.began_at

    def item_updateddate(self, item: PublicIncident) -> datetime:
        return item.updated_at


feed = require_safe(never_cache(IncidentFeed()))
