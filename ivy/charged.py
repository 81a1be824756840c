"""How much was charged lately: a sum over tens of thousands of runs, kept in the cache for a minute."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from django.db import connection

from ivy import cache

KEY = "charged-lately-by-day"
SECONDS_KEPT = 60.0


@dataclass(frozen=True)
class Charged:
    """What billing runs have charged in one currency; positive. Days are of UTC; thirty of them, with today's.

    `by_day`: the thirty days, the oldest first, those without a charge too.
    """

    currency: str
    today: Decimal
    thirty_days: Decimal
    by_day: tuple[tuple[date, Decimal], ...] = field(default=(), compare=False)


def charged_lately() -> list[Charged]:
    """By currency; up to a minute old where there is a cache, right without one. Corrections are not runs."""
    return cache.get_or_make(KEY, _sum_up, seconds=SECONDS_KEPT)


def _sum_up() -> list[Charged]:
    with connection.cursor() as cursor:
        cursor.execute(CHARGED)
        rows = cursor.fetchall()
    found = []
    for currency in sorted({row[0] for row in rows}):
        by_day = tuple((day, amount) for code, day, amount in rows if code == currency)
        found.append(Charged(currency, by_day[-1][1], sum((amount for _, amount in by_day), Decimal(0)), by_day))
    return found


CHARGED = """
WITH charged AS (
    SELECT one.currency, (run.started_at AT TIME ZONE 'UTC')::date AS day, sum(one.amount::numeric) AS amount
    FROM billing_billingrun run, jsonb_each_text(run.amount) AS one (currency, amount)
    WHERE run.started_at >= date_trunc('day', statement_timestamp(), 'UTC') - interval '29 days'
    GROUP BY one.currency, day
)
SELECT known.currency, days.day::date, coalesce(charged.amount, 0)
FROM (SELECT DISTINCT currency FROM charged) known
CROSS JOIN generate_series(
    (statement_timestamp() AT TIME ZONE 'UTC')::date - 29, (statement_timestamp() AT TIME ZONE 'UTC')::date,
    interval '1 day'
) AS days (day)
LEFT JOIN charged ON charged.currency = known.currency AND charged.day = days.day::date
ORDER BY known.currency, days.day
"""
