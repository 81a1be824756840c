from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ivy import runbook as book


def home(request: HttpRequest) -> HttpResponse:
    """Where everybody arrives: the way in for strangers, the way to the admin for staff."""
    return render(request, "home.html")


def runbook(request: HttpRequest) -> HttpResponse:
    """What each alarm means and what to do, for staff: docs/runbook.md, with an anchor for every alarm."""
    context = {**admin.site.each_context(request), "title": "Runbook", "page": book.read()}
    return render(request, "admin/runbook.html", context)
