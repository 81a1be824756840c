"""The addresses of the portal. They carry natural ids (account, entry key, reference), never primary keys."""

from django.urls import path

from ivy.portal.views import alerts, brand, calls, customers, invitation, items, overview, people, settings, status

app_name = "portal"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("customers/", customers.listing, name="customers"),
    path("customers.csv", customers.listing_file, name="customers_file"),
    path("customers/<str:account>/", customers.customer, name="customer"),
    path("customers/<str:account>/ledger/", customers.ledger, name="ledger"),
    path("customers/<str:account>/ledger.csv", customers.ledger_file, name="ledger_file"),
    path("customers/<str:account>/alerts/", alerts.of_customer, name="customer_alerts"),
    path("customers/<str:account>/alerts/change/", alerts.change, name="change_alert"),
    path("customers/<str:account>/alerts/test/", alerts.send_test, name="send_test"),
    path("customers/<str:account>/items/", items.of_customer, name="items"),
    path("customers/<str:account>/items/ask/", items.ask, name="ask_for_item"),
    path("alerts/", alerts.of_partner, name="alerts"),
    path("alerts/change/", alerts.change_default, name="change_default_alert"),
    path("alerts/language/", alerts.change_language, name="change_language"),
    path("requests/", items.asked, name="item_requests"),
    path("requests/<int:number>/withdraw/", items.withdraw, name="withdraw_request"),
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
