"""The public status page, and its feed."""

from django.urls import path

from ivy.portal.views import status

app_name = "status"

urlpatterns = [
    path("", status.public, name="page"),
    path("feed", status.feed, name="feed"),
]
