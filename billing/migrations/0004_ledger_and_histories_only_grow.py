"""The ledger moves the balance itself, and nothing that tells the past can be changed.

A row-level trigger does not see TRUNCATE, and a plain RAISE reaches Django as a ProgrammingError: statement-level
triggers, with the code of an integrity error. Django's test flush needs TRUNCATE, so that it passes where the setting
`ivy.allow_truncate` is on; only a test database carries it.
"""

from django.db import migrations

REFUSE_CHANGE = """
CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND current_setting('ivy.allow_truncate', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% refused: rows of % are never changed or deleted', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$
"""

ONLY_GROW = {
    "ledger_only_grows": "billing_ledgerentry",
    "call_records_only_grow": "billing_callrecord",
    "switch_history_only_grows": "billing_switchhistory",
    "charged_periods_only_grow": "billing_itemperiod",
    "unparsable_lines_only_grow": "billing_unparsableline",
}

# One pass over the new rows of a statement. Whoever changes balances locks them in id order first, so that two
# statements never wait for each other in a circle.
POST_ENTRIES = """
CREATE FUNCTION billing_post_entries() RETURNS trigger LANGUAGE plpgsql AS $$
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
$$
"""

POST_ENTRIES_TRIGGER = """
CREATE TRIGGER entries_move_the_balance AFTER INSERT ON billing_ledgerentry
    REFERENCING NEW TABLE AS new_entry FOR EACH STATEMENT EXECUTE FUNCTION billing_post_entries()
"""

# The trigger above runs at depth 1; anybody else's UPDATE comes at depth 0.
BALANCES = """
CREATE TRIGGER balances_move_only_with_the_ledger BEFORE UPDATE OF customer_id, currency, balance
    ON billing_customerbalance
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER balances_are_never_deleted BEFORE DELETE OR TRUNCATE ON billing_customerbalance
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_prices_of_calls")]

    operations = [
        migrations.RunSQL(REFUSE_CHANGE, "DROP FUNCTION billing_refuse_change()"),
        *[
            migrations.RunSQL(
                f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change()",
                f"DROP TRIGGER {name} ON {table}",
            )
            for name, table in ONLY_GROW.items()
        ],
        migrations.RunSQL(POST_ENTRIES, "DROP FUNCTION billing_post_entries()"),
        migrations.RunSQL(POST_ENTRIES_TRIGGER, "DROP TRIGGER entries_move_the_balance ON billing_ledgerentry"),
        migrations.RunSQL(
            BALANCES,
            """
            DROP TRIGGER balances_are_never_deleted ON billing_customerbalance;
            DROP TRIGGER balances_move_only_with_the_ledger ON billing_customerbalance;
            """,
        ),
    ]
