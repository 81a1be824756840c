"""How the staff pages look, and where they lead: the menu goes the way of the money."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _static(path: str) -> Callable[[HttpRequest], str]:
    """Unfold asks for the address of a file with each request: the manifest of static files is not known yet here."""
    return lambda request: static(path)


def _list_of(title: str, model: str, icon: str) -> dict[str, Any]:
    """A line of the menu that leads to the list of `app.model`, for those who may see it."""
    app, name = model.split(".")

    def may_see(request: HttpRequest) -> bool:
        return request.user.has_perm(f"{app}.view_{name}")

    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": may_see,
    }


def _page(title: str, name: str, icon: str, *permissions: str) -> dict[str, Any]:
    """A line of the menu that leads to a page of the control room, for those who have one of the permissions."""

    def may_see(request: HttpRequest) -> bool:
        return any(request.user.has_perm(permission) for permission in permissions)

    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}"), "permission": may_see}


MENU: list[dict[str, Any]] = [
    {
        "items": [
            {"title": "Control room", "icon": "monitor_heart", "link": reverse_lazy("admin:index")},
        ],
    },
    {
        "title": "Customers",
        "items": [
            _list_of("Partners", "billing.partner", "handshake"),
            _list_of("Customers", "billing.customer", "group"),
            _list_of("Call identities", "billing.callidentity", "badge"),
            _list_of("Balance alerts", "billing.balancealert", "notifications"),
            _list_of("Falls (episodes)", "billing.episode", "trending_down"),
            _page("Import CSV", "work_import", "upload_file", "billing.change_customer", "billing.take_payment"),
        ],
    },
    {
        "title": "Mails",
        "items": [
            {
                "title": "Review",
                "icon": "rate_review",
                "link": reverse_lazy("admin:review"),
                "permission": lambda request: request.user.has_perm("notifications.view_notificationlog"),
            },
            _list_of("Notification log", "notifications.notificationlog", "mail"),
            _list_of("Staff orders", "notifications.stafforder", "gavel"),
            _list_of("Breaker trips", "notifications.breakertrip", "electric_bolt"),
            _list_of("Breaker limits", "notifications.breakerlimits", "speed"),
        ],
    },
    {
        "title": "Calls",
        "items": [
            _list_of("Sources", "billing.source", "dns"),
            _list_of("Deliveries", "billing.delivery", "inbox"),
            _list_of("Arrival batches", "billing.arrivalbatch", "stacks"),
            _list_of("Call records", "billing.callrecord", "call"),
            _page("Work list", "work_quarantine", "assignment_late", "billing.view_quarantinedcall"),
            _list_of("Quarantine", "billing.quarantinedcall", "report"),
            _list_of("Free calls", "billing.freecall", "money_off"),
            _list_of("Unparsable lines", "billing.unparsableline", "broken_image"),
        ],
    },
    {
        "title": "Prices",
        "items": [
            _list_of("Rate decks", "billing.ratedeck", "price_change"),
            _list_of("Rates", "billing.rate", "sell"),
            _page("What would it cost?", "work_price", "calculate", "billing.view_rate"),
            _page("Import a price list", "work_deck_import", "upload", "billing.add_rate"),
        ],
    },
    {
        "title": "Items",
        "items": [
            {
                "title": "Requests of partners",
                "icon": "contact_support",
                "link": reverse_lazy("admin:item_requests"),
                "permission": lambda request: request.user.has_perm("portal.view_itemrequest"),
            },
            _page("Next due", "work_items", "event_upcoming", "billing.view_billingitem"),
            _list_of("Billing items", "billing.billingitem", "event_repeat"),
            _list_of("Charged periods", "billing.itemperiod", "date_range"),
        ],
    },
    {
        "title": "Ledger",
        "items": [
            _list_of("Entries", "billing.ledgerentry", "receipt_long"),
            _list_of("Re-ratings", "billing.rerating", "history"),
            _list_of("Balances", "billing.customerbalance", "account_balance"),
            {
                "title": "Waiting credits",
                "icon": "approval",
                "link": reverse_lazy("admin:money_credits"),
                "permission": lambda request: request.user.has_perm("ivy.view_creditrequest"),
            },
            _list_of("Credit requests", "ivy.creditrequest", "request_quote"),
            _list_of("Credit limits", "ivy.creditlimit", "vertical_align_top"),
        ],
    },
    {
        "title": "Runs",
        "items": [
            _list_of("Billing runs", "billing.billingrun", "play_circle"),
            _list_of("Workers", "billing.billingworker", "memory"),
            _list_of("Chunks", "billing.billingchunk", "view_module"),
        ],
    },
    {
        "title": "Halting",
        "items": [
            _list_of("Switches", "billing.processswitch", "front_hand"),
            _list_of("History", "billing.switchhistory", "history"),
        ],
    },
    {
        "title": "Trouble",
        "items": [
            _list_of("Incidents", "ivy.incident", "crisis_alert"),
            {"title": "Runbook", "icon": "menu_book", "link": reverse_lazy("admin:runbook")},
        ],
    },
    {
        "title": "People",
        "collapsible": True,
        "items": [
            _list_of("Users", "accounts.user", "person"),
            _list_of("Groups", "auth.group", "groups"),
            _list_of("Portal users", "portal.portaluser", "storefront"),
            _list_of("Invitations", "portal.invitation", "outgoing_mail"),
            _list_of("API tokens", "portal.apitoken", "vpn_key"),
            _list_of("Looks as partner", "portal.stafflook", "visibility"),
            _list_of("Second factors", "mfa.authenticator", "key"),
            _list_of("Failed log-ins", "axes.accessattempt", "gpp_bad"),
            _list_of("Log-ins", "axes.accesslog", "login"),
            _list_of("Audit trail", "ivy.auditentry", "history_edu"),
            {
                "title": "What a person did",
                "icon": "person_search",
                "link": reverse_lazy("admin:changes"),
                "permission": lambda request: request.user.has_perm("ivy.view_auditentry"),
            },
            _list_of("Notes", "ivy.customernote", "sticky_note_2"),
        ],
    },
    {
        "title": "Machinery",
        "collapsible": True,
        "items": [
            _list_of("Alarms", "ivy.alarm", "notification_important"),
            _list_of("Probes", "ivy.probe", "troubleshoot"),
            _list_of("Cache failures", "ivy.cachefailure", "warning"),
            _list_of("Pulses", "ivy.pulse", "ecg_heart"),
            _list_of("Repairs", "ivy.repair", "healing"),
            _list_of("Schedules", "django_q.schedule", "schedule"),
            _list_of("Queued tasks", "django_q.ormq", "pending"),
            _list_of("Done tasks", "django_q.success", "task_alt"),
            _list_of("Failed tasks", "django_q.failure", "error"),
        ],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Ivy",
    "SITE_HEADER": "Ivy",
    "SITE_SUBHEADER": "Billing",
    "SITE_URL": "/",
    "SHOW_VIEW_ON_SITE": False,
    "SITE_ICON": _static("ivy/ivy.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _static("ivy/ivy.svg")}],
    "STYLES": [_static(f"ivy/{sheet}.css") for sheet in ("admin", "control", "room", "customers", "review", "work")],
    "SCRIPTS": [_static("ivy/control.js")],
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("account_change_password")},
            {"title": "Second factor", "link": reverse_lazy("mfa_index")},
        ],
    },
    "DASHBOARD_CALLBACK": "ivy.views.sum_up",
    "SIDEBAR": {"navigation": MENU},
    # Dark enough that white writing on 600 and 600 on white can be read (WCAG AA).
    "COLORS": {
        "primary": {
            "50": "oklch(97.9% .021 166.1)",
            "100": "oklch(95% .052 163.1)",
            "200": "oklch(90.5% .093 164.2)",
            "300": "oklch(84.5% .143 165)",
            "400": "oklch(76.5% .177 163.2)",
            "500": "oklch(62% .15 162.5)",
            "600": "oklch(51% .118 163.2)",
            "700": "oklch(45% .105 165.6)",
            "800": "oklch(39% .088 166.9)",
            "900": "oklch(34% .073 168.9)",
            "950": "oklch(24% .049 172.6)",
        },
    },
}
