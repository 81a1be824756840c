"""A customer's balance as it was, day by day or at some moment, from the ledger."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection

from billing.models import Customer

DAYS = 90
LOOKED_AT = 20_000


@dataclass(frozen=True)
class DayBalance:
    """The balance at the end of a day of the customer's (of today: now), and what was posted on it."""

    day: date
    balance: Decimal
    moved: Decimal
    entry_count: int


def by_day(customer: Customer, *, days: int = DAYS) -> list[DayBalance]:
    """The balance at the end of each of the last days, the oldest first; today, by the database's clock, is the last.

    By the time of posting, in the customer's time zone: what the customer had then, by what Ivy knew then. One
    statement, so that balance and entries are of one moment; reads the entries of these days and no older ones.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BY_DAY, {"customer": customer.pk, "zone": customer.timezone, "days": days})
        return [DayBalance(*row) for row in cursor.fetchall()]


# An entry's id says roughly when it was posted: `back` walks the customer's entries by index, a thousand at a time,
# until it is a day beyond the first day that is asked for. No longer than that may a transaction last that posts.
_BY_DAY = """
WITH RECURSIVE span AS MATERIALIZED (
    SELECT today, today - (%(days)s - 1) AS first_day,
        (today - (%(days)s - 1))::timestamp AT TIME ZONE %(zone)s AS since
    FROM (SELECT (statement_timestamp() AT TIME ZONE %(zone)s)::date AS today) clock
), back AS (
    SELECT 9223372036854775807 AS id, 'infinity'::timestamptz AS posted_at
    UNION ALL
    SELECT older.id, older.posted_at
    FROM back CROSS JOIN span CROSS JOIN LATERAL (
        SELECT id, posted_at FROM billing_ledgerentry
        WHERE customer_id = %(customer)s AND id < back.id ORDER BY id DESC OFFSET 999 LIMIT 1
    ) older
    WHERE back.posted_at >= span.since - interval '1 day'
), moved AS (
    SELECT (l.posted_at AT TIME ZONE %(zone)s)::date AS day, sum(l.amount) AS amount, count(*) AS entries
    FROM billing_ledgerentry l CROSS JOIN span
    WHERE l.customer_id = %(customer)s AND l.posted_at >= span.since
      AND l.id >= coalesce((SELECT min(id) FROM back WHERE posted_at < (SELECT since FROM span) - interval '1 day'), 0)
    GROUP BY 1
)
SELECT d.day::date,
    b.balance - coalesce(
        sum(m.amount) OVER (ORDER BY d.day DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0
    ),
    coalesce(m.amount, 0), coalesce(m.entries, 0)
FROM span
CROSS JOIN LATERAL generate_series(span.first_day, span.today, interval '1 day') AS d (day)
CROSS JOIN (SELECT balance FROM billing_customerbalance WHERE customer_id = %(customer)s) b
LEFT JOIN moved m ON m.day = d.day::date
ORDER BY d.day
"""


def balance_at(customer_id: int, at: datetime) -> Decimal | None:
    """The customer's balance at that moment, by when entries were posted; None where too much was posted since.

    From today's balance back, over the customer's newest LOOKED_AT entries at most, by index: quick for whatever was
    lately, however long the ledger is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH latest AS MATERIALIZED (
                SELECT amount, posted_at FROM billing_ledgerentry
                WHERE customer_id = %(customer)s ORDER BY id DESC LIMIT %(limit)s
            )
            SELECT b.balance - coalesce((SELECT sum(amount) FROM latest WHERE posted_at > %(at)s), 0)
            FROM billing_customerbalance b
            WHERE b.customer_id = %(customer)s
              AND ((SELECT count(*) FROM latest) < %(limit)s OR (SELECT min(posted_at) FROM latest) <= %(at)s)
            """,
            {"customer": customer_id, "at": at, "limit": LOOKED_AT},
        )
        row = cursor.fetchone()
    return row[0] if row else None
