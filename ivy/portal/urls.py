"""The addresses of the portal. They carry natural ids (account, entry key, reference), never primary keys."""

from django.urls import path

from ivy.portal.views import overview

app_name = "portal"

urlpatterns = [
    path("", overview.overview, name="overview"),
]
