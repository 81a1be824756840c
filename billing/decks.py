"""Rate decks flattened into ranges of numbers, so that a call finds its longest prefix with one look-up.

A slice is a deck as it stands through a stretch of time in which none of its rates begins or ends. Slices live in
Postgres, beside the version of the rates they were made from: a change of rates makes them stale, never wrong.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from django.db import connection, transaction

from billing.batches import open_batches
from billing.models import DeckSlice, RateDeck
from billing.models.deck import LONGEST_PREFIX

END_OF_NUMBERS = 16**LONGEST_PREFIX


def position(digits: str) -> int:
    """Where a number stands among all numbers; the same as the SQL function `number_position`."""
    value = 0
    for digit in digits[:LONGEST_PREFIX]:
        value = value * 16 + int(digit) + 1
    return value << 4 * (LONGEST_PREFIX - min(len(digits), LONGEST_PREFIX))


def flatten(prefixes: Iterable[tuple[str, int]]) -> Iterator[tuple[int, int | None]]:
    """From `(prefix, rate)` pairs the ranges of numbers by longest prefix, as `(lower, rate)`, lowest first.

    The first range begins at 0; a range without a rate is a gap. Prefixes must not repeat.
    """
    enclosing: list[tuple[int, int | None]] = [(END_OF_NUMBERS, None)]
    lower, current = 0, None

    def begin(at: int, rate: int | None) -> Iterator[tuple[int, int | None]]:
        nonlocal lower, current
        if at > lower:
            yield lower, current
        lower, current = at, rate

    # Sorted as text a prefix comes right before everything that begins with it.
    for prefix, rate in sorted(prefixes):
        at = position(prefix)
        while enclosing[-1][0] <= at:
            end, _ = enclosing.pop()
            yield from begin(end, enclosing[-1][1])
        enclosing.append((at + 16 ** (LONGEST_PREFIX - len(prefix)), rate))
        yield from begin(at, rate)
    while len(enclosing) > 1:
        end, _ = enclosing.pop()
        yield from begin(end, enclosing[-1][1])
    if lower < END_OF_NUMBERS:
        yield lower, current


def slice_for_pending_calls(*, for_preview: bool = False) -> int:
    """Make the slices that pending calls need and that are missing or stale; how many were made. May be repeated.

    For a preview: without keeping others from doing the same. The caller's transaction must be REPEATABLE READ, and
    rolled back in the end.
    """
    return make_slices(_stretches_with_pending_calls(), for_preview=for_preview)


def make_slices(stretches: Iterable[tuple[int, datetime, datetime]], *, for_preview: bool = False) -> int:
    """Make the missing and stale slices of decks through stretches `(deck, first, last)`; how many were made."""
    made = 0
    for deck_id, first, last in stretches:
        deck = RateDeck.objects.get(pk=deck_id)
        at: datetime | None = first
        while at is not None and at <= last:
            present, created = make_slice(deck, at=at, for_preview=for_preview)
            made += created
            at = present.until
    return made


def current_slices() -> list[int]:
    """The slices, of all decks, that were made from the rates of now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.id FROM billing_deckslice s"
            " JOIN billing_ratedeck d ON d.id = s.deck_id AND d.rates_version = s.rates_version ORDER BY s.id"
        )
        return [row[0] for row in cursor.fetchall()]


def make_slice(deck: RateDeck, *, at: datetime, for_preview: bool = False) -> tuple[DeckSlice, bool]:
    """The slice of the deck as it stands at `at`, and whether it had to be made. Waits for others who do the same."""
    with transaction.atomic(durable=not for_preview):
        if not for_preview:
            deck = RateDeck.objects.select_for_update(no_key=True).get(pk=deck.pk)
            deck.slices.exclude(rates_version=deck.rates_version).delete()
        since, until = _unchanged_stretch(deck, at=at)
        present, created = DeckSlice.objects.get_or_create(
            deck=deck, rates_version=deck.rates_version, since=since, until=until
        )
        if created:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT prefix, id FROM billing_rate WHERE deck_id = %s"
                    " AND (valid_from IS NULL OR valid_from <= %s) AND (valid_to IS NULL OR valid_to > %s)",
                    [deck.pk, at, at],
                )
                rates = cursor.fetchall()
                with cursor.copy("COPY billing_deckrange (slice_id, lower, rate_id) FROM STDIN") as copy:
                    copy.write(_as_copy_text(present.pk, flatten(rates)))
    return present, created


def _as_copy_text(slice_id: int, ranges: Iterable[tuple[int, int | None]]) -> str:
    null = "\\N"
    return "".join(f"{slice_id}\t{lower}\t{null if rate is None else rate}\n" for lower, rate in ranges)


def _unchanged_stretch(deck: RateDeck, *, at: datetime) -> tuple[datetime | None, datetime | None]:
    """The stretch around `at` in which no rate of the deck begins or ends; None: unbounded on that side."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT max(edge) FILTER (WHERE edge <= %(at)s), min(edge) FILTER (WHERE edge > %(at)s)
            FROM (
                SELECT valid_from AS edge FROM billing_rate WHERE deck_id = %(deck)s
                UNION SELECT valid_to FROM billing_rate WHERE deck_id = %(deck)s
            ) edges
            """,
            {"deck": deck.pk, "at": at},
        )
        since, until = cursor.fetchone()
    return since, until


def _stretches_with_pending_calls() -> Sequence[tuple[int, datetime, datetime]]:
    """For each deck and day with calls in open batches: the deck, and the first and the last time of such a call.

    Goes by the open batches alone: asking each call for its outcome would cost more than a slice too many.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT deck_id, min(at), max(at) FROM (
                SELECT coalesce(c.answered_at, c.started_at) AS at,
                    deck_of_call(c.direction, cu.rate_deck_id, cu.inbound_deck_id, cu.currency,
                                 p.rate_deck_id, p.currency) AS deck_id
                FROM (
                    SELECT c.direction, c.customer_id, c.answered_at, c.started_at
                    FROM billing_callrecord c WHERE c.batch_id = ANY(%(batches)s::bigint[]) AND c.is_answered
                    UNION ALL
                    SELECT c.direction, q.customer_id, c.answered_at, c.started_at
                    FROM billing_quarantinedcall q JOIN billing_callrecord c ON c.content_hash = q.content_hash
                    WHERE q.release_batch_id = ANY(%(batches)s::bigint[]) AND q.state = 'released'
                ) c
                JOIN billing_customer cu ON cu.id = c.customer_id
                JOIN billing_partner p ON p.id = cu.partner_id
            ) calls
            WHERE deck_id IS NOT NULL
            GROUP BY deck_id, date_trunc('day', at)
            """,
            {"batches": open_batches()},
        )
        return cursor.fetchall()
