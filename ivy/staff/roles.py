"""Who may do what. Roles are groups, made here by code; a person has as many as they need.

    support    looks at everything of customers, takes notes, marks mails as errant
    billing    support, and: payments, credits, adjustments, reversals; customers, alerts, items, prices, quarantine
    operator   support, and: halting and resuming, review of mails, the breaker, incidents, sources
    admin      everything that anybody may do, users and roles, and the second signature under large credits

What only the program writes is looked at by those who have the right to view it, and changed by nobody: its pages have
no such rights to give.
"""

from collections.abc import Iterable

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction

SUPPORT, BILLING, OPERATOR, ADMIN = "support", "billing", "operator", "admin"

LOOKED_AT_BY_ALL = ("billing", "notifications", "ivy", "portal")
"""Apps of which every role may view everything."""

ONLY_OF_ADMINS = frozenset({"ivy.view_probe", "ivy.view_pulse", "ivy.view_repair", "ivy.view_cachefailure"})
"""What operators and admins see of the machinery, and others do not."""

MAY: dict[str, tuple[str, ...]] = {
    SUPPORT: ("ivy.add_customernote", "notifications.mark_errant", "portal.look_as_partner"),
    BILLING: (
        "billing.take_payment", "billing.give_credit", "billing.adjust_balance", "billing.reverse_entry",
        "billing.work_quarantine",
        "billing.add_customer", "billing.change_customer",
        "billing.add_callidentity", "billing.change_callidentity", "billing.delete_callidentity",
        "billing.add_balancealert", "billing.change_balancealert",
        "billing.add_billingitem", "billing.change_billingitem", "billing.delete_billingitem",
        "billing.add_ratedeck", "billing.change_ratedeck", "billing.add_rate", "billing.change_rate",
        "billing.delete_rate",
        "billing.change_partner", "portal.invite_people", "portal.decide_requests", "portal.revoke_apitoken",
    ),
    OPERATOR: (
        "billing.halt_process", "billing.resume_process",
        "notifications.review_mails", "notifications.apologise", "notifications.reset_breaker",
        "notifications.add_breakerlimits", "notifications.change_breakerlimits",
        "ivy.add_incident", "ivy.change_incident", "ivy.delete_probe",
        "billing.add_source", "billing.change_source",
        "django_q.view_schedule", "django_q.view_success", "django_q.view_failure", "django_q.view_ormq",
        "django_q.delete_failure", "django_q.delete_ormq",
        *sorted(ONLY_OF_ADMINS),
    ),
    ADMIN: (
        "billing.approve_credit", "billing.add_partner", "portal.change_portaluser",
        "ivy.add_creditlimit", "ivy.change_creditlimit",
        "accounts.view_user", "accounts.add_user", "accounts.change_user", "auth.view_group",
        "mfa.view_authenticator", "mfa.delete_authenticator",
        "axes.view_accessattempt", "axes.delete_accessattempt", "axes.view_accesslog",
    ),
}  # fmt: skip
"""What each role may do beyond those that it includes."""

INCLUDES: dict[str, tuple[str, ...]] = {
    SUPPORT: (),
    BILLING: (SUPPORT,),
    OPERATOR: (SUPPORT,),
    ADMIN: (SUPPORT, BILLING, OPERATOR),
}


def install() -> None:
    """Make the groups, and give each exactly its permissions. May be repeated: it is, after every migration."""
    for app in apps.get_app_configs():
        create_permissions(app, verbosity=0)
    known = {
        f"{app}.{codename}": pk
        for pk, app, codename in Permission.objects.values_list("pk", "content_type__app_label", "codename")
    }
    with transaction.atomic():
        for role in INCLUDES:
            group, _ = Group.objects.get_or_create(name=role)
            group.permissions.set(known[name] for name in permissions_of(role, known))


def permissions_of(role: str, known: Iterable[str]) -> set[str]:
    """The permissions of a role as `app.codename`, its included ones too; `known` are all there are."""
    looked_at = {
        name
        for name in known
        if name.split(".")[0] in LOOKED_AT_BY_ALL and name.split(".")[1].startswith("view_")
    } - ONLY_OF_ADMINS  # fmt: skip
    return looked_at.union(MAY[role], *(permissions_of(other, known) for other in INCLUDES[role]))
