"""The search: a page for the box on top of every page (`?q=`), and the list in Unfold's command palette (`?s=`).

Unfold has a view of its own at this address. It is not used: it keeps what was found in a cache for minutes, and knows
terms in small letters only, by which neither keys nor ids of calls are found.
"""

import time
from collections.abc import Iterator

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.dataclasses import SearchResult

from ivy.accounts.models import User
from ivy.staff.customers.finding import LONGEST_TERM, find, only_one, with_way_back
from ivy.staff.pages import StaffPage
from ivy.unfold import MENU

PALETTE_ROWS = 100


class Search(StaffPage):
    title = "Search"
    template_name = "admin/staff/customers/search.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        assert isinstance(request.user, User)
        if "s" in request.GET:
            return self._palette(request, request.user)
        term = request.GET.get("q", "").strip()[:LONGEST_TERM]
        groups = find(term, request.user)
        found = only_one(groups)
        if found is not None and "all" not in request.GET:
            return HttpResponseRedirect(with_way_back(found, term))
        return self.page(term=term, groups=groups)

    def _palette(self, request: HttpRequest, user: User) -> HttpResponse:
        began = time.monotonic()
        term = request.GET["s"].strip()
        results = [*_menu_lines(request, term), *_found(term, user)] if term else []
        if term and not results:  # Unfold would show nothing at all
            results = [SearchResult("Nothing is called so", "what can be found", reverse("admin:search"), "search")]
        pages = Paginator(results, PALETTE_ROWS)
        return TemplateResponse(
            request,
            "unfold/helpers/command_results.html",
            {
                "page_obj": pages,
                "results": pages.get_page(1),
                "page_counter": 0,
                "execution_time": time.monotonic() - began,
                "command_show_history": False,
            },
            headers={"HX-Trigger": "search"},
        )


def _found(term: str, user: User) -> Iterator[SearchResult]:
    for group in find(term, user):
        for hit in group.hits:
            yield SearchResult(title=hit.title, description=hit.description, link=hit.url, icon=group.icon)


def _menu_lines(request: HttpRequest, term: str) -> Iterator[SearchResult]:
    """Lines of the menu that have the term in their title, for those who may follow them."""
    for group in MENU:
        for line in group["items"]:
            may_see = line.get("permission")
            if term.lower() in line["title"].lower() and (may_see is None or may_see(request)):
                yield SearchResult(
                    title=line["title"], description=group["title"], link=str(line["link"]), icon=line["icon"]
                )
