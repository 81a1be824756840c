"""Proof that what must always hold does hold, over the whole database. Each rule is one query for what breaks it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from billing.models import EntryKind

SHOWN = 100

# So many changed rows, and a tenth of the table: what autovacuum goes by, for tables where a plan matters.
CHANGED_ROWS = 10_000


@dataclass(frozen=True)
class Rule:
    """`finds` selects two columns, a key and what is wrong with it, of everything that breaks the rule."""

    name: str
    finds: str


@dataclass(frozen=True)
class Drift:
    rule: str
    key: str
    found: str


_STATED = ", ".join([*(f"s.{kind}" for kind in EntryKind), "s.entry_count"])
_HELD = ", ".join([*(f"coalesce(held.{kind}, 0)" for kind in EntryKind), "coalesce(held.entry_count, 0)"])
_SUMS = ", ".join(f"coalesce(sum(l.amount) FILTER (WHERE l.kind = '{kind}'), 0) AS {kind}" for kind in EntryKind)

RULES = [
    Rule(
        "balance_is_the_sum_of_entries",
        """
        SELECT cu.account, 'balance ' || b.balance || ', entries ' || coalesce(l.total, 0)
        FROM billing_customerbalance b JOIN billing_customer cu ON cu.id = b.customer_id
        LEFT JOIN (SELECT customer_id, sum(amount) AS total FROM billing_ledgerentry GROUP BY customer_id) l
            USING (customer_id)
        WHERE b.balance <> coalesce(l.total, 0)
        """,
    ),
    Rule(
        "every_customer_has_a_balance",
        """
        SELECT cu.account, 'no balance row' FROM billing_customer cu
        WHERE NOT EXISTS (SELECT FROM billing_customerbalance b WHERE b.customer_id = cu.id)
        UNION ALL
        SELECT l.key, 'entry of a customer who does not exist' FROM billing_ledgerentry l
        WHERE NOT EXISTS (SELECT FROM billing_customer cu WHERE cu.id = l.customer_id)
        """,
    ),
    Rule(
        "entries_have_their_customers_currency",
        """
        SELECT l.key, l.currency || ' instead of ' || cu.currency
        FROM billing_ledgerentry l JOIN billing_customer cu ON cu.id = l.customer_id WHERE l.currency <> cu.currency
        """,
    ),
    Rule(
        "every_call_record_has_one_outcome_or_lies_in_an_open_batch",
        """
        SELECT key, outcomes || ' outcomes' FROM (
            SELECT k.key, c.id,
                (SELECT count(*) FROM billing_ledgerentry l WHERE l.key = k.key AND NOT q.is_outcome)
                + (SELECT count(*) FROM billing_freecall f WHERE f.call_key = k.key AND NOT q.is_outcome)
                + q.is_outcome::int AS outcomes,
                b.closed_at IS NULL OR q.is_in_open_batch AS is_open
            FROM billing_callrecord c
            JOIN billing_source s ON s.id = c.source_id
            JOIN billing_arrivalbatch b ON b.id = c.batch_id
            CROSS JOIN LATERAL (SELECT call_key(s.name, c.call_id) AS key OFFSET 0) k
            CROSS JOIN LATERAL (
                SELECT coalesce(bool_or(state IN ('waiting', 'dismissed')), false) AS is_outcome,
                    coalesce(bool_or(state = 'released' AND r.closed_at IS NULL), false) AS is_in_open_batch
                FROM billing_quarantinedcall q LEFT JOIN billing_arrivalbatch r ON r.id = q.release_batch_id
                WHERE q.call_key = k.key AND q.content_hash = c.content_hash
            ) q
        ) calls
        WHERE outcomes > 1 OR (outcomes = 0 AND NOT is_open)
        """,
    ),
    Rule(
        "every_call_charge_has_its_call_record",
        """
        SELECT l.key, 'no call record outside of quarantine' FROM billing_ledgerentry l
        WHERE l.kind = 'call' AND l.charge_number = 1 AND NOT EXISTS (
            SELECT FROM billing_callrecord c JOIN billing_source s ON s.id = c.source_id
            WHERE c.call_id = replace(replace(
                    substr(l.key, length('call:' || s.name || ':') + 1), '%23', '#'), '%25', '%')
              AND l.key = call_key(s.name, c.call_id)
              AND NOT EXISTS (
                  SELECT FROM billing_quarantinedcall q WHERE q.call_key = l.key
                    AND q.content_hash = c.content_hash AND q.state IN ('waiting', 'dismissed')
              )
        )
        UNION ALL
        SELECT f.call_key, 'free, but no call record outside of quarantine' FROM billing_freecall f
        WHERE NOT EXISTS (
            SELECT FROM billing_callrecord c JOIN billing_source s ON s.id = c.source_id
            WHERE c.call_id = replace(replace(
                    substr(f.call_key, length('call:' || s.name || ':') + 1), '%23', '#'), '%25', '%')
              AND f.call_key = call_key(s.name, c.call_id)
              AND NOT EXISTS (
                  SELECT FROM billing_quarantinedcall q WHERE q.call_key = f.call_key
                    AND q.content_hash = c.content_hash AND q.state IN ('waiting', 'dismissed')
              )
        )
        """,
    ),
    Rule(
        "call_charges_are_for_the_customer_and_time_of_the_call",
        """
        SELECT l.key, 'customer or month differ from the call record' FROM billing_callrecord c
        JOIN billing_source s ON s.id = c.source_id
        JOIN billing_ledgerentry l ON l.key = call_key(s.name, c.call_id)
        LEFT JOIN billing_quarantinedcall q ON q.call_key = l.key AND q.content_hash = c.content_hash
        WHERE coalesce(q.state, '') IN ('', 'settled')
          AND (l.booked_month <> c.booked_month
               OR l.customer_id IS DISTINCT FROM coalesce(q.customer_id, c.customer_id))
        """,
    ),
    Rule(
        "call_charges_are_what_their_rate_says",
        """
        SELECT l.key, 'charged ' || -l.amount || ', its rate says ' || x.price
        FROM billing_ledgerentry l
        JOIN billing_rate r ON r.id = l.rate_id JOIN billing_ratedeck d ON d.id = r.deck_id
        CROSS JOIN LATERAL (
            SELECT rounded(
                exact_call_price(l.billed_seconds, r.price_per_minute, r.connect_fee, r.minimum_charge),
                d.decimals, d.rounding
            ) AS price
        ) x
        WHERE l.kind = 'call' AND x.price <> -l.amount
        UNION ALL
        SELECT l.key, 'its rate is gone' FROM billing_ledgerentry l
        WHERE l.kind = 'call' AND NOT EXISTS (SELECT FROM billing_rate r WHERE r.id = l.rate_id)
        """,
    ),
    Rule(
        "every_charged_period_has_its_entry",
        """
        WITH period AS MATERIALIZED (
            SELECT coalesce(item_key(i.reference, p.start_on), 'period ' || p.id) AS key
            FROM billing_itemperiod p LEFT JOIN billing_billingitem i ON i.id = p.item_id
        )
        SELECT p.key, 'period without an entry' FROM period p
        WHERE NOT EXISTS (SELECT FROM billing_ledgerentry l WHERE l.key = p.key)
        UNION ALL
        SELECT l.key, 'entry without a period' FROM billing_ledgerentry l
        WHERE l.kind IN ('recurring', 'one_off') AND l.charge_number = 1
          AND NOT EXISTS (SELECT FROM period p WHERE p.key = l.key)
        """,
    ),
    Rule(
        "entries_of_items_are_for_their_customer_and_period",
        """
        SELECT l.key, 'differs from item ' || i.reference
        FROM billing_itemperiod p JOIN billing_billingitem i ON i.id = p.item_id
        JOIN billing_ledgerentry l ON l.key = item_key(i.reference, p.start_on)
        WHERE l.customer_id <> i.customer_id OR l.period_start <> p.start_on OR l.period_end <> p.end_on
        """,
    ),
    Rule(
        "no_period_is_charged_twice_under_another_key",
        """
        SELECT later.key, 'covers days that ' || earlier.key || ' covers' FROM billing_ledgerentry later
        JOIN billing_ledgerentry earlier
            ON earlier.customer_id = later.customer_id AND earlier.kind = 'recurring' AND earlier.id < later.id
            AND regexp_replace(earlier.key, ':[0-9-]+(#[0-9]+)?$', '')
                = regexp_replace(later.key, ':[0-9-]+(#[0-9]+)?$', '')
            AND daterange(earlier.period_start, earlier.period_end) && daterange(later.period_start, later.period_end)
        WHERE later.kind = 'recurring' AND later.charge_number = 1
        """,
    ),
    Rule(
        "items_are_charged_through_their_last_period",
        """
        SELECT i.reference, 'charged through ' || coalesce(i.charged_through::text, 'nothing')
            || ', last period ends ' || coalesce(p.last::text, 'never')
        FROM billing_billingitem i
        LEFT JOIN (SELECT item_id, max(end_on) AS last FROM billing_itemperiod GROUP BY item_id) p ON p.item_id = i.id
        WHERE i.charged_through IS DISTINCT FROM p.last
        """,
    ),
    Rule(
        "reversals_are_the_opposite_entry",
        """
        SELECT r.key, 'reverses ' || r.reverses || coalesce(' of ' || o.amount, ', which does not exist')
        FROM billing_ledgerentry r LEFT JOIN billing_ledgerentry o ON o.key = r.reverses
        WHERE r.reverses IS NOT NULL
          AND (o.key IS NULL OR o.amount <> -r.amount OR o.customer_id <> r.customer_id OR o.kind = 'reversal')
        """,
    ),
    Rule(
        "charging_again_needs_a_reversal",
        """
        SELECT l.key, 'the charge before it was not reversed' FROM billing_ledgerentry l
        WHERE l.charge_number > 1 AND NOT EXISTS (
            SELECT FROM billing_ledgerentry r WHERE r.reverses = regexp_replace(l.key, '#[0-9]+$', '')
                || CASE WHEN l.charge_number > 2 THEN '#' || (l.charge_number - 1) ELSE '' END
        )
        """,
    ),
    Rule(
        "deliveries_count_what_is_stored",
        """
        SELECT s.name || ' ' || d.file_name, 'accepted ' || d.accepted_count || ' and quarantined '
            || d.quarantined_count || ', stored ' || coalesce(c.calls, 0)
        FROM billing_delivery d JOIN billing_source s ON s.id = d.source_id
        LEFT JOIN (
            SELECT b.delivery_id, count(*) AS calls
            FROM billing_callrecord c JOIN billing_arrivalbatch b ON b.id = c.batch_id GROUP BY b.delivery_id
        ) c ON c.delivery_id = d.id
        WHERE d.accepted_count + d.quarantined_count <> coalesce(c.calls, 0)
        """,
    ),
    Rule(
        "open_episodes_are_about_their_alert",
        """
        SELECT 'episode ' || e.id, 'closed before it opened' FROM billing_episode e WHERE e.closed_at < e.opened_at
        UNION ALL
        SELECT cu.account, 'below ' || a.threshold || ' with ' || b.balance || ', without an episode'
        FROM billing_balancealert a
        JOIN billing_customer cu ON cu.id = a.customer_id JOIN billing_customerbalance b USING (customer_id)
        WHERE a.is_active AND cu.status = 'active' AND b.balance < a.threshold
          AND NOT EXISTS (SELECT FROM billing_episode e WHERE e.alert_id = a.id AND e.closed_at IS NULL)
          AND NOT EXISTS (SELECT FROM billing_customertojudge j WHERE j.customer_id = a.customer_id)
        """,
    ),
    Rule(
        "sums_are_those_of_the_ledger",
        """
        SELECT p.slug || ' ' || coalesce(said.currency, l.currency),
            'sums ' || coalesce(said.amount, 0) || ', entries ' || coalesce(l.amount, 0)
        FROM (SELECT partner_id, currency, sum(amount) AS amount FROM billing_ledgersum GROUP BY 1, 2) said
        FULL JOIN (
            SELECT cu.partner_id, l.currency, sum(l.amount) AS amount
            FROM billing_ledgerentry l
            JOIN billing_customer cu ON cu.id = l.customer_id
            JOIN billing_ledgersummark m ON m.partner_id = cu.partner_id AND l.posted_at < m.through
            GROUP BY 1, 2
        ) l USING (partner_id, currency)
        JOIN billing_partner p ON p.id = partner_id
        WHERE coalesce(said.amount, 0) <> coalesce(l.amount, 0)
        """,
    ),
    Rule(
        "each_entry_is_in_the_first_statement_whose_month_holds_it",
        # A month ends at most 31 days behind its first day, which is a date of any zone.
        f"""
        SELECT to_char(s.month, 'YYYY-MM') || ' of ' || cu.account,
            'says ' || s.entry_count || ' entries that come to ' || s.closing_balance - s.opening_balance
            || ', holds ' || coalesce(held.entry_count, 0) || ' that come to ' || coalesce(held.amount, 0)
        FROM billing_statement s JOIN billing_customer cu ON cu.id = s.customer_id
        LEFT JOIN (
            SELECT first.statement_id, {_SUMS}, sum(l.amount) AS amount, count(*) AS entry_count
            FROM billing_ledgerentry l CROSS JOIN LATERAL (
                SELECT s.id AS statement_id
                FROM billing_statement s JOIN billing_monthclosing k ON k.id = s.closing_id
                WHERE s.customer_id = l.customer_id AND s.month > l.posted_at - interval '33 days'
                  AND is_held(l.posted_at, l.id, l.posted_in, k.ends_at, k.last_entry_id, k.snapshot)
                ORDER BY s.month LIMIT 1
            ) first GROUP BY first.statement_id
        ) held ON held.statement_id = s.id
        WHERE ({_STATED}) IS DISTINCT FROM ({_HELD})
        """,  # noqa: S608 - texts of ours
    ),
    Rule(
        "statements_open_with_what_the_last_one_closed_with",
        """
        SELECT to_char(month, 'YYYY-MM') || ' of ' || cu.account,
            'opens with ' || opening_balance || ' after ' || last
        FROM (
            SELECT *, coalesce(lag(closing_balance) OVER (PARTITION BY customer_id ORDER BY month), 0) AS last
            FROM billing_statement
        ) s JOIN billing_customer cu ON cu.id = s.customer_id
        WHERE opening_balance <> last
        """,
    ),
    Rule(
        # Restored into a server that counts from lower numbers, new entries would be posted before these.
        "entries_were_posted_by_transactions_that_were",
        """
        SELECT l.key, 'posted in transaction ' || l.posted_in::text || ', which the server has not reached'
        FROM billing_ledgerentry l
        WHERE l.posted_in >= pg_snapshot_xmax(pg_current_snapshot())
          AND l.posted_in IS DISTINCT FROM pg_current_xact_id_if_assigned()
        """,
    ),
]


def checks(rules: Sequence[Rule] = RULES) -> Iterator[tuple[Rule, int, list[Drift]]]:
    """Each rule with how many break it, and the first hundred of them. One snapshot of the database; writes nothing.

    In the first minute after a large import the planner still takes the tables for small ones, and would need hours: it
    is told of their size first.
    """
    _analyze_what_grew()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for rule in rules:
            query = f"SELECT *, count(*) OVER () FROM ({rule.finds}) found (key, what) LIMIT {SHOWN}"  # noqa: S608
            cursor.execute(query)
            rows = cursor.fetchall()
            yield rule, rows[0][2] if rows else 0, [Drift(rule.name, row[0], row[1]) for row in rows]


def _analyze_what_grew() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT format('%%I.%%I', s.schemaname, s.relname)
            FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
            WHERE s.n_mod_since_analyze > greatest(%s, c.reltuples / 10) AND NOT pg_is_in_recovery()
            """,
            [CHANGED_ROWS],
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"ANALYZE {table}")
