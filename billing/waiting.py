"""What waits in quarantine, as a work list: which calls are meant, and what would mend them. Nothing is written here.

Everything is bounded: counts stop at a hundred thousand, groups are told of the newest thousand of each reason, so
that a night with a million calls in quarantine can be looked at as quickly as any other.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from billing.models import IdentityKind, QuarantineReason, RateDeck
from billing.models.deck import LONGEST_PREFIX

COUNTED_TO = 100_000
LOOKED_AT = 1_000
DIGITS_OF_A_GROUP = 7
NEEDS_AN_IDENTITY = (QuarantineReason.NO_CUSTOMER, QuarantineReason.AMBIGUOUS_CUSTOMER)
NEEDS_ANOTHER_CUSTOMER = (QuarantineReason.NO_DECK, QuarantineReason.CUSTOMER_CLOSED)


@dataclass(frozen=True)
class Selection:
    """Which waiting calls are meant: all that fit everything said. Nothing said: all.

    `source`: a name · `partner`: a slug · `deck`: its name, the one that would price the call now · `begins`: how the
    called number begins · `identity`: what the record says first of who called, as `peer:301` · `ids`: these alone.
    """

    reasons: tuple[str, ...] = ()
    source: str = ""
    partner: str = ""
    account: str = ""
    deck: str = ""
    begins: str = ""
    identity: str = ""
    ids: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """What is meant, for people: `no rate, of pbx-north, numbers that begin with 4930`."""
        parts = [", ".join(QuarantineReason(reason).label.lower() for reason in self.reasons)]
        parts += [f"from {self.source}"] if self.source else []
        parts += [f"of partner {self.partner}"] if self.partner else []
        parts += [f"of account {self.account}"] if self.account else []
        parts += [f"in the deck {self.deck}"] if self.deck else []
        parts += [f"to numbers that begin with {self.begins}"] if self.begins else []
        parts += [f"that name {self.identity}"] if self.identity else []
        parts += [f"{len(self.ids)} chosen"] if self.ids else []
        return ", ".join(part for part in parts if part) or "everything"


EVERYTHING = Selection()


def selected(selection: Selection) -> tuple[str, dict[str, Any]]:
    """The text `FROM … WHERE …` that chooses the waiting calls as q, and its values."""
    said = {name: value for name in _CONDITIONS if (value := getattr(selection, name))}
    tables = "billing_quarantinedcall q"
    if said.keys() & {"begins", "identity", "deck"}:
        tables += _RECORD
    if said.keys() & {"partner", "account", "deck"}:
        tables += _CUSTOMER
    conditions = ["q.state = 'waiting'", *(_CONDITIONS[name] for name in said)]
    values = {name: list(map(_plain, value)) if isinstance(value, tuple) else value for name, value in said.items()}
    return f"FROM {tables} WHERE {' AND '.join(conditions)}", values


def _plain(value: str | int) -> str | int:
    """The driver knows no enums."""
    return str(value) if isinstance(value, str) else value


# The record of a row in quarantine, found by the index of contents.
_RECORD = """
    JOIN billing_callrecord c ON c.content_hash = q.content_hash
    JOIN billing_source s ON s.id = c.source_id AND q.call_key = call_key(s.name, c.call_id)
"""
_CUSTOMER = """
    LEFT JOIN billing_customer cu ON cu.id = q.customer_id
    LEFT JOIN billing_partner pa ON pa.id = cu.partner_id
"""
_DECK = """deck_of_call(
    coalesce(nullif(q.direction, ''), c.direction), cu.rate_deck_id, cu.inbound_deck_id, cu.currency,
    pa.rate_deck_id, pa.currency
)"""
# What is asked first when a customer is looked for.
_IDENTITY = """coalesce(
    'code:' || nullif(c.account_code, ''), 'peer:' || nullif(c.from_peer, ''),
    'number:' || nullif(c.from_number, ''), ''
)"""
_CONDITIONS = {
    "reasons": "q.reason = ANY(%(reasons)s)",
    "source": "starts_with(q.call_key, 'call:' || %(source)s || ':')",
    "partner": "pa.slug = %(partner)s",
    "account": "cu.account = %(account)s",
    "deck": f"{_DECK} = (SELECT id FROM billing_ratedeck WHERE name = %(deck)s)",  # noqa: S608 - a text of ours
    "begins": "starts_with(c.to_number, %(begins)s)",
    "identity": f"{_IDENTITY} = %(identity)s",
    "ids": "q.id = ANY(%(ids)s)",
}


@dataclass(frozen=True)
class Count:
    """How many calls (at most COUNTED_TO + 1 are counted), and since when the first of them waits."""

    calls: int
    oldest: datetime | None
    mark: str = ""
    """Changes when other calls are meant."""


def count(selection: Selection = EVERYTHING) -> Count:
    """How many waiting calls are meant."""
    chosen, values = selected(selection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*), min(since), coalesce(sum(id), 0) || '/' || coalesce(max(id), 0)"  # noqa: S608 - ours
            f" FROM (SELECT q.id, q.since {chosen} LIMIT {COUNTED_TO + 1}) counted",
            values,
        )
        return Count(*cursor.fetchone())


@dataclass
class Group:
    """Waiting calls that one thing would mend: a rate for a prefix, an identity, a deck."""

    reason: QuarantineReason
    source: str
    partner: str
    account: str
    deck: str
    begins: str
    identity: str
    calls: int
    seconds: int
    oldest: datetime
    example: int

    @property
    def selection(self) -> Selection:
        return Selection(
            reasons=(self.reason.value,),
            source=self.source,
            partner=self.partner,
            account=self.account,
            deck=self.deck,
            begins=self.begins,
            identity=self.identity,
        )


@dataclass
class Heap:
    """What waits for one reason. `is_exact`: the groups are of all of it, not of the newest LOOKED_AT alone."""

    reason: QuarantineReason
    calls: int
    oldest: datetime
    groups: list[Group] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        return self.calls <= LOOKED_AT


def by_reason(*, counted_to: int) -> list[tuple[str, int, datetime]]:
    """Calls that wait, by reason: how many (counted so far, and one more: beyond), and since when the oldest."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_REASON, [QuarantineReason.values, counted_to + 1])
        return cursor.fetchall()


def work_list() -> list[Heap]:
    """Everything that waits, by reason, most calls first, and within a reason by what would mend it."""
    waiting = by_reason(counted_to=COUNTED_TO)
    heaps = {reason: Heap(QuarantineReason(reason), calls, oldest) for reason, calls, oldest in waiting}
    if heaps:
        with connection.cursor() as cursor:
            cursor.execute(
                _GROUPS,
                {
                    "reasons": list(heaps),
                    "limit": LOOKED_AT,
                    "digits": DIGITS_OF_A_GROUP,
                    "by_identity": [reason.value for reason in NEEDS_AN_IDENTITY],
                    "by_account": [reason.value for reason in NEEDS_ANOTHER_CUSTOMER],
                },
            )
            _add_groups(heaps, cursor.fetchall())
    for heap in heaps.values():
        heap.groups.sort(key=lambda group: (-group.calls, group.example))
    return sorted(heaps.values(), key=lambda heap: -heap.calls)


def _add_groups(heaps: dict[str, Heap], rows: list[tuple[Any, ...]]) -> None:
    """Add the groups, those of one missing prefix together."""
    missing = missing_prefixes((deck_id, number) for _, _, _, _, deck_id, _, number, *_ in rows if deck_id and number)
    found: dict[tuple[str, ...], Group] = {}
    for reason, source, partner, account, deck_id, deck, number, identity, calls, seconds, oldest, example in rows:
        begins = missing[deck_id, number] if deck_id and number else ""
        key = (reason, source, partner, account, deck, begins, identity)
        group = found.get(key)
        if group is None:
            found[key] = group = Group(
                QuarantineReason(reason), source, partner, account, deck, begins, identity, 0, 0, oldest, example
            )
            heaps[reason].groups.append(group)
        group.calls += calls
        group.seconds += seconds
        group.oldest = min(group.oldest, oldest)
        group.example = max(group.example, example)


def missing_prefixes(numbers: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """For `(deck, beginning of a number)` the shortest prefix of it with which no rate of the deck begins.

    Where every one of them is begun with by some rate, the whole beginning.
    """
    asked = defaultdict(set)
    for deck_id, number in numbers:
        asked[deck_id].add(number[:LONGEST_PREFIX])
    pairs = [(deck_id, number) for deck_id, beginnings in asked.items() for number in sorted(beginnings)]
    with connection.cursor() as cursor:
        cursor.execute(_MISSING, [[deck_id for deck_id, _ in pairs], [number for _, number in pairs]])
        found = {(deck_id, number): prefix for deck_id, number, prefix in cursor.fetchall()}
    return {(deck_id, number): found[deck_id, number] for deck_id, number in pairs}


def missing_prefix(deck: RateDeck, number: str) -> str:
    """The prefix to give a rate for, so that calls to the number have one: the shortest that no rate begins with."""
    begins = number[:DIGITS_OF_A_GROUP]
    return missing_prefixes([(deck.pk, begins)])[deck.pk, begins] if begins.isdecimal() else ""


@dataclass(frozen=True)
class Row:
    """A waiting call, as a line of a list."""

    id: int
    call_key: str
    reason: QuarantineReason
    detail: str
    since: datetime
    source: str
    account: str | None
    started_at: datetime
    caller: str
    called: str
    seconds: int


def rows(selection: Selection, *, skip: int = 0, at_most: int = 50) -> list[Row]:
    """Some of the waiting calls that are meant, the longest waiting first."""
    chosen, values = selected(selection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH meant AS (
                SELECT q.id {chosen} ORDER BY q.since, q.id LIMIT %(at_most)s OFFSET %(skip)s
            )
            SELECT q.id, q.call_key, q.reason, q.detail, q.since, s.name, cu.account, c.started_at,
                coalesce(nullif(c.from_number, ''), nullif(c.from_peer, ''), c.account_code),
                coalesce(nullif(c.to_number, ''), c.to_peer), c.seconds
            FROM meant JOIN billing_quarantinedcall q ON q.id = meant.id {_RECORD} {_CUSTOMER}
            ORDER BY q.since, q.id
            """,  # noqa: S608 - texts of ours
            {**values, "skip": skip, "at_most": at_most},
        )
        return [
            Row(key, call_key, QuarantineReason(reason), *rest)
            for key, call_key, reason, *rest in cursor.fetchall()
        ]  # fmt: skip


def identity_parts(words: str) -> tuple[str, str]:
    """`peer:301` as its kind and its value; of a number its digits alone. Two empty texts for what is none."""
    kind, _, value = words.partition(":")
    if kind not in IdentityKind.values:
        return "", ""
    return kind, re.sub("[^0-9]", "", value) if kind == IdentityKind.NUMBER else value


# Looks at the index for each reason, that end after one row and after so many.
_BY_REASON = """
SELECT r.reason, counted.calls, oldest.since
FROM unnest(%s::text[]) r (reason)
CROSS JOIN LATERAL (
    SELECT since FROM billing_quarantinedcall
    WHERE state = 'waiting' AND reason = r.reason ORDER BY since LIMIT 1
) oldest
CROSS JOIN LATERAL (
    SELECT count(*) AS calls FROM (
        SELECT FROM billing_quarantinedcall WHERE state = 'waiting' AND reason = r.reason LIMIT %s
    ) counted_so_far
) counted
"""

_GROUPS = f"""
WITH q AS MATERIALIZED (
    SELECT newest.* FROM unnest(%(reasons)s::text[]) reason
    CROSS JOIN LATERAL (
        SELECT q.* FROM billing_quarantinedcall q
        WHERE q.state = 'waiting' AND q.reason = reason.reason ORDER BY q.since DESC LIMIT %(limit)s
    ) newest
), told AS (
    SELECT q.id, q.reason, q.since, c.seconds, s.name AS source, coalesce(pa.slug, '') AS partner,
        CASE WHEN q.reason = ANY(%(by_account)s) THEN coalesce(cu.account, '') ELSE '' END AS account,
        CASE WHEN q.reason = 'no_rate' THEN {_DECK} END AS deck_id,
        CASE WHEN q.reason IN ('no_rate', 'impossible_number') THEN left(c.to_number, %(digits)s) ELSE '' END AS number,
        CASE WHEN q.reason = ANY(%(by_identity)s) THEN {_IDENTITY} ELSE '' END AS identity
    FROM q {_RECORD} {_CUSTOMER}
)
SELECT told.reason, told.source, told.partner, told.account, told.deck_id, coalesce(d.name, ''), told.number,
    told.identity, count(*), sum(told.seconds), min(told.since), max(told.id)
FROM told LEFT JOIN billing_ratedeck d ON d.id = told.deck_id
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""  # noqa: S608 - texts of ours

# ':' follows '9', so that what begins with the digits lies between the two.
_MISSING = """
SELECT asked.deck_id, asked.number, coalesce(
    (
        SELECT min(left(asked.number, digits)) FROM generate_series(1, length(asked.number)) digits
        WHERE NOT EXISTS (
            SELECT FROM billing_rate r
            WHERE r.deck_id = asked.deck_id AND r.prefix >= left(asked.number, digits) COLLATE "C"
              AND r.prefix < (left(asked.number, digits) || ':') COLLATE "C"
        )
    ),
    asked.number
)
FROM unnest(%s::bigint[], %s::text[]) AS asked (deck_id, number)
"""
