"""Alerts as people of a partner set them: as `billing.alerts` does, and at a pace.

An alert above the balance has its customer mailed within a minute. The breaker counts what goes out for everybody, so
that whoever let many customers fall at once, or few again and again, would stop the mails of all partners.
"""

from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import F
from django.db.models.fields.json import KT
from django.db.models.functions import Now

from billing import alerts
from billing.alerts import AlertNotChangeable, Terms
from billing.models import BalanceAlert, Customer, Partner
from ivy.models.changes import CHANGES
from ivy.portal.scope import Scope

FALLS_AN_HOUR = 8
"""Fewer than the customers with held mails, and far fewer than the mails, that trip the breaker within an hour."""


def add(scope: Scope, customer: Customer, threshold: Decimal, terms: Terms) -> BalanceAlert:
    """As `billing.alerts.add`; raises AlertNotChangeable also where too many customers were let fall lately."""
    with transaction.atomic():
        _keep_the_pace(scope, customer, threshold)
        return alerts.add(customer.account, threshold, terms)


def change(scope: Scope, customer: Customer, alert: BalanceAlert, threshold: Decimal, terms: Terms) -> bool:
    """As `billing.alerts.change`, for an alert of this customer; raises AlertNotChangeable also where too many
    customers were let fall lately.
    """
    with transaction.atomic():
        if threshold > alert.threshold:
            _keep_the_pace(scope, customer, threshold)
        return alerts.change(alert.pk, threshold, terms)


def _keep_the_pace(scope: Scope, customer: Customer, threshold: Decimal) -> None:
    """Whoever else lets a customer of the partner fall at this moment waits."""
    if threshold <= customer.balance_row.balance:
        return
    Partner.objects.select_for_update(no_key=True).get(pk=scope.partner.pk)
    falls = (
        CHANGES[BalanceAlert._meta.label_lower]
        .objects.annotate(by=KT("pgh_context__by"))  # type: ignore[attr-defined]
        .filter(
            by__in=scope.people().values("user__email"),
            pgh_created_at__gt=Now() - timedelta(hours=1),
            is_active=True,
            threshold__gt=F("customer__balance_row__balance"),
        )
        .count()
    )
    if falls >= FALLS_AN_HOUR:
        raise AlertNotChangeable(
            f"Alerts above the balance, which mail the customer at once, were set {falls} times within the hour."
            " Wait a while before the next."
        )
