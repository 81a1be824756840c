"""Ledger entries in an order in which nobody who reads on from the last one misses or repeats any.

Ids are given out before entries commit, so that a reader who goes by id passes over one that commits late. Entries know
the transaction that posted them: those of transactions below the oldest one that is still under way are all there, for
ever, and new ones come behind them. So the order is by transaction, and within one by id. A transaction that stays open
holds back what was posted after it began, and nothing is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection

from billing.models import LedgerEntry

# Of all partners' entries: a page of a partner with few among many ends here, perhaps empty, and says there is more.
ENTRIES_LOOKED_AT = 20_000


class Position(NamedTuple):
    """Behind which entry to read on."""

    posted_in: int
    entry_id: int


BEGINNING = Position(0, 0)


@dataclass(frozen=True)
class Page:
    """The next entries, and where to read on. `more`: there is more now; else come back later with `position`."""

    entries: Sequence[LedgerEntry]
    position: Position
    more: bool


def read(
    *, partner_id: int, after: Position = BEGINNING, customers: Sequence[int] | None = None, limit: int = 500
) -> Page:
    """Entries of the partner's customers (of these alone) behind a position. Writes nothing; may be repeated."""
    with connection.cursor() as cursor:
        cursor.execute(
            _READ,
            {
                "partner": partner_id,
                "customers": None if customers is None else list(customers),
                "posted_in": str(after.posted_in),
                "entry": after.entry_id,
                "looked_at": ENTRIES_LOOKED_AT,
                "limit": limit,
            },
        )
        rows = cursor.fetchall()
    if not rows:
        return Page([], after, more=False)
    looked_at, last = rows[0][0], Position(int(rows[0][1]), rows[0][2])
    found = [(entry, Position(int(posted_in), entry)) for *_, entry, posted_in in rows if entry is not None]
    by_id = LedgerEntry.objects.select_related("customer").in_bulk([entry for entry, _ in found])
    is_full = len(found) == limit
    return Page(
        [by_id[entry] for entry, _ in found],
        found[-1][1] if is_full else last,
        more=is_full or looked_at == ENTRIES_LOOKED_AT,
    )


def end() -> Position:
    """Behind all that a reader would get by now: for who wants only what is new."""
    with connection.cursor() as cursor:
        cursor.execute(_END)
        row = cursor.fetchone()
    return Position(int(row[0]), row[1]) if row else BEGINNING


def position_of(entry: LedgerEntry) -> Position:
    """Behind this entry, for a reader who lost its position."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT posted_in::text FROM billing_ledgerentry WHERE id = %s", [entry.pk])
        return Position(int(cursor.fetchone()[0]), entry.pk)


# One statement, so that what is left out and where to read on are seen at one instant.
_READ = """
WITH looked_at AS MATERIALIZED (
    SELECT l.posted_in, l.id, l.customer_id FROM billing_ledgerentry l
    WHERE (l.posted_in, l.id) > (%(posted_in)s::xid8, %(entry)s)
      AND l.posted_in < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY l.posted_in, l.id LIMIT %(looked_at)s
), theirs AS (
    SELECT l.id, l.posted_in FROM looked_at l JOIN billing_customer cu ON cu.id = l.customer_id
    WHERE cu.partner_id = %(partner)s
      AND (%(customers)s::bigint[] IS NULL OR cu.id = ANY(%(customers)s::bigint[]))
    ORDER BY l.posted_in, l.id LIMIT %(limit)s
), last AS (
    SELECT posted_in, id FROM looked_at ORDER BY posted_in DESC, id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM looked_at), last.posted_in::text, last.id, theirs.id, theirs.posted_in::text
FROM last LEFT JOIN theirs ON true ORDER BY theirs.posted_in, theirs.id
"""

# By the number itself: named without its table, PostgreSQL would go by the text that is asked for, 999 behind 1000.
_END = """
SELECT l.posted_in::text, l.id FROM billing_ledgerentry l
WHERE l.posted_in < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY l.posted_in DESC, l.id DESC LIMIT 1
"""
