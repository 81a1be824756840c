"""The addresses of the portal. They carry natural ids (account, entry key, reference), never primary keys."""

from django.urls import path

from ivy.portal.views import brand, calls, customers, invitation, overview, people, settings, status

app_name = "portal"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("customers/", customers.listing, name="customers"),
    path("customers.csv", customers.listing_file, name="customers_file"),
    path("customers/<str:account>/", customers.customer, name="customer"),
    path("customers/<str:account>/ledger/", customers.ledger, name="ledger"),
    path("customers/<str:account>/ledger.csv", customers.ledger_file, name="ledger_file"),
    path("calls/", calls.listing, name="calls"),
    path("calls/totals/", calls.totals, name="call_totals"),
    path("calls.csv", calls.listing_file, name="calls_file"),
    path("explain/", calls.explain, name="explain"),
    path("mail/", customers.mail, name="mail"),
    path("people/", people.people, name="people"),
    path("people/invite/", people.invite, name="invite"),
    path("people/change/", people.change, name="change_person"),
    path("people/invitations/<uuid:reference>/again/", people.send_again, name="send_invitation_again"),
    path("people/invitations/<uuid:reference>/withdraw/", people.withdraw, name="withdraw_invitation"),
    path("invitation/<str:token>/", invitation.invitation, name="invitation"),
    path("status/", status.status, name="status"),
    path("brand/", brand.brand, name="brand"),
    path("brand/style.css", brand.brand_style, name="brand_style"),
    path("brand/logo.png", brand.logo, name="logo"),
    path("banner/", status.banner, name="banner"),
    path("settings/", settings.settings, name="settings"),
]
