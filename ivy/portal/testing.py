"""Mails that people of partners send themselves to see what their customers get."""

from datetime import timedelta

from django.db.models.functions import Now

from billing.models import BalanceAlert
from ivy.models import AuditEntry
from notifications import instance, trying

AN_HOUR = 10
VERB = "send test mail"


class TooMany(Exception):
    """Nothing was sent; the message says why."""


def send(alert: BalanceAlert, *, to: str) -> None:
    """Send it to who asks, at most ten within an hour. Raises TooMany, and what `notifications.trying.send` raises."""
    if instance.doubt():
        raise TooMany("This Ivy is not the one that mails: nothing was sent.")
    lately = AuditEntry.objects.filter(by=to, verb=VERB, at__gt=Now() - timedelta(hours=1)).count()
    if lately >= AN_HOUR:
        raise TooMany(f"You sent yourself {lately} tests within the hour. Wait a while before the next.")
    trying.send(alert, to=to)
    AuditEntry.objects.create(
        by=to, verb=VERB, noun="customer", name=alert.customer.account, summary="A test of an alert's mail was sent."
    )
