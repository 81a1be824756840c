"""Who would hear what at the next pass and why, and who would not and why not. Writes nothing."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import connection

from billing import halting
from billing.models import Customer, Partner, Process
from notifications import instance, kinds, owing
from notifications.kinds import why_unusable
from notifications.models import NotificationLog, State

SHOWN = 10_000


@dataclass(frozen=True)
class Mail:
    """A mail that would go out, or one that would not.

    `why`: in words, alike for all that are where they are for the same reason; `at`: when, where that tells more.
    """

    account: str
    kind: str
    recipient: str
    why: str
    at: datetime | None = None

    @property
    def because(self) -> str:
        """Why, and when."""
        return f"{self.why} at {_moment(self.at)} UTC" if self.at else self.why


@dataclass
class Preview:
    """`mails` would go out, as far as the breaker lets them; `stopped`: what keeps all of them back."""

    mails: list[Mail] = field(default_factory=list)
    others: list[Mail] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def not_mailed(self) -> list[tuple[str, int]]:
        """Why how many mails would not go out, the commonest first; of those told, when, and who gets an apology."""
        alike: dict[str, list[Mail]] = {}
        for mail in self.others:
            alike.setdefault(mail.why, []).append(mail)
        apologised = {mail.account for mail in self.mails if mail.kind == kinds.APOLOGY.name}
        found = [(_together(why, mails, apologised), len(mails)) for why, mails in alike.items()]
        return sorted(found, key=lambda line: -line[1])


def _together(why: str, mails: list[Mail], apologised: set[str]) -> str:
    times = sorted({_moment(mail.at) for mail in mails if mail.at})
    if not times:
        return why
    words = f"{why} at {times[0]} UTC" if len(times) == 1 else f"{why}, between {times[0]} and {times[-1]} UTC"
    count = sum(mail.account in apologised for mail in mails)
    return f"{words}; the customers of {count:,} of these get an apology now" if count else words


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def preview(*, at: datetime, falls: Collection[int] = (), partner: Partner | None = None) -> Preview:
    """What the next pass would do at business time `at`, for everybody or for the customers of one partner.

    `falls`: alerts below which balances would have fallen by then, and whose episodes would have opened.
    """
    found = Preview()
    for halt in halting.active_halts((Process.NOTIFICATIONS,)):
        whom = f"of partner {halt.partner.slug}" if halt.partner else "of everyone"
        found.stopped.append(f"notifications {whom} are halted since {halt.since:%Y-%m-%d %H:%M} UTC: {halt.reason}")
    if doubt := instance.doubt():
        found.stopped.append(doubt)
    _owed_already(found, partner)
    _owed_next(found, at, falls, partner)
    _not_told(found, partner)
    return found


def _owed_already(found: Preview, partner: Partner | None) -> None:
    rows = NotificationLog.objects.filter(state__in=[State.PENDING, State.CLAIMED]).select_related(
        "customer", "content", "episode"
    )
    if partner is not None:
        rows = rows.filter(customer__partner=partner)
    for log in rows.order_by("next_try_at", "pk")[:SHOWN]:
        is_over = log.episode is not None and log.episode.closed_at is not None
        mail = Mail(log.customer.account, log.kind, log.content.recipient, log.detail or "owed and not sent yet")
        if is_over or log.customer.status != "active":
            reason = "the balance has recovered" if is_over else f"the customer is {log.customer.status}"
            found.others.append(Mail(mail.account, mail.kind, mail.recipient, reason))
        else:
            found.mails.append(mail)


def _owed_next(found: Preview, at: datetime, coming: Collection[int], partner: Partner | None) -> None:
    falls = [*owing.falls_to_take_up(), *owing.falls_below(coming, at=at)]
    new = [*owing.mails_of_falls(falls), *owing.reminders_due(at=at), *owing.recoveries()]
    new = [one for one in new if partner is None or one.fall.partner_id == partner.pk]
    known = set(NotificationLog.objects.filter(key__in=[one.key for one in new]).values_list("key", flat=True))
    firsts = owing.lowest([one for one in new if not why_unusable(one.recipient)])
    accounts = dict(Customer.objects.filter(pk__in={one.fall.customer_id for one in new}).values_list("pk", "account"))
    for one in new:
        if one.key in known:
            continue
        account, kind = accounts[one.fall.customer_id], one.kind.name
        unusable = why_unusable(one.recipient)
        if unusable:
            found.others.append(Mail(account, kind, one.recipient, unusable))
        elif owing.told_by(one, firsts) is not None:
            found.others.append(Mail(account, kind, one.recipient, "told of by the mail about a lower threshold"))
        else:
            found.mails.append(Mail(account, kind, one.recipient, f"below {one.fall.threshold.normalize():f}"))


def _not_told(found: Preview, partner: Partner | None) -> None:
    """Falls that go on and of which nothing goes out: told already, silent, held, failed, uncertain, suspended."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT cu.account, a.kind, coalesce(c.recipient, cu.email), n.state, coalesce(n.detail, ''),
                CASE WHEN n.state = 'sent' AND NOT e.is_silent AND cu.status = 'active' THEN n.sent_at END,
                CASE
                    WHEN e.is_silent THEN 'came into Ivy below the threshold'
                    WHEN cu.status <> 'active' THEN 'the customer is ' || cu.status
                    WHEN n.state = 'sent' THEN 'was told'
                    WHEN n.because = 'covered'
                        THEN 'is told of by another mail to the same address (' || replace(o.kind, '_', ' ') || ')'
                    WHEN n.id IS NULL THEN 'balance at or above the threshold'
                END
            FROM billing_episode e
            JOIN billing_balancealert a ON a.id = e.alert_id
            JOIN billing_customer cu ON cu.id = a.customer_id
            JOIN billing_customerbalance b ON b.customer_id = cu.id
            LEFT JOIN notifications_notificationlog n ON n.episode_id = e.id AND n.kind = a.kind
            LEFT JOIN notifications_notificationlog o ON o.id = n.covered_by_id
            LEFT JOIN notifications_notificationcontent c ON c.notification_id = n.id
            WHERE e.closed_at IS NULL
              AND (n.id IS NULL OR n.state NOT IN ('pending', 'claimed'))
              AND (n.id IS NOT NULL OR e.is_silent OR cu.status <> 'active' OR b.balance >= a.threshold)
              AND (%(partner)s::bigint IS NULL OR cu.partner_id = %(partner)s)
            ORDER BY cu.account, a.threshold LIMIT %(shown)s
            """,
            {"partner": partner.pk if partner else None, "shown": SHOWN},
        )
        for account, kind, recipient, state, detail, at, why in cursor.fetchall():
            words = why or f"{State(state).label}: {detail}".removesuffix(": ")
            found.others.append(Mail(account, kind, recipient, words, at))
