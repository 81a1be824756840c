"""A thing of each kind, so that every address of the staff pages leads somewhere."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt
from django.utils import timezone
from django_q.models import OrmQ, Task

from billing.models import BalanceAlert, BillingRun, QuarantinedCall
from ivy.models import AuditEntry, CreditLimit, CreditRequest, CustomerNote, Incident, Probe, Upload
from ivy.portal.models import ItemRequest, PortalUser
from notifications.models import BreakerLimits, NotificationLog
from tests import factories
from tests.notifications.mails import make_owed


def build() -> None:
    """Make them. Once a test: the names are fixed."""
    partner = factories.make_partner(slug="matrix")
    customer = factories.make_customer(account="MATRIX-1", partner=partner)
    factories.make_user(email="colleague@ivy.example")
    PortalUser.objects.create(user=factories.make_user(email="owner@quayside.example"), partner=partner, role="owner")
    factories.make_alert(customer=customer)
    factories.make_identity(customer=customer)
    factories.make_source()
    call = factories.make_call(customer=customer)
    factories.make_quarantined_call(call)
    factories.make_rate(valid_from=timezone.now() + timedelta(days=30))  # one in force is deleted by nobody
    factories.make_item(customer=customer, reference="matrix-item")
    Upload.objects.create(
        kind="items", file_name="items.csv", by="ann@ivy.example",
        content=b"reference,account,amount,interval,starts_on\nnew-item,MATRIX-1,10,month,2027-01-01\n",
    )  # fmt: skip
    factories.make_entry(customer=customer, key="payment:bank:matrix")
    factories.make_run()
    BreakerLimits.objects.get_or_create(pk=1)
    CreditLimit.objects.create(currency="GBP", amount=100)
    CreditRequest.objects.create(
        customer=customer, amount=500, currency="GBP", reference="matrix", reason="A week without telephone.",
        asked_by=factories.make_user(email="asker@ivy.example"),
    )  # fmt: skip
    ItemRequest.objects.create(customer=customer, kind="new", text="A trunk.", on="2027-01-01", asked_by="o@q.example")
    make_owed()
    CustomerNote.objects.create(customer=customer, by="ann@ivy.example", text="Called.")
    AuditEntry.objects.create(by="ann@ivy.example", verb="note", noun="customer", name="MATRIX-1", summary="Noted.")
    Incident.objects.create(title="Matrix", affects=["calls"], opened_by="ann@ivy.example")
    Probe.objects.create(part="cache", host="alpha", role="web", pid=1, is_well=True)
    OrmQ.objects.create(key="ivy", payload="", lock=timezone.now())
    Task.objects.create(
        id="f" * 32, name="failed", func="x.y", started=timezone.now(), stopped=timezone.now(), success=False
    )
    Authenticator.objects.create(user=factories.User.objects.first(), type="totp", data={})
    AccessAttempt.objects.create(
        username="guess@ivy.example", ip_address="192.0.2.1", get_data="", post_data="", failures_since_start=1
    )


def _of_customer() -> dict[str, Any]:
    return {"args": ["MATRIX-1"]}


def _of_alert() -> dict[str, Any]:
    return {"args": ["MATRIX-1", BalanceAlert.objects.get(kind="low_balance", customer__account="MATRIX-1").pk]}


def _of_credit() -> dict[str, Any]:
    return {"args": [CreditRequest.objects.get(reference="matrix").pk]}


def _of_entry() -> dict[str, Any]:
    return {"query": {"key": "payment:bank:matrix"}}


ARGUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "control_halt": lambda: {"args": ["calls"]},
    "control_resume": lambda: {"args": ["calls"]},
    "control_run": lambda: {"args": [BillingRun.objects.latest("pk").pk]},
    "control_run_part": lambda: {"args": [BillingRun.objects.latest("pk").pk]},
    "control_run_charges": lambda: {"args": [BillingRun.objects.latest("pk").pk]},
    "review_mail": lambda: {"args": [NotificationLog.objects.latest("pk").pk]},
    **dict.fromkeys(
        (
            "customer",
            "customer_done",
            "customer_note",
            "customer_status",
            "customer_credit_limit",
            "customer_alert_add",
        ),
        _of_customer,
    ),
    **dict.fromkeys(("money_payment", "money_refund", "money_credit", "money_adjust"), _of_customer),
    **dict.fromkeys(("customer_alert", "customer_alert_end"), _of_alert),
    **dict.fromkeys(("money_credit_approve", "money_credit_decline", "money_credit_withdraw"), _of_credit),
    **dict.fromkeys(("money_reverse", "explain"), _of_entry),
    "item_request_accept": lambda: {"args": [ItemRequest.objects.latest("pk").pk]},
    "item_request_decline": lambda: {"args": [ItemRequest.objects.latest("pk").pk]},
    "changes_of": lambda: {"args": ["billing", "partner", "1"]},
    "invite_to_portal": lambda: {"args": ["matrix"]},
    "look_as_partner": lambda: {"args": ["matrix"]},
    "work_call": lambda: {"args": [QuarantinedCall.objects.latest("pk").pk]},
    "work_deck": lambda: {"args": ["standard"]},
    "work_import_confirm": lambda: {"args": [Upload.objects.get().pk]},
    "work_export": lambda: {"args": ["billing", "customer"]},
    **dict.fromkeys(
        (
            "work_item",
            "work_item_edit",
            "work_item_amount",
            "work_item_pause",
            "work_item_resume",
            "work_item_end",
        ),
        lambda: {"args": ["matrix-item"]},
    ),
    "app_list": lambda: {"args": ["billing"]},
    "view_on_site": lambda: {"args": [1, 1]},
    "auth_user_password_change": lambda: {"args": [factories.User.objects.get(email="colleague@ivy.example").pk]},
}
"""What `reverse` needs for pages that are not of one row of a model."""
