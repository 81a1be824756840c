"""The addresses of the portal. They carry natural ids (account, entry key, reference), never primary keys."""

from django.urls import path

from ivy.portal.views import invitation, overview, people, settings

app_name = "portal"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("people/", people.people, name="people"),
    path("people/invite/", people.invite, name="invite"),
    path("people/change/", people.change, name="change_person"),
    path("people/invitations/<uuid:reference>/again/", people.send_again, name="send_invitation_again"),
    path("people/invitations/<uuid:reference>/withdraw/", people.withdraw, name="withdraw_invitation"),
    path("invitation/<str:token>/", invitation.invitation, name="invitation"),
    path("settings/", settings.settings, name="settings"),
]
