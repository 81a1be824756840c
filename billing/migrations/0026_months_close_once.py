"""Which closing holds an entry, said once; closed months and their statements never change; feeds have an order.

`posted_in` is indexed for those who read what was posted since: in the order of transactions, and within one by id.

An entry takes its id while its row is made up. Its transaction must have its own number by then: whoever is given a
number after a month was closed then has ids above all that the closing saw.
"""

from django.db import migrations

IS_HELD = """
CREATE FUNCTION is_held(
    posted_at timestamptz, entry_id bigint, posted_in xid8,
    ends_at timestamptz, last_entry_id bigint, snapshot pg_snapshot
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT posted_at < ends_at AND entry_id <= last_entry_id AND pg_visible_in_snapshot(posted_in, snapshot)
$$
"""

NEVER_CHANGE = """
CREATE TRIGGER closed_months_never_change
    BEFORE UPDATE OF id, partner_id, month, timezone, ends_at, closed_at, run_id, last_entry_id, snapshot
        OR DELETE OR TRUNCATE ON billing_monthclosing
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER statements_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON billing_statement
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

MAY_CHANGE = """
DROP TRIGGER statements_only_grow ON billing_statement;
DROP TRIGGER closed_months_never_change ON billing_monthclosing;
"""

TRANSACTION_FIRST = """
CREATE FUNCTION billing_number_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN NULL;
END
$$;
CREATE TRIGGER transactions_have_a_number_before_entries_have BEFORE INSERT ON billing_ledgerentry
    FOR EACH STATEMENT EXECUTE FUNCTION billing_number_transaction();
"""

NO_TRANSACTION_FIRST = """
DROP TRIGGER transactions_have_a_number_before_entries_have ON billing_ledgerentry;
DROP FUNCTION billing_number_transaction();
"""

# An unknown zone raises an error inside the check: refused either way. Without it, one bad row would keep every month
# from being closed.
KNOWN_ZONES = """
ALTER TABLE billing_partner ADD CONSTRAINT partner_time_zone_is_known
    CHECK ((timestamp '2000-01-01' AT TIME ZONE timezone) IS NOT NULL);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0025_statements")]

    operations = [
        migrations.RunSQL(IS_HELD, "DROP FUNCTION is_held"),
        migrations.RunSQL(NEVER_CHANGE, MAY_CHANGE),
        migrations.RunSQL(TRANSACTION_FIRST, NO_TRANSACTION_FIRST),
        migrations.RunSQL(
            "CREATE INDEX entries_as_they_were_posted ON billing_ledgerentry (posted_in, id)",
            "DROP INDEX entries_as_they_were_posted",
        ),
        migrations.RunSQL(KNOWN_ZONES, "ALTER TABLE billing_partner DROP CONSTRAINT partner_time_zone_is_known"),
    ]
