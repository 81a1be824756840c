"""Sums of the ledger, for pages that show what a partner's customers used by day: quick, and right at every moment.

An entry belongs to a sum once no transaction can be running any more that might post another one as early as it:
entries carry the time at which their transaction began, and PostgreSQL knows the oldest transaction still running. What
is later than that is read from the ledger itself, by its ids. So who asks gets all that was posted, whether sums were
made a minute ago, a day ago or never; only the time that it takes differs.

Posting knows nothing of this: nothing is added to what a charge costs.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

LOCK = 1_230_006
# A transaction is known to PostgreSQL a moment after it took its time.
MARGIN_SECONDS = 5
TRIES = 5


@dataclass(frozen=True)
class DaySum:
    """What entries of one kind come to that occurred on one day of the zone that was asked for; as in the ledger."""

    on: date
    currency: str
    kind: str
    amount: Decimal


def by_day(partner_id: int, *, since: datetime, until: datetime, zone: str) -> list[DaySum]:
    """Sums of what occurred from `since` until just before `until`, by day, currency and kind.

    Both are beginnings of days of `zone`, an IANA time zone whose offset is in whole quarters of an hour.
    """
    values: dict[str, Any] = {"partner": partner_id, "since": since, "until": until, "zone": zone}
    for _ in range(TRIES):
        with connection.cursor() as cursor:
            cursor.execute("SELECT through, after_id FROM billing_ledgersummark WHERE partner_id = %s", [partner_id])
            mark = cursor.fetchone()
            through, after_id = mark or (None, None)
            cursor.execute(
                _BY_DAY.format(kind=_KIND, tail=_TAIL if mark else _ALL),
                {**values, "through": through, "after_id": after_id},
            )
            rows = cursor.fetchall()
        if all(row[0] == through for row in rows):  # else sums were made between the two statements
            return [DaySum(*row[1:]) for row in rows if row[1] is not None]
    raise RuntimeError(
        "sums of the ledger moved under each of several readings"
    )  # a pass takes seconds, a reading none


def sum_up() -> int:
    """Add what was posted since the last time to the sums; how many partners were brought forward.

    May be repeated, and called by several at once: one does it, the others return 0. A transaction of its own.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(_SETTLED, {"margin": MARGIN_SECONDS})
        settled, sampled_at, sampled_id = cursor.fetchone()
        values: dict[str, Any] = {"settled": settled, "sampled_at": sampled_at, "sampled_id": sampled_id}
        cursor.execute(_ADD_NEW, values)
        cursor.execute(_MOVE_MARKS, values)
        moved = cursor.rowcount
        cursor.execute(_NOT_MARKED)
        for (partner_id,) in cursor.fetchall():
            cursor.execute(_ADD_ALL, {**values, "partner": partner_id})
            cursor.execute(_BEGIN_MARK, {**values, "partner": partner_id})
            moved += 1
    return moved


_NOT_MARKED = """
SELECT p.id FROM billing_partner p
WHERE NOT EXISTS (SELECT FROM billing_ledgersummark m WHERE m.partner_id = p.id) ORDER BY p.id
"""

# First the sequence, then the time: whoever begins from that time on draws a higher id.
_SETTLED = """
WITH id AS MATERIALIZED (
    SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('billing_ledgerentry', 'id')::regclass), 0) AS last
)
SELECT
    least(
        statement_timestamp(),
        (SELECT min(xact_start) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid())
    ) - make_interval(secs => %(margin)s),
    clock_timestamp(), last
FROM id
"""

_KIND = """CASE WHEN l.kind = 'reversal'
    THEN coalesce((SELECT o.kind FROM billing_ledgerentry o WHERE o.key = l.reverses), l.kind) ELSE l.kind END"""
_QUARTER = "date_bin('15 minutes', l.occurred_at, '2000-01-01 00:00Z')"

_ADD = f"""
INSERT INTO billing_ledgersum AS s (partner_id, begins_at, currency, kind, amount, entry_count)
SELECT cu.partner_id, {_QUARTER}, l.currency, {_KIND}, sum(l.amount), count(*)
{{what}}
GROUP BY 1, 2, 3, 4
ON CONFLICT (partner_id, begins_at, currency, kind)
DO UPDATE SET amount = s.amount + excluded.amount, entry_count = s.entry_count + excluded.entry_count
"""
_ADD_NEW = _ADD.format(
    what="""
FROM billing_ledgerentry l
JOIN billing_customer cu ON cu.id = l.customer_id
JOIN billing_ledgersummark m ON m.partner_id = cu.partner_id
WHERE l.id > (SELECT min(after_id) FROM billing_ledgersummark)
  AND l.posted_at >= m.through AND l.posted_at < %(settled)s
"""
)
_ADD_ALL = _ADD.format(
    what="""
FROM billing_customer cu
JOIN billing_ledgerentry l ON l.customer_id = cu.id
WHERE cu.partner_id = %(partner)s AND l.posted_at < %(settled)s
"""
)
_MOVE_MARKS = """
UPDATE billing_ledgersummark SET
    through = %(settled)s,
    after_id = CASE WHEN %(settled)s >= sampled_at THEN sampled_id ELSE after_id END,
    sampled_at = CASE WHEN %(settled)s >= sampled_at THEN %(sampled_at)s ELSE sampled_at END,
    sampled_id = CASE WHEN %(settled)s >= sampled_at THEN %(sampled_id)s ELSE sampled_id END
WHERE through < %(settled)s
"""
# What was posted from `settled` on may have any id so far: the next pass knows more.
_BEGIN_MARK = """
INSERT INTO billing_ledgersummark (partner_id, through, after_id, sampled_at, sampled_id)
VALUES (%(partner)s, %(settled)s, 0, %(sampled_at)s, %(sampled_id)s)
"""

_BY_DAY = """
WITH part AS (
    SELECT begins_at, currency, kind, amount FROM billing_ledgersum
    WHERE partner_id = %(partner)s AND begins_at >= %(since)s AND begins_at < %(until)s
    UNION ALL
    SELECT l.occurred_at, l.currency, {kind}, l.amount
    {tail}
      AND l.occurred_at >= %(since)s AND l.occurred_at < %(until)s
)
SELECT mark.through, day.*
FROM (SELECT max(through) AS through FROM billing_ledgersummark WHERE partner_id = %(partner)s) mark
LEFT JOIN (
    SELECT (begins_at AT TIME ZONE %(zone)s)::date AS day_on, currency, kind, sum(amount)
    FROM part GROUP BY 1, 2, 3
) day ON true
ORDER BY 2, 3, 4
"""
_TAIL = """
FROM billing_ledgerentry l JOIN billing_customer cu ON cu.id = l.customer_id AND cu.partner_id = %(partner)s
WHERE l.id > %(after_id)s AND l.posted_at >= %(through)s
"""
_ALL = """
FROM billing_customer cu JOIN billing_ledgerentry l ON l.customer_id = cu.id
WHERE cu.partner_id = %(partner)s
"""
