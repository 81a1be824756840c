"""Which customer a call belongs to: the rule, once, as SQL for whole sets of legs. Nothing is written here.

Whoever makes the call is asked first: account code, then the peer it came from, then the calling number. Only if none
of them is anybody's, it is a call to somebody: the called number, or the peer that was reached. Where the source says
the direction, only that side is asked. All that match on one side must name the same customer: what names two (the
code says one, the peer another) is ambiguous. A call from one customer to another is the caller's.

Identities count that are valid when the call starts, of its source or of any. A customer's account is always an
account code of its own.
"""

# A common table expression `attributed` (leg, direction, customer_id, other_customer_id): one row a leg that names
# anybody. `other_customer_id` differs from `customer_id` when the leg is ambiguous.
#
# It reads `leg`: leg (any key), source_id, source_name, said_direction ('' where the source does not say it),
# account_is_any_identity, account_code, from_peer, to_peer, from_number, to_number, started_at.
#
# `account_is_any_identity` (format ivy): the account may also be a peer or a number, or say which (`code:X`,
# `peer:301`, `number:+44…`, also with @ and the source's name behind it).
ATTRIBUTED = """
    clue AS (
        SELECT leg, source_id, started_at, said_direction <> 'inbound' AS is_callers, account_code AS value,
            CASE WHEN account_is_any_identity THEN '{code,peer,number}'::text[] ELSE '{code}' END AS kinds
        FROM leg WHERE account_code <> ''
        UNION ALL
        SELECT leg, source_id, started_at, true, from_peer, '{peer}'
        FROM leg WHERE from_peer <> '' AND said_direction <> 'inbound'
        UNION ALL
        SELECT leg, source_id, started_at, true, from_number, '{number}'
        FROM leg WHERE from_number <> '' AND said_direction <> 'inbound'
        UNION ALL
        SELECT leg, source_id, started_at, false, to_number, '{number}'
        FROM leg WHERE to_number <> '' AND said_direction <> 'outbound'
        UNION ALL
        SELECT leg, source_id, started_at, false, to_peer, '{peer}'
        FROM leg WHERE to_peer <> '' AND said_direction <> 'outbound'
        UNION ALL
        SELECT leg, source_id, started_at, said_direction <> 'inbound', ltrim(said[2], '+'), CASE
            WHEN said[1] IS NOT NULL THEN ARRAY[said[1]] WHEN said[2] LIKE '+%%' THEN '{number}' ELSE '{code}'
        END
        FROM leg
        CROSS JOIN LATERAL regexp_match(
            replace(account_code, '@' || source_name, ''), '^(?:(code|peer|number):)?(.+)$'
        ) said
        WHERE account_is_any_identity AND account_code ~ '[:@+]'
    ), named AS (
        SELECT c.leg, c.is_callers, i.customer_id
        FROM clue c
        JOIN billing_callidentity i
            ON i.kind = ANY (c.kinds) AND i.value = c.value AND (i.source_id IS NULL OR i.source_id = c.source_id)
            AND (i.valid_from IS NULL OR i.valid_from <= c.started_at)
            AND (i.valid_to IS NULL OR i.valid_to > c.started_at)
        UNION ALL
        SELECT l.leg, l.said_direction <> 'inbound', cu.id
        FROM leg l JOIN billing_customer cu ON cu.account = l.account_code
    ), sides AS (
        SELECT leg,
            min(customer_id) FILTER (WHERE is_callers) AS caller,
            max(customer_id) FILTER (WHERE is_callers) AS other_caller,
            min(customer_id) FILTER (WHERE NOT is_callers) AS called,
            max(customer_id) FILTER (WHERE NOT is_callers) AS other_called
        FROM named GROUP BY leg
    ), attributed AS (
        SELECT leg,
            CASE WHEN caller IS NULL THEN 'inbound' ELSE 'outbound' END AS direction,
            coalesce(caller, called) AS customer_id,
            CASE WHEN caller IS NULL THEN other_called ELSE other_caller END AS other_customer_id
        FROM sides
    )
"""

# Why a leg `f` with the answer `a` of above (if any) has no customer, as a sentence for people.
NAMES_TWO = """(
            'It names the customers ' || (
                SELECT string_agg(account, ' and ' ORDER BY account) FROM billing_customer
                WHERE id IN (a.customer_id, a.other_customer_id)
            ) || '.'
        )"""
NAMES_NOBODY = """(
            'Nothing in it is an identity of a customer: ' || concat_ws(
                ', ', 'account code ' || nullif(f.account_code, ''), 'peer ' || nullif(f.from_peer, ''),
                'calling number ' || nullif(f.from_number, ''), 'called number ' || nullif(f.to_number, ''),
                'peer reached ' || nullif(f.to_peer, '')
            ) || '.'
        )"""
