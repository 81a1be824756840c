"""Call records as a partner finds them: billed ones, by customer, number, time, direction and price.

Newest first, and looked for in steps: the last quarter of an hour of the range, the last half, the last hour and so
on, until a page is full. So a page costs what the newest calls cost, however many lie behind them; only who looks for
something rare has the whole range read, and a range has an end. Batches that billing has not come to yet, as after
hours of a halt, are left out as a whole: asking call by call would take the longer the longer the halt.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection, transaction

from billing.batches import batches_without_outcomes
from billing.models import Direction
from ivy.portal.scope import Scope

A_PAGE = 50
LONGEST_DAYS = 31
# Nobody asks for calls outside of these; and none of the steps below leads out of the calendar.
EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
STEPS = tuple(timedelta(minutes=15) * 2**number for number in range(13))  # to 43 days
TOTAL_SECONDS = 5
ROWS_AT_A_TIME = 5_000


class TooMuch(Exception):
    """There is more than can be summed up while somebody waits. The message says what to do."""


@dataclass(frozen=True)
class Asked:
    """What calls are looked for: begun from `since` until just before `until`, UTC; further wishes may be empty.

    `number` is part of either number, as digits. Prices are positive amounts; a free call costs 0.
    """

    since: datetime
    until: datetime
    account: str = ""
    number: str = ""
    direction: str = ""
    at_least: Decimal | None = None
    at_most: Decimal | None = None


@dataclass(frozen=True)
class Call:
    """A billed call. `price`: what it costs by now, corrections included, positive; None where it is free by rule."""

    id: int
    key: str
    account: str
    customer: str
    currency: str
    direction: str
    from_number: str
    to_number: str
    started_at: datetime
    seconds: int
    billed_seconds: int | None
    price: Decimal
    free_because: str
    is_corrected: bool

    @property
    def place(self) -> str:
        """Where the page after this call goes on."""
        return f"{self.started_at.isoformat()}_{self.id}"


@dataclass(frozen=True)
class Total:
    """What calls of one currency come to."""

    currency: str
    count: int
    seconds: int
    amount: Decimal

    @property
    def minutes(self) -> int:
        """Whole minutes, rounded to the nearest."""
        return (self.seconds + 30) // 60


def page(scope: Scope, asked: Asked, *, after: tuple[datetime, int] | None = None) -> tuple[list[Call], bool]:
    """The newest calls that fit, and whether there are more. `after`: time and id of the last one seen already."""
    values = _values(scope, asked)
    until = min(after[0] + timedelta(microseconds=1), asked.until) if after else asked.until
    if not asked.number:  # a number is rare: looking for the newest first would read everything twice
        newest = _newest(values, since=asked.since, until=until)
        until = newest + timedelta(microseconds=1) if newest else asked.since
    found: list[Call] = []
    for since in _steps(asked.since, until):
        found += _calls(values, since=since, until=until, after=after, limit=A_PAGE + 1 - len(found))
        until = since
        if len(found) > A_PAGE:
            break
    return found[:A_PAGE], len(found) > A_PAGE


def every(scope: Scope, asked: Asked) -> Iterator[Call]:
    """All calls that fit, newest first, for a file: in constant memory, from a cursor of the server's."""
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_ALL, _values(scope, asked))
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield from (Call(*row) for row in rows)


def totals(scope: Scope, asked: Asked) -> list[Total]:
    """What all of them come to, by currency. Raises TooMuch after five seconds."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{TOTAL_SECONDS}s"])
            cursor.execute(_TOTALS, _values(scope, asked))
            return [Total(*row) for row in cursor.fetchall()]
    except OperationalError as error:
        raise TooMuch("These are too many to sum up while you wait: choose fewer days or one customer.") from error


def _newest(values: dict[str, Any], *, since: datetime, until: datetime) -> datetime | None:
    """When the newest call began that may have been billed: where looking for them starts, as after days of a halt."""
    with connection.cursor() as cursor:
        for begin in _steps(since, until):
            cursor.execute(_NEWEST, {**values, "since": begin, "until": until})
            ((newest,),) = cursor.fetchall()
            if newest is not None:
                return newest
            until = begin
    return None


def _steps(since: datetime, until: datetime) -> list[datetime]:
    """Where the steps back from `until` begin, the last at `since`."""
    return sorted({max(since, until - step) for step in STEPS}, reverse=True)


def _calls(
    values: dict[str, Any], *, since: datetime, until: datetime, after: tuple[datetime, int] | None, limit: int
) -> list[Call]:
    last_at, last_id = after or (until, 0)
    with connection.cursor() as cursor:
        cursor.execute(
            _PAGE, {**values, "since": since, "until": until, "last_at": last_at, "last_id": last_id, "limit": limit}
        )
        return [Call(*row) for row in cursor.fetchall()]


def _values(scope: Scope, asked: Asked) -> dict[str, Any]:
    return {
        "hidden": batches_without_outcomes(scope.partner.pk),
        "partner": scope.partner.pk,
        "since": asked.since,
        "until": asked.until,
        "account": asked.account,
        "number": f"%{asked.number}%" if asked.number else "",
        "direction": asked.direction if asked.direction in Direction.values else "",
        "at_least": asked.at_least,
        "at_most": asked.at_most,
    }


# What became of a call is told by its key alone; a later charge of the same call ends in #2, #3 and so on. All of it
# begins with a reversal of the first charge, and few calls have one: the others cost one look into a small index.
_LATER = """
    FROM billing_ledgerentry r
    WHERE EXISTS (SELECT FROM billing_ledgerentry undone WHERE undone.reverses = {key}) AND (
        r.reverses = {key} OR (r.key > {key} || '#' AND r.key < {key} || '$')
        OR (r.reverses > {key} || '#' AND r.reverses < {key} || '$')
    )
"""
_PRICE = f"-(coalesce(l.amount, 0) + coalesce((SELECT sum(r.amount) {_LATER.format(key='l.key')}), 0))"
_RECORDS = """
FROM billing_customer cu
JOIN billing_callrecord c ON c.customer_id = cu.id AND c.started_at >= %(since)s AND c.started_at < %(until)s
    AND c.batch_id <> ALL(%(hidden)s::bigint[])
"""
_WISHES = """
  AND (%(account)s = '' OR cu.account = %(account)s)
  AND (%(direction)s = '' OR c.direction = %(direction)s)
  AND (%(number)s = '' OR c.to_number LIKE %(number)s OR c.from_number LIKE %(number)s)
"""
_NEWEST = f"SELECT max(c.started_at) {_RECORDS} WHERE cu.partner_id = %(partner)s {_WISHES}"
_FITTING = f"""
{_RECORDS}
JOIN billing_source s ON s.id = c.source_id
CROSS JOIN LATERAL (SELECT call_key(s.name, c.call_id) AS key) k
LEFT JOIN billing_ledgerentry l ON l.key = k.key
LEFT JOIN billing_freecall f ON f.call_key = k.key
WHERE cu.partner_id = %(partner)s AND (l.key IS NOT NULL OR f.call_key IS NOT NULL)
  {_WISHES}
  AND (%(at_least)s::numeric IS NULL OR {_PRICE} >= %(at_least)s)
  AND (%(at_most)s::numeric IS NULL OR {_PRICE} <= %(at_most)s)
"""
# Prices are looked up for the calls that are shown, not for all among which they were found.
_SHOWN = f"""
SELECT c.id, c.key, c.account, c.name, c.currency, c.direction, c.from_number, c.to_number, c.started_at, c.seconds,
    c.billed_seconds, -(coalesce(c.amount, 0) + coalesce(later.amount, 0)), coalesce(c.reason, ''), later.count > 0
FROM (
    SELECT c.*, k.key, cu.account, cu.name, cu.currency, l.amount, f.reason,
        coalesce(l.billed_seconds, f.billed_seconds) AS billed_seconds
    {_FITTING} {{rest}}
) c
CROSS JOIN LATERAL (SELECT count(*) AS count, sum(r.amount) AS amount {_LATER.format(key="c.key")}) later
ORDER BY c.started_at DESC, c.id DESC
"""  # noqa: S608 - a text of ours
_PAGE = _SHOWN.format(
    rest="""
    AND (%(last_id)s = 0 OR (c.started_at, c.id) < (%(last_at)s, %(last_id)s))
    ORDER BY c.started_at DESC, c.id DESC LIMIT %(limit)s
"""
)
_ALL = _SHOWN.format(rest="")
_TOTALS = f"""
SELECT cu.currency, count(*), sum(c.seconds), sum({_PRICE})
{_FITTING} GROUP BY cu.currency ORDER BY cu.currency
"""
