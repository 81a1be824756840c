"""The price rule of calls, in one place: posting, preview and `explain` all call these functions.

They are plain SQL and immutable, so that the planner writes them into the query that uses them.
"""

from django.db import migrations

# At least the first increment, then whole increments (30/6: 1 s -> 30, 31 s -> 36); no seconds cost nothing.
BILLED_SECONDS = """
CREATE FUNCTION billed_seconds(seconds integer, first_increment integer, increment integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN seconds <= 0 THEN 0
        WHEN seconds <= first_increment THEN first_increment
        ELSE first_increment + (seconds - first_increment + increment - 1) / increment * increment
    END
$$
"""

ROUNDED = """
CREATE FUNCTION rounded(amount numeric, decimals integer, rounding text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE rounding
        WHEN 'half-up' THEN round(amount, decimals)
        WHEN 'up' THEN round(ceil(amount * 10::numeric ^ decimals) / 10::numeric ^ decimals, decimals)
        WHEN 'half-even' THEN CASE
            WHEN amount * 10::numeric ^ decimals - floor(amount * 10::numeric ^ decimals) = 0.5
            THEN round(2 * round(floor(amount * 10::numeric ^ decimals) / 2) / 10::numeric ^ decimals, decimals)
            ELSE round(amount, decimals)
        END
    END
$$
"""

# Connect fee and price per minute, at least the minimum charge, before rounding. Nothing for no seconds.
EXACT_PRICE = """
CREATE FUNCTION exact_call_price(
    seconds integer, price_per_minute numeric, connect_fee numeric, minimum_charge numeric
) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN seconds <= 0 THEN 0
        ELSE greatest(connect_fee + price_per_minute * seconds / 60, minimum_charge)
    END
$$
"""

# Where a number stands among all numbers: fifteen hexadecimal digits, 1 to A for the digits 0 to 9, filled up with 0
# for "no further digit". Numbers that begin with a prefix are one range of positions, and a short number (110) never
# falls into the range of a longer prefix (1100). Digits past the fifteenth say nothing about the price.
NUMBER_POSITION = """
CREATE FUNCTION number_position(digits text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x0' || rpad(translate(left(digits, 15), '0123456789', '123456789A'), 15, '0'))::bit(64)::bigint
$$
"""

# Names inside keys: % and # are written as %25 and %23, since #2 at the end means "charged a second time".
KEY_PART = """
CREATE FUNCTION key_part(name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT replace(replace(name, '%', '%25'), '#', '%23')
$$
"""

CALL_KEY = """
CREATE FUNCTION call_key(source text, call_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('call:' || source || ':' || key_part(call_id)) COLLATE "C"
$$
"""

# Outbound calls: the customer's deck, else the partner's, if it has the customer's currency. Inbound: the inbound deck.
DECK_OF_CALL = """
CREATE FUNCTION deck_of_call(
    direction text, rate_deck bigint, inbound_deck bigint, currency text,
    partners_deck bigint, partners_currency text
) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN direction = 'inbound' THEN inbound_deck
        WHEN rate_deck IS NOT NULL THEN rate_deck
        WHEN partners_currency = currency THEN partners_deck
    END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_ranges_that_never_overlap")]

    operations = [
        migrations.RunSQL(BILLED_SECONDS, "DROP FUNCTION billed_seconds(integer, integer, integer)"),
        migrations.RunSQL(ROUNDED, "DROP FUNCTION rounded(numeric, integer, text)"),
        migrations.RunSQL(EXACT_PRICE, "DROP FUNCTION exact_call_price(integer, numeric, numeric, numeric)"),
        migrations.RunSQL(NUMBER_POSITION, "DROP FUNCTION number_position(text)"),
        migrations.RunSQL(KEY_PART, "DROP FUNCTION key_part(text)"),
        migrations.RunSQL(DECK_OF_CALL, "DROP FUNCTION deck_of_call(text, bigint, bigint, text, bigint, text)"),
        migrations.RunSQL(CALL_KEY, "DROP FUNCTION call_key(text, text)"),
    ]
