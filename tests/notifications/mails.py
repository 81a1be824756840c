"""Mails that are owed, for tests of what they say: a log row with its recipient beside it, as owing leaves them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.utils import timezone

from billing.models import AlertKind, BalanceAlert, Customer, Episode, LedgerEntry, Partner
from notifications.kinds import recipient_hash
from notifications.models import NotificationContent, NotificationLog, State
from notifications.rendering import Written
from tests.factories import make_alert, make_customer, make_entry, make_episode, make_partner

FROZEN = datetime(2026, 11, 23, 9, 30, 12, 345678, tzinfo=UTC)

_numbers = count(1)


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def make_fallen(balance: Decimal | str = "4.20", threshold: Decimal | str = "10", **fields: Any) -> Episode:
    """An open episode of a customer of Harbour with this balance, who is named by the fields."""
    alert = make_alert(customer=make_customer(balance=Decimal(balance), **fields), threshold=Decimal(threshold))
    return make_episode(alert=alert)


def make_exhausted(balance: str = "-5.01", **fields: Any) -> Episode:
    customer = make_customer(balance=Decimal(balance), **fields)
    alert = BalanceAlert.objects.get(customer=customer, kind=AlertKind.EXHAUSTED)
    return make_episode(alert=alert)


def make_owed(kind: str = "low_balance", about: Episode | None = None, **fields: Any) -> NotificationLog:
    """The right to send a mail of this kind, with its recipient."""
    number = next(_numbers)
    episode = about or make_fallen()
    customer = episode.alert.customer
    recipient = fields.pop("recipient", customer.email)
    defaults: dict[str, Any] = {
        "key": f"{kind}:{episode.alert_id}:test:{number}",
        "customer": customer,
        "partner": customer.partner,
        "alert": episode.alert,
        "episode": episode,
        "recipient_hash": recipient_hash(recipient),
        "message_id": f"<{number:064x}@notifications.harbour-telephones.example>",
    }
    log = NotificationLog.objects.create(kind=kind, **defaults | fields)
    NotificationContent.objects.create(notification=log, recipient=recipient)
    return log


def make_apology(about: Episode | None = None, **fields: Any) -> NotificationLog:
    """Owed for a mail "Low balance" that went out five days ago."""
    episode = about or make_fallen()
    errant = make_owed("low_balance", episode, state=State.SENT, sent_at=days_ago(5), is_errant=True)
    subject = f"Low balance: £4.20 on account {errant.customer.account}"
    NotificationContent.objects.filter(pk=errant.pk).update(subject=subject, frozen_at=days_ago(5))
    return make_owed("apology", episode, **{"errant": errant, "alert": None, "episode": None} | fields)


def frozen(log: NotificationLog, written: Written, at: datetime = FROZEN) -> NotificationContent:
    """Keep what was written, as a sender does at the point of no return."""
    content = NotificationContent.objects.get(pk=log.pk)
    for name in ("sender", "reply_to", "subject", "text", "html"):
        setattr(content, name, getattr(written, name))
    content.frozen_at = at
    content.save()
    return NotificationContent.objects.get(pk=log.pk)


def charge_calls(customer: Customer, amount: str, *, at: datetime) -> LedgerEntry:
    """A call of this price, and a payment of the same, so that the balance stays."""
    number = next(_numbers)
    price = Decimal(amount)
    make_entry(customer=customer, amount=price)
    return make_entry(
        customer=customer,
        kind="call",
        key=f"call:pbx-north:pace-{number}",
        amount=-price,
        occurred_at=at,
        rate_id=1,
        billed_seconds=60,
    )


def make_speaking(language: str, currency: str, zone: str, **fields: Any) -> Partner:
    """A partner whose customers read amounts in this language."""
    return make_partner(language=language, currency=currency, timezone=zone, **fields)
