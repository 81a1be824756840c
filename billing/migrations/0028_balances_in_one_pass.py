"""What moving balances costs: only those of the entries are looked up, once, and the new one stays on the page of the old.

Planned for many entries at once, the trigger read the balances of all customers to find those of some thousand, and locked
each before the update that moves it. Now the update locks them, in the order of their customers: with nothing but nested
loops to choose from, it follows the sums, which are sorted. A balance that somebody else is moving is waited for, and then
moved from where it was left.

A page that is full of balances has no room for new ones, so that each was written elsewhere and into the index once more.
Existing tables get there by themselves: what is written anew leaves the room.
"""

from django.db import migrations

BY_THE_UPDATE = """
CREATE OR REPLACE FUNCTION billing_post_entries() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    wanted bigint;
    moved bigint;
    culprit text;
BEGIN
    WITH total AS MATERIALIZED (
        SELECT customer_id, currency, sum(amount) AS amount FROM new_entry GROUP BY customer_id, currency
            ORDER BY customer_id
    ), balance AS (
        UPDATE billing_customerbalance b SET balance = b.balance + t.amount
            FROM total t WHERE b.customer_id = t.customer_id AND b.currency = t.currency
            RETURNING b.customer_id
    ), noted AS (
        INSERT INTO billing_customertojudge (customer_id) SELECT customer_id FROM balance
            ON CONFLICT (customer_id) DO NOTHING
    )
    SELECT (SELECT count(*) FROM total), (SELECT count(*) FROM balance) INTO wanted, moved;
    IF wanted <> moved THEN
        SELECT n.key INTO culprit FROM new_entry n LEFT JOIN billing_customerbalance b USING (customer_id, currency)
            WHERE b.customer_id IS NULL LIMIT 1;
        RAISE EXCEPTION 'entry % names no customer, or another currency than its customer has', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'entries_move_a_balance_of_their_currency';
    END IF;

    SELECT n.key INTO culprit FROM new_entry n LEFT JOIN billing_ledgerentry o ON o.key = n.reverses
        WHERE n.reverses IS NOT NULL
          AND (o.key IS NULL OR o.kind = 'reversal' OR o.customer_id <> n.customer_id OR o.amount <> -n.amount)
        LIMIT 1;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'entry % is not the opposite of what it reverses', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'reversals_are_the_opposite_entry';
    END IF;

    SELECT n.key INTO culprit FROM new_entry n
        WHERE n.charge_number > 1
          AND NOT (
              n.key = regexp_replace(n.key, '#[0-9]+$', '') || '#' || n.charge_number
              AND EXISTS (
                  SELECT FROM billing_ledgerentry r
                  WHERE r.reverses = CASE n.charge_number
                      WHEN 2 THEN regexp_replace(n.key, '#[0-9]+$', '')
                      ELSE regexp_replace(n.key, '#[0-9]+$', '') || '#' || (n.charge_number - 1)
                  END
              )
          )
        LIMIT 1;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'entry % charges again what was not reversed', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'charging_again_needs_a_reversal';
    END IF;
    RETURN NULL;
END
$$;
ALTER TABLE billing_customerbalance SET (fillfactor = 50);
"""

BEFORE_IT = """
ALTER TABLE billing_customerbalance RESET (fillfactor);
CREATE OR REPLACE FUNCTION billing_post_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint;
    moved bigint;
    culprit text;
BEGIN
    PERFORM FROM billing_customerbalance
        WHERE customer_id IN (SELECT customer_id FROM new_entry)
        ORDER BY customer_id FOR UPDATE;

    WITH total AS MATERIALIZED (
        SELECT customer_id, currency, sum(amount) AS amount FROM new_entry GROUP BY customer_id, currency
    ), balance AS (
        UPDATE billing_customerbalance b SET balance = b.balance + t.amount
            FROM total t WHERE b.customer_id = t.customer_id AND b.currency = t.currency
            RETURNING b.customer_id
    ), noted AS (
        INSERT INTO billing_customertojudge (customer_id) SELECT customer_id FROM balance
            ON CONFLICT (customer_id) DO NOTHING
    )
    SELECT (SELECT count(*) FROM total), (SELECT count(*) FROM balance) INTO wanted, moved;
    IF wanted <> moved THEN
        SELECT n.key INTO culprit FROM new_entry n LEFT JOIN billing_customerbalance b USING (customer_id, currency)
            WHERE b.customer_id IS NULL LIMIT 1;
        RAISE EXCEPTION 'entry % names no customer, or another currency than its customer has', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'entries_move_a_balance_of_their_currency';
    END IF;

    SELECT n.key INTO culprit FROM new_entry n LEFT JOIN billing_ledgerentry o ON o.key = n.reverses
        WHERE n.reverses IS NOT NULL
          AND (o.key IS NULL OR o.kind = 'reversal' OR o.customer_id <> n.customer_id OR o.amount <> -n.amount)
        LIMIT 1;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'entry % is not the opposite of what it reverses', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'reversals_are_the_opposite_entry';
    END IF;

    SELECT n.key INTO culprit FROM new_entry n
        WHERE n.charge_number > 1
          AND NOT (
              n.key = regexp_replace(n.key, '#[0-9]+$', '') || '#' || n.charge_number
              AND EXISTS (
                  SELECT FROM billing_ledgerentry r
                  WHERE r.reverses = CASE n.charge_number
                      WHEN 2 THEN regexp_replace(n.key, '#[0-9]+$', '')
                      ELSE regexp_replace(n.key, '#[0-9]+$', '') || '#' || (n.charge_number - 1)
                  END
              )
          )
        LIMIT 1;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'entry % charges again what was not reversed', culprit
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'charging_again_needs_a_reversal';
    END IF;
    RETURN NULL;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0027_newcomers_at_once")]

    operations = [migrations.RunSQL(BY_THE_UPDATE, BEFORE_IT)]
