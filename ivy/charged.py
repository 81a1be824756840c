"""How much was charged lately: a sum over tens of thousands of runs, kept in the cache for a minute."""

from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from ivy import cache

KEY = "charged-lately"
SECONDS_KEPT = 60.0


@dataclass(frozen=True)
class Charged:
    """What billing runs have charged in one currency; positive. Today is the UTC day."""

    currency: str
    today: Decimal
    thirty_days: Decimal


def charged_lately() -> list[Charged]:
    """By currency; up to a minute old where there is a cache, right without one. Corrections are not runs."""
    return cache.get_or_make(KEY, _sum_up, seconds=SECONDS_KEPT)


def _sum_up() -> list[Charged]:
    with connection.cursor() as cursor:
        cursor.execute(CHARGED)
        return [Charged(*row) for row in cursor.fetchall()]


CHARGED = """
SELECT
    one.currency,
    coalesce(sum(one.amount::numeric) FILTER (
        WHERE run.started_at >= date_trunc('day', statement_timestamp(), 'UTC')
    ), 0),
    sum(one.amount::numeric)
FROM billing_billingrun run, jsonb_each_text(run.amount) AS one (currency, amount)
WHERE run.started_at >= statement_timestamp() - interval '30 days'
GROUP BY one.currency
ORDER BY one.currency
"""
