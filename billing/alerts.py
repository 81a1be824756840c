"""The alerts that customers begin with, and what may be changed of a customer's alerts."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction

from billing.models import AlertKind, AlertRecipient, BalanceAlert, Customer


class AlertNotChangeable(Exception):
    """The alert can't be added or changed like this; the message is a sentence for whoever tried."""


@dataclass(frozen=True)
class Terms:
    """What is agreed about an alert besides its threshold. `recipients`: none means the customer's own address."""

    rearm_margin: Decimal | None = None
    remind_every_days: int | None = None
    remind_at_most: int = 3
    tells_restored: bool = False
    recipients: tuple[str, ...] = ()


def add(account: str, threshold: Decimal, terms: Terms) -> BalanceAlert:
    """Give the customer an alert at this threshold; one that was ended there begins anew, with these terms.

    Raises AlertNotChangeable where one is active at this threshold, and for an unknown account.
    """
    with transaction.atomic():
        customer = Customer.objects.filter(account=account).first()
        if customer is None:
            raise AlertNotChangeable(f"There is no customer “{account}”.")
        alert = _locked(customer=customer, kind=AlertKind.LOW_BALANCE, threshold=threshold)
        if alert is None:
            alert = BalanceAlert(customer=customer, kind=AlertKind.LOW_BALANCE, threshold=threshold)
        elif alert.is_active:
            raise AlertNotChangeable("The customer has an alert at this threshold already.")
        alert.is_active = True
        _write(alert, terms)
        return alert


def change(alert_id: int, threshold: Decimal, terms: Terms) -> bool:
    """Let the alert have another threshold or other terms; False if it has all of it already.

    The built-in alert stays at the credit limit. Raises AlertNotChangeable for that, where another alert of the
    customer has the threshold, and for one that was ended.
    """
    with transaction.atomic():
        alert = _existing(alert_id)
        if not alert.is_active:
            raise AlertNotChangeable("This alert was ended: add one instead.")
        if alert.kind == AlertKind.EXHAUSTED and threshold != alert.threshold:
            raise AlertNotChangeable("The built-in alert stays at the credit limit: change that instead.")
        others = BalanceAlert.objects.filter(customer=alert.customer_id, kind=alert.kind, threshold=threshold)
        if others.exclude(pk=alert.pk).exists():
            raise AlertNotChangeable("The customer has another alert at this threshold, active or ended.")
        if (alert.threshold, terms_of(alert)) == (threshold, terms):
            return False
        alert.threshold = threshold
        _write(alert, terms)
        return True


def end(alert_id: int) -> bool:
    """End the alert: nobody is told of it any more, and its fall, if there is one, is over. False if it was ended.

    Raises AlertNotChangeable for the built-in one.
    """
    with transaction.atomic():
        alert = _existing(alert_id)
        if alert.kind == AlertKind.EXHAUSTED:
            raise AlertNotChangeable("The built-in alert at the credit limit stays.")
        return bool(BalanceAlert.objects.filter(pk=alert.pk, is_active=True).update(is_active=False))


def terms_of(alert: BalanceAlert) -> Terms:
    """What is agreed of the alert now."""
    return Terms(
        rearm_margin=alert.rearm_margin,
        remind_every_days=alert.remind_every_days,
        remind_at_most=alert.remind_at_most,
        tells_restored=alert.tells_restored,
        recipients=tuple(alert.recipients.order_by("email").values_list("email", flat=True)),
    )


def _locked(**which: object) -> BalanceAlert | None:
    return BalanceAlert.objects.select_for_update(no_key=True).filter(**which).first()


def _existing(alert_id: int) -> BalanceAlert:
    alert = _locked(pk=alert_id)
    if alert is None:
        raise AlertNotChangeable("There is no such alert any more.")
    return alert


def _write(alert: BalanceAlert, terms: Terms) -> None:
    alert.rearm_margin, alert.remind_every_days = terms.rearm_margin, terms.remind_every_days
    alert.remind_at_most, alert.tells_restored = terms.remind_at_most, terms.tells_restored
    alert.save()
    wanted = {address.strip().lower() for address in terms.recipients}
    alert.recipients.exclude(email__in=wanted).delete()
    known = set(alert.recipients.values_list("email", flat=True))
    AlertRecipient.objects.bulk_create(AlertRecipient(alert=alert, email=email) for email in sorted(wanted - known))


def give_defaults(customer_ids: Iterable[int]) -> int:
    """Give these customers the default alerts of their partner, in so far as they have none; how many were given.

    An amount in the partner's currency says nothing of customers in another one: they get none. To be called in the
    transaction that creates the customers, before `episodes.open_silently`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_balancealert (
                customer_id, kind, threshold, rearm_margin, remind_every_days, remind_at_most, tells_restored, is_active
            )
            SELECT c.id, 'low_balance', d.threshold, d.rearm_margin, d.remind_every_days, d.remind_at_most,
                d.tells_restored, true
            FROM unnest(%s::bigint[]) AS newcomer (customer_id)
            JOIN billing_customer c ON c.id = newcomer.customer_id
            JOIN billing_partner p ON p.id = c.partner_id AND p.currency = c.currency
            JOIN billing_partneralert d ON d.partner_id = p.id
            WHERE NOT EXISTS (
                SELECT FROM billing_balancealert a WHERE a.customer_id = c.id AND a.kind = 'low_balance'
            )
            """,
            [list(customer_ids)],
        )
        return cursor.rowcount
