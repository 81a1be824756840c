from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ivy import runbook as book
from ivy.staff.control.live import first_page


def home(request: HttpRequest) -> HttpResponse:
    """Where everybody arrives: the way in for strangers, the way to the admin for staff."""
    return render(request, "home.html")


def sum_up(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the first page of the admin says above its list; Unfold calls it."""
    return {**context, **first_page(request)}


def runbook(request: HttpRequest) -> HttpResponse:
    """What each alarm means and what to do, for staff: docs/runbook.md, with an anchor for every alarm."""
    context = {**admin.site.each_context(request), "title": "Runbook", "page": book.read()}
    return render(request, "admin/runbook.html", context)
