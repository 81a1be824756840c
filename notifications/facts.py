"""What can be told about the matter of a mail at this moment, written as the customer reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parseaddr
from functools import partial
from zoneinfo import ZoneInfo

from babel import Locale
from django.conf import settings

from billing import prepared
from billing.models import Partner
from notifications import formats
from notifications.copies import Copies
from notifications.formats import set_apart
from notifications.languages import Words, words_of
from notifications.models import NotificationLog

DAY = timedelta(days=1)
PACE_DAYS = 14
PACE_ENTRIES = 5_000
FARTHEST_DAYS = 90


@dataclass(frozen=True)
class Facts:
    """Amounts and times are written as the customer's language does (the partner's, where it has none of its own), in
    the customer's time zone.

    Empty is what there is nothing to say of: the fall, of a mail about none; the credit limit where none was given;
    the outlook where there is no pace, or one at which the balance lasts for months.
    """

    words: Words
    partner: str
    ask: str
    """The address that answers questions."""
    account: str
    customer: str
    balance: str
    as_of: str
    credit_limit: str
    threshold: str
    fell_at: str
    days_below: int
    recovered_at: str
    outlook: str
    reminder_number: int
    errant_subject: str
    errant_at: str
    errant_is_right: bool
    """What the errant mail says is right: there was only one copy of it too many, or another mail that says it."""
    errant_times: int

    def say(self, sentence: str, **named: object) -> str:
        """The English sentence in the customer's words; facts, and what is named besides, stand in braces."""
        return self.words.say(sentence, vars(self) | named if named else vars(self))


def sender_of(partner: Partner) -> str:
    """The address that mails to the partner's customers come from: Ivy's own where the partner has none.

    A partner that came with the first of its customers has none yet, and they are to be told all the same.
    """
    return partner.sender or parseaddr(settings.DEFAULT_FROM_EMAIL)[1]


def facts_of(log: NotificationLog, *, at: datetime, pace: "Pace") -> Facts:
    """Tell how things are at this moment, the database's own; no query. `pace`: the customer's, at that moment.

    The log comes with its customer (and balance), partner, alert, episode, and the errant mail's content and copies.
    """
    customer, partner, alert, episode = log.customer, log.partner, log.alert, log.episode
    locale = formats.locale_of(customer.language or partner.language)
    zone = ZoneInfo(customer.timezone)
    balance = customer.balance_row.balance

    def moment(when: datetime | None) -> str:
        return formats.moment(when, zone, locale) if when else ""

    money = partial(formats.money, currency=customer.currency, locale=locale)
    errant_content = getattr(log.errant, "content", None)
    copies: Copies = getattr(log.errant, "copies", Copies())
    return Facts(
        words=words_of(locale),
        partner=set_apart(partner.name),
        ask=partner.reply_to or sender_of(partner),
        account=customer.account,
        customer=set_apart(customer.name),
        balance=formats.money_left(balance, customer.currency, locale),
        as_of=moment(at),
        credit_limit=money(customer.credit_limit) if customer.credit_limit else "",
        threshold=money(alert.threshold) if alert else "",
        fell_at=moment(episode.opened_at if episode else None),
        days_below=(at.astimezone(zone).date() - episode.opened_at.astimezone(zone).date()).days if episode else 0,
        recovered_at=moment((episode.recovered_at or episode.closed_at) if episode else None),
        outlook=_outlook(log, pace, at=at, locale=locale),
        reminder_number=log.reminder_number,
        errant_subject=set_apart(errant_content.subject) if errant_content else "",
        errant_at=moment(log.errant.sent_at if log.errant else None),
        errant_is_right=copies.is_right,
        errant_times=copies.times,
    )


def _outlook(log: NotificationLog, pace: "Pace", *, at: datetime, locale: Locale) -> str:
    """How long the balance lasts at the recent pace: to zero or, once it is below, to the credit limit."""
    customer = log.customer
    balance, limit = customer.balance_row.balance, customer.credit_limit
    left, is_to_limit = (balance, False) if balance > 0 else (balance + limit, True)
    if left <= 0:
        return ""
    days = pace.days_until_spent(left, at=at)
    a_day = formats.about(pace.a_day, customer.currency, locale)
    if days is None or a_day == formats.about(Decimal(0), customer.currency, locale):
        return ""
    say = words_of(locale).say
    if days < 1:
        when = say("in less than a day")
    elif days < 1.5:
        when = say("in about a day")
    else:
        when = say("in about {days} days", {"days": round(days)})
    told = {"a_day": a_day, "when": when}
    if pace.recurring and is_to_limit:
        return say(
            "It goes down by about {a_day} a day on average; with your recurring charges as they fall due, it will"
            " reach your credit limit {when}.",
            told,
        )
    if pace.recurring:
        return say(
            "It goes down by about {a_day} a day on average; with your recurring charges as they fall due, it will"
            " reach zero {when}.",
            told,
        )
    if is_to_limit:
        return say("At its recent pace of about {a_day} a day, it will reach your credit limit {when}.", told)
    return say("At its recent pace of about {a_day} a day, it will reach zero {when}.", told)


@dataclass(frozen=True)
class Recurring:
    """What is charged again, all of it together, at this moment and every so many days from then."""

    amount: Decimal
    next_at: datetime
    every_days: int


@dataclass(frozen=True)
class Pace:
    """How fast a customer is charged just now, in positive amounts."""

    calls_a_day: Decimal
    recurring: tuple[Recurring, ...]

    @property
    def a_day(self) -> Decimal:
        return self.calls_a_day + sum((charge.amount / charge.every_days for charge in self.recurring), Decimal(0))

    def days_until_spent(self, left: Decimal, *, at: datetime) -> float | None:
        """When this much will be spent, in days from now; None: not within FARTHEST_DAYS."""
        charges = [
            ((charge.next_at - at) / DAY + number * charge.every_days, charge.amount)
            for charge in self.recurring
            for number in range(FARTHEST_DAYS // charge.every_days + 1)
        ]
        gone = 0.0
        for day, amount in sorted([*charges, (float(FARTHEST_DAYS), Decimal(0))]):
            if self.calls_a_day > 0 and (days := float(left / self.calls_a_day)) <= day - gone:
                return min(gone + days, FARTHEST_DAYS)
            left -= self.calls_a_day * Decimal(day - gone) + amount
            gone = day
            if left <= 0 or gone >= FARTHEST_DAYS:
                break
        return gone if left <= 0 else None


def paces_of(customers: Iterable[int], *, at: datetime) -> dict[int, Pace]:
    """How fast these customers are charged: their calls of the last two weeks, and what they pay again and again.

    A month's fee that was charged yesterday says nothing of today and all of the day on which it comes again, a period
    later. One-off items are no pace, and what was reversed was not charged. Of a customer who began lately its own days
    count. Reads a customer's last PACE_ENTRIES rows at most, by index; who has more in two weeks is judged by the time
    that those took. One query.
    """
    ids = list(set(customers))
    calls: dict[int, Decimal] = {}
    recurring: dict[int, list[Recurring]] = {customer: [] for customer in ids}
    what = {"customers": ids, "at": at, "days": PACE_DAYS, "limit": PACE_ENTRIES}
    for customer, kind, when, days, amount in prepared.fetch(_PACES, what):
        if kind == "calls":
            calls[customer] = (amount or Decimal(0)) / Decimal(max(at - when, DAY) / DAY)
        else:
            recurring[customer].append(Recurring(amount, when, days))
    return {customer: Pace(calls[customer], tuple(recurring[customer])) for customer in ids}


_PACES = """
SELECT customer.id, pace.*
FROM unnest(%(customers)s::bigint[]) AS customer (id) CROSS JOIN LATERAL (
    WITH latest AS MATERIALIZED (
        SELECT key, kind, amount, occurred_at, posted_at, reverses, period_end - period_start AS period_days
        FROM billing_ledgerentry WHERE customer_id = customer.id ORDER BY id DESC LIMIT %(limit)s
    ), charge AS MATERIALIZED (
        SELECT * FROM latest l
        WHERE kind IN ('call', 'recurring') AND occurred_at <= %(at)s
          AND NOT EXISTS (SELECT FROM latest r WHERE r.reverses = l.key)
    ), begin AS (
        SELECT greatest(
            %(at)s::timestamptz - make_interval(days => %(days)s),
            CASE WHEN (SELECT count(*) FROM latest) < %(limit)s
                THEN (SELECT min(occurred_at) FROM charge) ELSE (SELECT min(posted_at) FROM latest) END
        ) AS at
    )
    SELECT 'calls', begin.at, NULL::integer, sum(-amount)
    FROM begin LEFT JOIN charge ON charge.kind = 'call' AND occurred_at >= begin.at GROUP BY begin.at
    UNION ALL
    SELECT 'recurring', occurred_at + make_interval(days => period_days), period_days, sum(-amount)
    FROM charge WHERE kind = 'recurring' AND period_days > 0
      AND occurred_at > %(at)s::timestamptz - make_interval(days => period_days)
    GROUP BY occurred_at, period_days
) AS pace (kind, at, days, amount)
"""
