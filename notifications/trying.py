"""A mail to look at: what a customer would read, sent to somebody who asked for it. No customer hears of it."""

from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import DateTimeField
from django.db.models.functions import Now

from billing.models import AlertKind, BalanceAlert, Customer, Episode
from notifications import kinds
from notifications.facts import paces_of
from notifications.models import NotificationContent, NotificationLog
from notifications.rendering import Written, render


def written(alert: BalanceAlert, *, to: str) -> Written:
    """What the alert's mail would say if the balance were below its threshold from now on. Writes nothing.

    Raises `rendering.Unusable` with the reason in words.
    """
    customer: Any = (
        Customer.objects.select_related("partner", "balance_row")
        .annotate(now=Now(output_field=DateTimeField()))
        .get(pk=alert.customer_id)
    )
    kind = kinds.EXHAUSTED if alert.kind == AlertKind.EXHAUSTED else kinds.LOW_BALANCE
    log: Any = NotificationLog(
        key="test", kind=kind.name, customer=customer, partner=customer.partner, alert=alert, message_id="<test>"
    )
    log.episode = Episode(alert=alert, opened_at=customer.now)
    log.as_of = customer.now
    log.pace = paces_of([customer.pk], at=customer.now)[customer.pk]
    log.content = NotificationContent(notification=log, recipient=to)
    return render(log)


def send(alert: BalanceAlert, *, to: str) -> None:
    """Send it, marked as a test. Past the log, the switch and the breaker: it goes to who asked, and tells no customer.

    Raises Unusable, or what the mail server's refusal raises (OSError, smtplib.SMTPException).
    """
    mail = written(alert, to=to)
    message = EmailMultiAlternatives(
        subject=f"Test: {mail.subject}",
        body=f"This is a test that you asked for. Nothing happened to the account.\n\n{mail.text}",
        from_email=mail.sender or settings.DEFAULT_FROM_EMAIL,
        to=[to],
        reply_to=[mail.reply_to] if mail.reply_to else None,
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(mail.html, "text/html")
    message.send()
