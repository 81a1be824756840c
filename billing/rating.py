"""What becomes of a call: charged, free or quarantined, and at which rate. Nothing is written here.

Posting, preview and re-rating put `rated()` into their queries, so that a preview tells exactly what a run would
charge. The price itself is the SQL functions `billed_seconds`, `exact_call_price` and `rounded`; which deck,
`deck_of_call`.
"""

from collections.abc import Sequence

# From about so many calls a slice it pays to look all of them up at once.
MANY_CALLS = 10_000


def rated(where: str, *, of: str = "billing_pendingcall", slices: Sequence[int] = (), calls: int = 0) -> str:
    """The text of the common table expressions up to `rated`, for the calls that `where` chooses as p.

    `of`: pending calls, or a query in brackets with their columns and perhaps more, which are passed on.

    Given the current `slices` of all decks and about how many calls there will be, it looks the calls up one by one
    (quick for one call a minute) or all at once (quick for a hundred thousand). Both find the same rates.
    """
    in_bulk = bool(slices) and calls >= MANY_CALLS * len(slices)
    return _RATED.format(of=of, where=where, match=_match_all_at_once(slices) if in_bulk else _MATCH_ONE_BY_ONE)


# The last range of the slice that begins at or below the number: an index look-up for each call.
_MATCH_ONE_BY_ONE = """
        LEFT JOIN LATERAL (
            SELECT g.rate_id FROM billing_deckrange g
            WHERE g.slice_id = s.id AND g.lower <= pending.position
            ORDER BY g.lower DESC LIMIT 1
        ) match ON pending.needs_a_rate
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
        LEFT JOIN billing_deckslice s
            ON s.deck_id = d.id AND s.rates_version = d.rates_version
            AND (s.since IS NULL OR s.since <= pending.rated_at) AND (s.until IS NULL OR s.until > pending.rated_at)
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
