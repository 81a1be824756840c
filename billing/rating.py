"""What becomes of a call: charged, free or quarantined, and at which rate. Nothing is written here.

Posting, preview and re-rating put `rated()` into their queries, so that a preview tells exactly what a run would
charge. The price itself is the SQL functions `billed_seconds`, `exact_call_price` and `rounded`; which deck,
`deck_of_call`.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from billing.models import Rate, RateDeck
from billing.models.deck import LONGEST_PREFIX

# From about so many calls a slice it pays to look all of them up at once.
MANY_CALLS = 10_000


def rated(
    where: str,
    *,
    of: str = "billing_pendingcall",
    slices: Sequence[int] = (),
    calls: int = 0,
    straight_from_rates: bool = False,
) -> str:
    """The text of the common table expressions up to `rated`, for the calls that `where` chooses as p.

    `of`: pending calls, or a query in brackets with their columns and perhaps more, which are passed on.
    `straight_from_rates`: find the rates in the decks themselves, which needs no slices; for a look at a few calls.

    Given the current `slices` of all decks and about how many calls there will be, it looks the calls up one by one
    (quick for one call a minute) or all at once (quick for a hundred thousand). Both find the same rates.
    """
    if straight_from_rates:
        return _RATED.format(of=of, where=where, slice=_NO_SLICE, match=_MATCH_STRAIGHT)
    in_bulk = bool(slices) and calls >= MANY_CALLS * len(slices)
    return _RATED.format(
        of=of, where=where, slice=_SLICE, match=_match_all_at_once(slices) if in_bulk else _MATCH_ONE_BY_ONE
    )


def rate_of(deck: RateDeck, number: str, *, at: datetime) -> Rate | None:
    """The rate of the longest prefix that the number (its digits) begins with and that is valid at `at`."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LONGEST_PREFIX.format(deck="%(deck)s", number="%(number)s::text", at="%(at)s::timestamptz"),
            {"deck": deck.pk, "number": number, "at": at},
        )
        found = cursor.fetchone()
    return Rate.objects.select_related("deck").get(pk=found[0]) if found else None


# The last range of the slice that begins at or below the number: an index look-up for each call.
_MATCH_ONE_BY_ONE = """
        LEFT JOIN LATERAL (
            SELECT g.rate_id FROM billing_deckrange g
            WHERE g.slice_id = s.id AND g.lower <= pending.position
            ORDER BY g.lower DESC LIMIT 1
        ) match ON pending.needs_a_rate
"""

_SLICE = """
        LEFT JOIN billing_deckslice s
            ON s.deck_id = d.id AND s.rates_version = d.rates_version
            AND (s.since IS NULL OR s.since <= pending.rated_at) AND (s.until IS NULL OR s.until > pending.rated_at)
"""

# What a slice is made from: fifteen look-ups a call, but nothing to be made first.
_LONGEST_PREFIX = f"""
            SELECT r.id AS rate_id FROM billing_rate r
            WHERE r.deck_id = {{deck}}
              AND r.prefix = ANY (
                  ARRAY(SELECT left({{number}}, digits) FROM generate_series(1, {LONGEST_PREFIX}) digits)
              )
              AND (r.valid_from IS NULL OR r.valid_from <= {{at}}) AND (r.valid_to IS NULL OR r.valid_to > {{at}})
            ORDER BY length(r.prefix) DESC LIMIT 1
"""  # noqa: S608 - a text of ours
_NO_SLICE = """
        LEFT JOIN LATERAL (SELECT d.id) s ON true
"""
_MATCH_STRAIGHT = f"""
        LEFT JOIN LATERAL (
            {_LONGEST_PREFIX.format(deck="d.id", number="pending.to_number", at="pending.rated_at")}
        ) match ON pending.needs_a_rate AND pending.position IS NOT NULL
"""


_MATCH_ALL_AT_ONCE = """
        LEFT JOIN LATERAL (
            SELECT nullif(CASE s.id {searches} END, 0) AS rate_id OFFSET 0
        ) match ON pending.needs_a_rate
"""
_SEARCH_IN_ONE_SLICE = """
                WHEN {one} THEN (
                    SELECT array_agg(coalesce(rate_id, 0) ORDER BY lower) FROM billing_deckrange WHERE slice_id = {one}
                )[width_bucket(
                    pending.position,
                    (SELECT array_agg(lower ORDER BY lower) FROM billing_deckrange WHERE slice_id = {one})
                )]
"""


def _match_all_at_once(slices: Sequence[int]) -> str:
    """Binary search in an array of a slice's bounds, and the rate at the same place of a second array.

    Both are made once a query. A gap of the deck is 0 there: with NULLs in it, an array is not read by place any more.
    """
    return _MATCH_ALL_AT_ONCE.format(searches="".join(_SEARCH_IN_ONE_SLICE.format(one=int(one)) for one in slices))


# One row a pending call, with `outcome` (charge, free, quarantine; NULL: not to be decided now, its deck changes just
# now) and `reason`. OFFSET 0 keeps the planner from writing a step's formula into every place
# of the next that uses its result: seconds and price would be computed many times over.
_RATED = """
    pending AS MATERIALIZED (
        SELECT p.*, cu.currency, cu.partner_id, cu.closed_at AS customer_closed_at,
            length(p.to_number) BETWEEN 1 AND 20 AND n.is_digits AS has_possible_number,
            CASE WHEN n.is_digits THEN number_position(p.to_number) END AS position,
            p.is_answered AND p.seconds > 0 AND NOT p.is_internal AS needs_a_rate,
            coalesce(p.answered_at, p.started_at) AS rated_at,
            deck_of_call(p.direction, cu.rate_deck_id, cu.inbound_deck_id, cu.currency, pa.rate_deck_id, pa.currency)
                AS deck_id
        FROM {of} p
        LEFT JOIN billing_customer cu ON cu.id = p.customer_id
        LEFT JOIN billing_partner pa ON pa.id = cu.partner_id
        CROSS JOIN LATERAL (SELECT ltrim(p.to_number, '0123456789') = '' AS is_digits OFFSET 0) n
        WHERE {where}
    ), matched AS (
        SELECT pending.*, s.id AS slice_id, d.decimals, d.rounding, r.id AS rate_id, r.destination,
            r.price_per_minute, r.connect_fee, r.minimum_charge,
            billed_seconds(pending.seconds, r.first_increment, r.increment) AS billed_seconds
        FROM pending
        LEFT JOIN billing_ratedeck d ON d.id = pending.deck_id
        {slice}
        {match}
        LEFT JOIN billing_rate r ON r.id = match.rate_id
        OFFSET 0
    ), priced AS (
        SELECT matched.*,
            exact_call_price(billed_seconds, price_per_minute, connect_fee, minimum_charge) AS exact_price
        FROM matched
        OFFSET 0
    ), rounded_off AS (
        SELECT priced.*, rounded(exact_price, decimals, rounding) AS price FROM priced OFFSET 0
    ), judged AS (
        SELECT rounded_off.*,
            CASE
                WHEN is_internal THEN 'internal'
                WHEN NOT is_answered THEN 'not_answered'
                WHEN seconds = 0 THEN 'zero_seconds'
                WHEN customer_id IS NULL THEN 'no_customer'
                WHEN direction = 'inbound' AND deck_id IS NULL THEN 'inbound'
                WHEN customer_closed_at <= started_at THEN 'customer_closed'
                WHEN NOT has_possible_number THEN 'impossible_number'
                WHEN deck_id IS NULL THEN 'no_deck'
                WHEN slice_id IS NOT NULL AND rate_id IS NULL THEN 'no_rate'
                WHEN exact_price = 0 THEN 'zero_rate'
                WHEN price = 0 THEN 'rounds_to_zero'
            END AS reason
        FROM rounded_off
    ), rated AS MATERIALIZED (
        SELECT judged.*,
            CASE
                WHEN reason IN ('no_customer', 'customer_closed', 'impossible_number', 'no_deck', 'no_rate')
                    THEN 'quarantine'
                WHEN reason IS NOT NULL THEN 'free'
                WHEN slice_id IS NOT NULL THEN 'charge'
            END AS outcome
        FROM judged
    )
"""
