"""Which customers got two or more mails of one kind lately: what went wrong on the night in 2019, as a list."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from notifications.copies import HANDED_OVER
from notifications.models import State

LOOKED_AT = 200_000
SHOWN = 100
DAYS = (1, 3, 7, 30)


@dataclass(frozen=True)
class Repeat:
    """One recipient of one customer, and the mails of one kind that they got, or perhaps got, the oldest first.

    `times`: how often one was handed over, more than there are mails where one was sent again; `first_at`, `last_at`:
    when the first and the last hand-over began. `falls`: how many falls below a threshold they were about: two mails
    about two falls may be right. `apology`: the state of the last one that was owed since; empty: none was.
    """

    account: str
    customer: str
    partner: str
    kind: str
    recipient: str
    times: int
    falls: int
    first_at: datetime
    last_at: datetime
    ids: list[int]
    errant_count: int
    apology: str

    @property
    def apology_words(self) -> str:
        """The state of the apology, for people."""
        return str(State(self.apology).label) if self.apology else ""


@dataclass(frozen=True)
class Repeats:
    """The recipients with the most mails, and how many recipients, customers and mails there are in all.

    `beyond_count`: so many mails `beyond_the_first` names. `is_cut`: more mails went out than were looked at; these are
    the newest.
    """

    shown: list[Repeat]
    beyond_count: int
    recipients: int
    customers: int
    mails: int
    is_cut: bool


def repeats(*, days: int, kind: str = "", partner: str = "") -> Repeats:
    """Who was handed two or more mails of one kind within so many days. One query over at most LOOKED_AT mails.

    By recipient: when an alert has two recipients, each gets one mail, as they should.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _LATELY + _SHOWN,
            {"days": days, "kind": kind, "partner": partner, "most": LOOKED_AT + 1, "shown": SHOWN},
        )
        found = cursor.fetchall()
    looked_at, beyond_count, recipients, customers, mails = found[0][:5]
    return Repeats(
        shown=[Repeat(*row[5:]) for row in found if row[5] is not None],
        beyond_count=beyond_count,
        recipients=recipients,
        customers=customers,
        mails=mails,
        is_cut=looked_at > LOOKED_AT,
    )


def beyond_the_first(*, days: int, kind: str = "", partner: str = "") -> list[int]:
    """The ids of those mails that their recipients should not have got: all but each one's first.

    Only those that were sent and are not marked as errant yet. The first, too, where it was itself handed over twice.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LATELY + _BEYOND, {"days": days, "kind": kind, "partner": partner, "most": LOOKED_AT + 1})
        return [pk for (pk,) in cursor.fetchall()]


_LATELY = f"""
WITH lately AS MATERIALIZED (
    SELECT id, customer_id, kind, recipient_hash, sending_at, state, is_errant, greatest(1, handed.times) AS times,
        coalesce(handed.first_at, sending_at) AS first_at, coalesce(handed.last_at, sending_at) AS last_at
    FROM notifications_notificationlog n {HANDED_OVER}
    WHERE sending_at > statement_timestamp() - make_interval(days => %(days)s) AND state IN ('sent', 'uncertain')
      AND (%(kind)s = '' OR kind = %(kind)s)
      AND (%(partner)s = '' OR partner_id = (SELECT id FROM billing_partner WHERE slug = %(partner)s))
    ORDER BY sending_at DESC LIMIT %(most)s
), repeat AS MATERIALIZED (
    SELECT customer_id, kind, recipient_hash, sum(times)::bigint AS times, min(id) AS first_id,
        min(first_at) AS first_at, max(last_at) AS last_at, min(sending_at) AS first_sending_at,
        max(sending_at) AS last_sending_at, count(*) FILTER (WHERE is_errant) AS errant_count
    FROM lately GROUP BY customer_id, kind, recipient_hash HAVING sum(times) > 1
), beyond AS MATERIALIZED (
    SELECT l.id FROM lately l JOIN repeat r USING (customer_id, kind, recipient_hash)
    WHERE l.state = 'sent' AND NOT l.is_errant AND (l.id <> r.first_id OR l.times > 1)
)
"""  # noqa: S608 - words of ours

_SHOWN = """
, total AS (
    SELECT (SELECT count(*) FROM lately) AS looked_at, (SELECT count(*) FROM beyond) AS beyond_count,
        count(*) AS recipients, count(DISTINCT customer_id) AS customers, coalesce(sum(times), 0)::bigint AS mails
    FROM repeat
), shown AS (
    SELECT * FROM repeat ORDER BY times DESC, last_at DESC LIMIT %(shown)s
)
SELECT t.looked_at, t.beyond_count, t.recipients, t.customers, t.mails,
    cu.account, cu.name, p.slug, s.kind, c.recipient, s.times, m.falls, s.first_at, s.last_at, m.ids, s.errant_count,
    coalesce(a.state, '')
FROM total t
LEFT JOIN shown s ON true
LEFT JOIN billing_customer cu ON cu.id = s.customer_id
LEFT JOIN notifications_notificationlog n ON n.id = s.first_id
LEFT JOIN billing_partner p ON p.id = n.partner_id
LEFT JOIN notifications_notificationcontent c ON c.notification_id = s.first_id
LEFT JOIN LATERAL (
    SELECT array_agg(m.id ORDER BY m.id) AS ids, count(DISTINCT m.episode_id) AS falls
    FROM notifications_notificationlog m
    WHERE m.customer_id = s.customer_id AND m.kind = s.kind AND m.recipient_hash = s.recipient_hash
      AND m.state IN ('sent', 'uncertain') AND m.sending_at BETWEEN s.first_sending_at AND s.last_sending_at
) m ON true
LEFT JOIN LATERAL (
    SELECT state FROM notifications_notificationlog a
    WHERE a.customer_id = s.customer_id AND a.kind = 'apology' AND a.recipient_hash = s.recipient_hash
      AND a.created_at >= s.first_at
    ORDER BY a.id DESC LIMIT 1
) a ON true
ORDER BY s.times DESC, s.last_at DESC
"""

_BEYOND = "SELECT id FROM beyond ORDER BY id"
