"""What happens in stories of mails: balances fall and recover, time goes by, passes run; and who hears what."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from billing import episodes
from billing.models import AlertRecipient, BalanceAlert, Customer, CustomerBalance, Episode
from notifications import cycle, instance, owing, reviewing
from notifications.cycle import Pass
from notifications.models import (
    Because,
    BreakerLimits,
    DeliveryAttempt,
    NotificationContent,
    NotificationLog,
    Outcome,
    Phase,
    State,
    Verb,
)
from tests.factories import make_alert, make_customer, make_entry, make_episode
from tests.notifications.conftest import BROKEN_OFF, OK, Server

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

# Truncating the tables of all apps after each test would take twice as long.
real_commits = pytest.mark.django_db(transaction=True, available_apps=["billing", "ivy", "notifications"])


# What happens


def set_balance(customer: Customer, balance: Decimal | str | int) -> None:
    """Pay or charge the customer up or down to this balance, and let it be judged."""
    move_balance(customer, balance)
    episodes.judge(at=timezone.now())


def move_balance(customer: Customer, balance: Decimal | str | int) -> None:
    """Pay or charge the customer up or down to this balance; nobody judges it yet."""
    difference = Decimal(balance) - CustomerBalance.objects.get(customer=customer).balance
    if difference:
        make_entry(customer=customer, amount=difference)


def make_watched(
    threshold: Decimal | str | int = 10, *, customer: Customer | None = None, **fields: Any
) -> BalanceAlert:
    """An alert of a customer who has 100, and credit enough never to be exhausted."""
    customer = customer or make_customer(balance=Decimal(100), credit_limit=1_000_000)
    return make_alert(customer=customer, threshold=Decimal(threshold), **fields)


def make_fallen(threshold: Decimal | str | int = 10, balance: Decimal | str | int = 5, **fields: Any) -> BalanceAlert:
    """An alert that was just crossed; nobody has looked at it yet."""
    alert = make_watched(threshold, **fields)
    set_balance(alert.customer, balance)
    return alert


def tell_whom(alert: BalanceAlert, *addresses: str) -> None:
    """Let the alert's mails go to these addresses."""
    for address in addresses:
        AlertRecipient.objects.create(alert=alert, email=address)


def owe(at: datetime | None = None) -> owing.Owing:
    """The first half of a pass: nothing is handed over."""
    return owing.owe(at=at or timezone.now(), doubt=instance.why_not_confirmed())


def run_pass(at: datetime | None = None) -> Pass:
    """One pass; bounded, should it find no end."""
    return cycle.run_pass(at=at or timezone.now(), seconds=60)


def days_pass(days: float) -> None:
    """Let everything that was told or went out have happened so long before now."""
    ago = timedelta(days=days)
    Episode.objects.filter(told_at__isnull=False).update(told_at=F("told_at") - ago)
    NotificationLog.objects.filter(sending_at__isnull=False).update(sending_at=F("sending_at") - ago)


def set_limits(**limits: Any) -> None:
    """Set these limits of the breaker; the others are far away."""
    far = {
        "mails_a_recipient_a_day": 10_000,
        "held_customers_an_hour": 10_000,
        "mails_an_hour": 10_000,
        "customers_a_pass": 10_000,
    }
    BreakerLimits.objects.update_or_create(pk=1, defaults=far | limits)


def send_twice(server: Server, *alerts: BalanceAlert, by: str = "bob@ivy.example") -> list[NotificationLog]:
    """Their customers get the mails about these falls twice: no answer came to the first copy, and staff sent another.

    The mails, in the alerts' order, as they are now: taken.
    """
    wanted = NotificationLog.objects.filter(alert__in=alerts)
    server.on_body = lambda _message: BROKEN_OFF
    for _ in range(len(alerts) + 1):
        run_pass()  # after a break a pass may leave the rest to the next
    assert {log.state for log in wanted} == {State.UNCERTAIN}
    server.on_body = lambda _message: OK
    reviewing.review(Verb.RESEND, [log.key for log in wanted], reason="They say that nothing came.", by=by)
    run_pass()
    logs = {log.alert_id: log for log in NotificationLog.objects.filter(alert__in=alerts)}
    assert {log.state for log in logs.values()} == {State.SENT}
    return [logs[alert.pk] for alert in alerts]


# What came of it


def log_of(alert: BalanceAlert, **which: Any) -> NotificationLog:
    """The one mail about this alert."""
    return NotificationLog.objects.select_related("content").get(alert=alert, **which)


def states(**which: Any) -> list[str]:
    """The states of all these mails, in the order in which they were owed."""
    return list(NotificationLog.objects.filter(**which).order_by("pk").values_list("state", flat=True))


def standing(log: NotificationLog) -> tuple[str, str]:
    """State and reason, as they are now."""
    return NotificationLog.objects.values_list("state", "because").get(pk=log.pk)


def recipients(**which: Any) -> list[str]:
    """Whom these mails are for, sorted."""
    return sorted(NotificationContent.objects.filter(**which).values_list("recipient", flat=True))


def on_one_line(text: str) -> str:
    """What a mail says, wherever its lines break."""
    return " ".join(text.split())


# Mails in any state


def make_mail(state: State = State.PENDING, **fields: Any) -> NotificationLog:
    """A mail about a fall that goes on, in this state, with all that comes with it: a lease, an attempt, a time."""
    instance.why_not_confirmed()  # a database that has mailed was confirmed
    alert = fields.pop("alert", None) or make_watched()
    episode = Episode.objects.filter(alert=alert, closed_at=None).first()
    if episode is None:
        move_balance(alert.customer, alert.threshold - 5)
        episode = make_episode(alert=alert)
    Episode.objects.filter(pk=episode.pk).update(taken_up_at=timezone.now())
    recipient = fields.pop("recipient", alert.customer.email)
    fall = owing._falls("e.id = %s", [episode.pk])[0]
    log = owing._row(owing.Owed(owing.kinds.KINDS[fall.alert_kind], fall, recipient))
    log.state, log.because = state, BECAUSE.get(state, Because.NOTHING)
    if state in {State.CLAIMED, State.SENDING}:
        log.token, log.lease_until = 1_000_000 + fall.episode_id, timezone.now() + HOUR
    if state in {State.SENDING, State.SENT, State.UNCERTAIN}:
        log.sending_at = timezone.now()
    if state == State.SENT:
        log.sent_at = timezone.now()
    for name, value in fields.items():
        setattr(log, name, value)
    log.save()
    NotificationContent.objects.create(notification=log, recipient=recipient)
    if state in OUTCOMES:
        make_attempt(log, outcome=OUTCOMES[state])
    log.refresh_from_db()
    return log


BECAUSE = {
    State.FAILED: Because.REFUSED,
    State.UNCERTAIN: Because.BROKE_OFF,
    State.HELD: Because.BREAKER,
    State.SUPPRESSED: Because.RECOVERED,
}

OUTCOMES = {
    State.SENDING: Outcome.OPEN,
    State.SENT: Outcome.ACCEPTED,
    State.FAILED: Outcome.REFUSED,
    State.UNCERTAIN: Outcome.UNKNOWN,
}


def make_attempt(log: NotificationLog, **fields: Any) -> DeliveryAttempt:
    """A try of a worker on another machine."""
    defaults: dict[str, Any] = {
        "number": log.attempts.count() + 1,
        "token": log.token or 1,
        "host": "worker-7.example 0f3b",
        "pid": 4711,
        "process_started": "12345",
        "server": "mail.example:587",
        "phase": Phase.REPLY,
        "outcome": Outcome.UNKNOWN,
    }
    return DeliveryAttempt.objects.create(notification=log, **defaults | fields)


@contextmanager
def nothing_may_be_written() -> Iterator[None]:
    """PostgreSQL refuses whatever writes or locks, as long as the block runs."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
        yield
