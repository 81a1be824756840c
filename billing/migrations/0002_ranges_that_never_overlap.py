"""Exclusion constraints, and what only SQL can say about a column.

Equality inside an exclusion constraint usually needs the extension btree_gist, which not every server offers. A range
of one value does the same with what PostgreSQL has built in: two such ranges overlap when the values are equal.
"""

from django.db import migrations

# Text as a range of one number, its hash; with numbers in front the index finds its way among a hundred thousand rows,
# with ranges of text it does not. Were two texts ever to share a hash of 63 bits, the later one would be refused for no
# reason; an overlap is never let through.
TEXT_RANGE = """
CREATE FUNCTION text_range(exactly text) RETURNS int8range
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int8range(hashtextextended(exactly, 0) >> 1, hashtextextended(exactly, 0) >> 1, '[]')
$$
"""

IDENTITIES = """
ALTER TABLE billing_callidentity ADD CONSTRAINT identities_never_overlap EXCLUDE USING gist (
    text_range(coalesce(source_id, 0) || ':' || kind || ':' || value) WITH &&,
    tstzrange(valid_from, valid_to) WITH &&
)
"""

RATES = """
ALTER TABLE billing_rate ADD CONSTRAINT rates_of_a_prefix_never_overlap EXCLUDE USING gist (
    text_range(deck_id || ':' || prefix) WITH &&,
    tstzrange(valid_from, valid_to) WITH &&
)
"""

PERIODS = """
ALTER TABLE billing_itemperiod ADD CONSTRAINT charged_periods_of_an_item_never_overlap EXCLUDE USING gist (
    int8range(item_id, item_id, '[]') WITH &&,
    daterange(start_on, end_on) WITH &&
)
"""

ONE_CURRENCY = """
ALTER TABLE billing_customer ADD CONSTRAINT customers_by_currency UNIQUE (id, currency);
ALTER TABLE billing_ratedeck ADD CONSTRAINT decks_by_currency UNIQUE (id, currency);
ALTER TABLE billing_customerbalance ADD CONSTRAINT balance_has_the_customers_currency
    FOREIGN KEY (customer_id, currency) REFERENCES billing_customer (id, currency);
ALTER TABLE billing_customer ADD CONSTRAINT deck_has_the_customers_currency
    FOREIGN KEY (rate_deck_id, currency) REFERENCES billing_ratedeck (id, currency);
ALTER TABLE billing_customer ADD CONSTRAINT inbound_deck_has_the_customers_currency
    FOREIGN KEY (inbound_deck_id, currency) REFERENCES billing_ratedeck (id, currency);
ALTER TABLE billing_partner ADD CONSTRAINT deck_has_the_partners_currency
    FOREIGN KEY (rate_deck_id, currency) REFERENCES billing_ratedeck (id, currency);
"""

SEVERAL_CURRENCIES = """
ALTER TABLE billing_partner DROP CONSTRAINT deck_has_the_partners_currency;
ALTER TABLE billing_customer DROP CONSTRAINT inbound_deck_has_the_customers_currency;
ALTER TABLE billing_customer DROP CONSTRAINT deck_has_the_customers_currency;
ALTER TABLE billing_customerbalance DROP CONSTRAINT balance_has_the_customers_currency;
ALTER TABLE billing_ratedeck DROP CONSTRAINT decks_by_currency;
ALTER TABLE billing_customer DROP CONSTRAINT customers_by_currency;
"""

# An unknown zone raises an error inside the check: refused either way. Without it, one bad row would stop the search
# for everything due.
KNOWN_ZONES = """
ALTER TABLE billing_customer ADD CONSTRAINT customer_time_zone_is_known
    CHECK ((timestamp '2000-01-01' AT TIME ZONE timezone) IS NOT NULL);
"""

BOOKED_MONTHS = """
ALTER TABLE billing_callrecord ADD CONSTRAINT booked_month_is_the_month_the_call_started
    CHECK (booked_month = date_trunc('month', started_at AT TIME ZONE 'UTC')::date);
ALTER TABLE billing_ledgerentry ADD CONSTRAINT booked_month_is_the_month_it_occurred
    CHECK (booked_month = date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date);
"""

# Feeds read only rows below the oldest transaction still running (pg_snapshot_xmin), so a cursor misses nothing.
POSTED_IN = """
ALTER TABLE billing_ledgerentry ADD COLUMN posted_in xid8 NOT NULL DEFAULT pg_current_xact_id();
"""

class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [
        migrations.RunSQL(TEXT_RANGE, "DROP FUNCTION text_range(text)"),
        migrations.RunSQL(IDENTITIES, "ALTER TABLE billing_callidentity DROP CONSTRAINT identities_never_overlap"),
        migrations.RunSQL(RATES, "ALTER TABLE billing_rate DROP CONSTRAINT rates_of_a_prefix_never_overlap"),
        migrations.RunSQL(
            PERIODS, "ALTER TABLE billing_itemperiod DROP CONSTRAINT charged_periods_of_an_item_never_overlap"
        ),
        migrations.RunSQL(ONE_CURRENCY, SEVERAL_CURRENCIES),
        migrations.RunSQL(KNOWN_ZONES, "ALTER TABLE billing_customer DROP CONSTRAINT customer_time_zone_is_known"),
        migrations.RunSQL(
            BOOKED_MONTHS,
            """
            ALTER TABLE billing_callrecord DROP CONSTRAINT booked_month_is_the_month_the_call_started;
            ALTER TABLE billing_ledgerentry DROP CONSTRAINT booked_month_is_the_month_it_occurred;
            """,
        ),
        migrations.RunSQL(POSTED_IN, "ALTER TABLE billing_ledgerentry DROP COLUMN posted_in"),
    ]
