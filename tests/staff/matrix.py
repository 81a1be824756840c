"""Who may send what: every address of the staff pages that takes a POST, and the roles that may.

Written by hand, not computed from the code: this is the fence, told once more. What is not named here may be sent by
nobody. `may` holds roles; "superuser" stands for a person who may do everything and has no role.
"""

from collections.abc import Iterator

from django.urls import get_resolver
from django.urls.resolvers import URLPattern, URLResolver

BILLING = frozenset({"billing", "admin", "superuser"})
OPERATOR = frozenset({"operator", "admin", "superuser"})
ADMIN = frozenset({"admin", "superuser"})
ROOT = frozenset({"superuser"})
STAFF = frozenset({"support", "billing", "operator", "admin", "superuser"})

PEOPLE = ("anonymous", "stranger", "staff without a role", "support", "billing", "operator", "admin", "superuser")
"""A stranger is somebody logged in who is no staff."""

MAY: dict[str, frozenset[str]] = {
    "billing_customer_add": BILLING,
    "billing_customer_change": BILLING,
    "customer_note": STAFF,
    "customer_status": BILLING,
    "customer_credit_limit": BILLING,
    "customer_alert_add": BILLING,
    "customer_alert": BILLING,
    "customer_alert_end": BILLING,
    "money_payment": BILLING,
    "money_refund": BILLING,
    "money_credit": BILLING,
    "money_adjust": BILLING,
    "money_reverse": BILLING,
    "money_credit_approve": ADMIN,
    "money_credit_decline": ADMIN,
    "money_credit_withdraw": STAFF,  # their own
    "ivy_creditlimit_add": ADMIN,
    "ivy_creditlimit_change": ADMIN,
    "billing_callidentity_add": BILLING,
    "billing_callidentity_change": BILLING,
    "billing_callidentity_delete": BILLING,
    "billing_billingitem_add": BILLING,
    "billing_billingitem_change": BILLING,
    "billing_billingitem_delete": BILLING,  # as long as it was never charged
    "billing_ratedeck_add": BILLING,
    "billing_ratedeck_change": BILLING,
    "billing_rate_add": BILLING,
    "billing_rate_change": BILLING,
    "billing_rate_delete": BILLING,
    "billing_partner_add": ADMIN,
    "billing_partner_change": BILLING,
    "invite_to_portal": BILLING,
    "look_as_partner": STAFF,
    "stop_looking": STAFF | {"staff without a role"},
    "portal_portaluser_change": ADMIN,
    "billing_source_add": OPERATOR,
    "billing_source_change": OPERATOR,
    "notifications_breakerlimits_change": OPERATOR,
    "ivy_incident_add": OPERATOR,
    "ivy_incident_change": OPERATOR,
    "ivy_probe_delete": OPERATOR,
    "django_q_failure_delete": OPERATOR,
    "django_q_ormq_delete": OPERATOR,
    "control_halt": OPERATOR,
    "control_resume": OPERATOR,
    "control_reset_breaker": OPERATOR,
    "review_approve": OPERATOR,
    "review_delivered": OPERATOR,
    "review_resend": OPERATOR,
    "review_retry": OPERATOR,
    "review_suppress": OPERATOR,
    "review_errant": STAFF,
    "review_apologise": OPERATOR,
    "item_request_accept": BILLING,
    "item_request_decline": BILLING,
    "work_release": BILLING,
    "work_dismiss": BILLING,
    "work_add_rate": BILLING,
    "work_add_identity": BILLING,
    "work_deck_import": BILLING,
    "work_import": BILLING,
    "work_import_confirm": BILLING,  # of items; of partners only admins
    "work_item_add": BILLING,
    "work_item_edit": BILLING,
    "work_item_amount": BILLING,
    "work_item_pause": BILLING,
    "work_item_resume": BILLING,
    "work_item_end": BILLING,
    "accounts_user_add": ADMIN,
    "accounts_user_change": ADMIN,
    "auth_user_password_change": ADMIN,
    "mfa_authenticator_delete": ADMIN,
    "axes_accessattempt_delete": ADMIN,
}

OPEN_TO_ALL_STAFF = frozenset({"index", "app_list", "jsi18n", "search", "autocomplete", "runbook", "view_on_site"})
"""Pages to look at: they answer a POST as they answer a GET, or refuse it."""

LOOKED_AT = frozenset({
    "changes", "changes_of", "review", "review_mail", "review_twice",
    "customer", "explain", "money_credits", "item_requests",
    "control_now", "control_lately", "control_run", "control_run_part", "control_run_charges",
    "work_quarantine", "work_calls", "work_call", "work_deck", "work_price", "work_items", "work_item", "work_export",
})  # fmt: skip
"""Pages of the control room that are only looked at: they take no POST from anybody."""

TRIED_AND_TAKEN_BACK = frozenset({"customer_alert_end", "money_credit_approve", "money_reverse", "work_import_confirm"})
"""Pages that show what would follow by doing it in a transaction that they take back."""

LEAVES_A_TRACE = frozenset({"work_export"})
"""What is looked at and noted: that somebody took it, in the audit trail, and nothing else."""

OWN_ACCOUNT = frozenset({"login", "logout", "password_change", "password_change_done"})
"""Of the person itself; `tests/project/test_log_in.py` tells of them."""


def addresses() -> Iterator[tuple[str, str]]:
    """Every address of the admin namespace: its name (empty for redirects) and its route."""
    (admin,) = (found for found in get_resolver().url_patterns if getattr(found, "namespace", None) == "admin")

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, str]]:
        for found in patterns:
            if isinstance(found, URLResolver):
                yield from walk(found.url_patterns, prefix + str(found.pattern))
            else:
                yield found.name or "", prefix + str(found.pattern)

    return walk(admin.url_patterns, "")
