"""The addresses of the portal. They carry natural ids (account, entry key, reference), never primary keys."""

from datetime import date

from django.urls import path, register_converter

from ivy.portal.views import (
    alerts,
    brand,
    calls,
    customers,
    invitation,
    items,
    overview,
    people,
    settings,
    statements,
    status,
    tokens,
)


class MonthConverter:
    """A month in an address: `2026-03`; its first day in Python."""

    regex = "[0-9]{4}-(?:0[1-9]|1[0-2])"

    def to_python(self, value: str) -> date:
        return date.fromisoformat(f"{value}-01")

    def to_url(self, value: date | str) -> str:
        return value if isinstance(value, str) else f"{value:%Y-%m}"


register_converter(MonthConverter, "month")

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
    path("statements/", statements.months, name="statements"),
    path("statements/<month:month>/", statements.month, name="statements_of_month"),
    path("statements/<month:month>/statements.csv", statements.month_csv, name="statements_csv"),
    path("statements/<month:month>/statements.pdf", statements.month_pdf, name="statements_pdf"),
    path("statements/<month:month>/<str:account>/", statements.statement, name="statement"),
    path("statements/<month:month>/<str:account>/statement.csv", statements.statement_csv, name="statement_csv"),
    path("statements/<month:month>/<str:account>/statement.pdf", statements.statement_pdf, name="statement_pdf"),
    path("customers/<str:account>/statements/", statements.of_customer, name="customer_statements"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/make/", tokens.make, name="make_token"),
    path("tokens/<uuid:reference>/revoke/", tokens.revoke, name="revoke_token"),
    path("settings/", settings.settings, name="settings"),
]
