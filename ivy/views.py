from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def home(request: HttpRequest) -> HttpResponse:
    """Where everybody arrives: the way in for strangers, the way to the admin for staff."""
    return render(request, "home.html")
