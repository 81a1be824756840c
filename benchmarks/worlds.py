"""Large made-up worlds for benchmarks, built inside PostgreSQL, the same each time."""

from django.db import connection

PREFIXES = 60_000


def build(*, customers: int, partners: int = 4, prefixes: int = PREFIXES) -> None:
    """Partners, a deck of so many prefixes in EUR, and so many customers who use it. The database must be empty."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_ratedeck (name, currency, decimals, rounding, timezone)
                VALUES ('benchmark', 'EUR', 4, 'half-up', 'UTC');
            -- Country codes 1 to 99, and below them ever finer prefixes: nested, as real decks are.
            INSERT INTO billing_rate (deck_id, prefix, destination, price_per_minute, connect_fee, minimum_charge,
                                      first_increment, increment)
                SELECT (SELECT id FROM billing_ratedeck), prefix, 'Destination ' || prefix,
                    0.001 * (1 + length(prefix) + prefix::bigint %% 97),
                    CASE WHEN prefix::bigint %% 7 = 0 THEN 0.01 ELSE 0 END, 0,
                    CASE WHEN prefix::bigint %% 3 = 0 THEN 60 ELSE 1 END,
                    CASE WHEN prefix::bigint %% 3 = 0 THEN 60 ELSE 1 END
                FROM (
                    SELECT DISTINCT prefix FROM (
                        SELECT n::text AS prefix FROM generate_series(1, 9) n
                        UNION ALL
                        SELECT (10 + (n * 7919::bigint) %% 990)::text || ((n * 104729::bigint) %% 1000)::text
                            FROM generate_series(1, 400000) n
                    ) all_of_them ORDER BY prefix LIMIT %(prefixes)s
                ) chosen;
            INSERT INTO billing_partner (slug, name, currency, timezone, language, sender, reply_to, rate_deck_id)
                SELECT 'partner-' || n, 'Partner ' || n, 'EUR', 'UTC', 'en', '', '', (SELECT id FROM billing_ratedeck)
                FROM generate_series(1, %(partners)s) n;
            INSERT INTO billing_customer (account, partner_id, name, email, currency, timezone, status, credit_limit)
                SELECT 'C' || n, (SELECT min(id) FROM billing_partner) + n / (1 + %(customers)s / %(partners)s),
                    'Customer ' || n, '', 'EUR', 'UTC', 'active', 0
                FROM generate_series(1, %(customers)s) n;
            DELETE FROM billing_customertojudge;
            """,
            {"customers": customers, "partners": partners, "prefixes": prefixes},
        )


def pay_in(amount: int) -> None:
    """So much on the balance of each customer, as prepaid customers have: what is charged then makes nobody fall."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month,
                                             charge_number, description, reason, entered_by)
            SELECT 'payment:bank:' || id, id, 'payment', %s, currency, timestamptz '2026-01-01 00:00Z', '2026-01-01', 1,
                'Payment', '', ''
            FROM billing_customer
            """,
            [amount],
        )
        cursor.execute("DELETE FROM billing_customertojudge")


def add_calls(
    count: int,
    *,
    batch_size: int = 50_000,
    analyze: bool = True,
    since: str = "2026-03-01 00:00Z",
    of_nobody: bool = False,
) -> None:
    """So many outbound calls in arrival batches, one a second from `since` on, in no order of customers.

    `of_nobody`: their identities are of no customer, so that billing puts them into quarantine.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_source (name, format, timezone, region, expected_gap)
                VALUES ('benchmark', 'ivy', 'UTC', '', interval '1 day') ON CONFLICT DO NOTHING;
            INSERT INTO billing_delivery (source_id, file_name, read_count, accepted_count, duplicate_count,
                                          quarantined_count, unparsable_count)
                SELECT id, 'benchmark', %(count)s, %(count)s, 0, 0, 0 FROM billing_source;
            """,
            {"count": count},
        )
        cursor.execute(
            "CREATE TEMP TABLE prefix_list AS SELECT row_number() OVER (ORDER BY prefix) - 1 AS number, prefix"
            " FROM billing_rate"
        )
        cursor.execute("CREATE UNIQUE INDEX ON prefix_list (number)")
        cursor.execute("SELECT count(*) FROM prefix_list")
        (prefixes,) = cursor.fetchone()
        for first in range(0, count, batch_size):
            cursor.execute(
                """
                WITH batch AS (
                    INSERT INTO billing_arrivalbatch (kind, delivery_id, call_count)
                    SELECT 'arrival', max(id), least(%(size)s, %(count)s - %(first)s)
                    FROM billing_delivery RETURNING id, delivery_id
                )
                INSERT INTO billing_callrecord (
                    source_id, batch_id, line_number, call_id, content_hash, customer_id, direction, account_code,
                    from_peer, to_peer, from_number, to_number, started_at, answered_at, ended_at, seconds,
                    is_answered, is_internal, booked_month
                )
                SELECT (SELECT id FROM billing_source), batch.id, n, 'd' || batch.delivery_id || '-' || n,
                    md5(batch.delivery_id || '-' || n)::uuid,
                    CASE WHEN NOT %(of_nobody)s THEN (SELECT min(id) FROM billing_customer)
                        + (n * 7919::bigint) %% (SELECT count(*) FROM billing_customer) END,
                    'outbound', 'C' || n, '', '', '442079460000',
                    (SELECT prefix FROM prefix_list WHERE number = (n * 104729::bigint) %% %(prefixes)s)
                        || lpad((n %% 10000000)::text, 7, '0'),
                    t, t, t + make_interval(secs => 1 + n %% 600), 1 + n %% 600, true, false, date_trunc('month', t)
                FROM batch, generate_series(%(first)s + 1, least(%(first)s + %(size)s, %(count)s)) n,
                    LATERAL (SELECT %(since)s::timestamptz + make_interval(secs => n %% 2500000) AS t) at
                """,
                {
                    "count": count,
                    "first": first,
                    "size": batch_size,
                    "prefixes": prefixes,
                    "since": since,
                    "of_nobody": of_nobody,
                },
            )
        cursor.execute("DROP TABLE prefix_list")
        if analyze:
            cursor.execute("ANALYZE")


def add_items(count: int) -> None:
    """So many monthly items of all customers from the first days of 2026, their first period still uncharged."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_billingitem (
                customer_id, reference, description, kind, amount, quantity, interval, interval_count, bill_cycle_day,
                timing, starts_on, proration, next_due_on
            )
            SELECT (SELECT min(id) FROM billing_customer) + n %% (SELECT count(*) FROM billing_customer),
                'item-' || n, 'SIP trunk', 'recurring', (1 + n %% 100)::numeric / 4, 1 + n %% 3, 'month', 1,
                1 + n %% 28, 'advance', start, 'days', start
            FROM generate_series(1, %(count)s) n, LATERAL (SELECT date '2026-01-01' + (n %% 28)::int AS start) begin
            """,
            {"count": count},
        )
        cursor.execute("DELETE FROM billing_customertojudge")
        cursor.execute("ANALYZE")
