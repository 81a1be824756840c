"""Who would hear what at the next pass and why, and who would not and why not. Writes nothing."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection

from billing import halting
from billing.models import Customer, Process
from notifications import instance, owing
from notifications.kinds import recipient_hash, why_unusable
from notifications.models import NotificationLog, State

SHOWN = 10_000


@dataclass(frozen=True)
class Mail:
    """A mail that would go out, or one that would not. `because`: why, in words."""

    account: str
    kind: str
    recipient: str
    because: str


@dataclass
class Preview:
    """`mails` would go out, as far as the breaker lets them; `stopped`: what keeps all of them back."""

    mails: list[Mail] = field(default_factory=list)
    others: list[Mail] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def preview(*, at: datetime) -> Preview:
    """What the next pass would do at business time `at`."""
    found = Preview()
    for halt in halting.active_halts((Process.NOTIFICATIONS,)):
        whom = f"of partner {halt.partner.slug}" if halt.partner else "of everyone"
        found.stopped.append(f"notifications {whom} are halted since {halt.since:%Y-%m-%d %H:%M} UTC: {halt.reason}")
    if doubt := instance.doubt():
        found.stopped.append(doubt)
    _owed_already(found)
    _owed_next(found, at)
    _not_told(found)
    return found


def _owed_already(found: Preview) -> None:
    rows = NotificationLog.objects.filter(state__in=[State.PENDING, State.CLAIMED]).select_related(
        "customer", "content", "episode"
    )
    for log in rows.order_by("next_try_at", "pk")[:SHOWN]:
        is_over = log.episode is not None and log.episode.closed_at is not None
        mail = Mail(log.customer.account, log.kind, log.content.recipient, log.detail or "owed and not sent yet")
        if is_over or log.customer.status != "active":
            reason = "the balance has recovered" if is_over else f"the customer is {log.customer.status}"
            found.others.append(Mail(mail.account, mail.kind, mail.recipient, reason))
        else:
            found.mails.append(mail)


def _owed_next(found: Preview, at: datetime) -> None:
    falls = owing.falls_to_take_up()
    new = [*owing.mails_of_falls(falls), *owing.reminders_due(at=at), *owing.recoveries()]
    known = set(NotificationLog.objects.filter(key__in=[one.key for one in new]).values_list("key", flat=True))
    firsts = owing.lowest([one for one in new if not why_unusable(one.recipient)])
    accounts = dict(Customer.objects.filter(pk__in={one.fall.customer_id for one in new}).values_list("pk", "account"))
    for one in new:
        if one.key in known:
            continue
        account, kind = accounts[one.fall.customer_id], one.kind.name
        unusable = why_unusable(one.recipient)
        first = firsts.get((one.fall.customer_id, recipient_hash(one.recipient)))
        if unusable:
            found.others.append(Mail(account, kind, one.recipient, unusable))
        elif one.kind.tells and first is not one:
            found.others.append(Mail(account, kind, one.recipient, "told of by the mail about a lower threshold"))
        else:
            found.mails.append(Mail(account, kind, one.recipient, f"below {one.fall.threshold.normalize():f}"))


def _not_told(found: Preview) -> None:
    """Falls that go on and of which nothing goes out: told already, silent, held, failed, uncertain, suspended."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT cu.account, a.kind, coalesce(c.recipient, cu.email),
                CASE
                    WHEN e.is_silent THEN 'came into Ivy below the threshold'
                    WHEN cu.status <> 'active' THEN 'the customer is ' || cu.status
                    WHEN n.state = 'sent'
                        THEN 'was told at ' || to_char(n.sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
                    WHEN n.id IS NOT NULL THEN n.state || CASE WHEN n.detail = '' THEN '' ELSE ': ' || n.detail END
                    ELSE 'balance at or above the threshold'
                END
            FROM billing_episode e
            JOIN billing_balancealert a ON a.id = e.alert_id
            JOIN billing_customer cu ON cu.id = a.customer_id
            JOIN billing_customerbalance b ON b.customer_id = cu.id
            LEFT JOIN notifications_notificationlog n ON n.episode_id = e.id AND n.kind = a.kind
            LEFT JOIN notifications_notificationcontent c ON c.notification_id = n.id
            WHERE e.closed_at IS NULL
              AND (n.id IS NULL OR n.state NOT IN ('pending', 'claimed'))
              AND (n.id IS NOT NULL OR e.is_silent OR cu.status <> 'active' OR b.balance >= a.threshold)
            ORDER BY cu.account, a.threshold LIMIT %s
            """,
            [SHOWN],
        )
        found.others += [Mail(*row) for row in cursor.fetchall()]
