"""Charged periods of an item never overlap because each follows the one before it: held by one small index, not by GiST.

A period names the day on which the one before it ended (an item's first has none), and begins on that day or later. From
one such day at most one period follows, and the day must be the end of a period of the item that is there, which is never
changed or deleted. So the periods of an item are one chain, in which each begins when all before it have ended. Whoever
charges at the same time wants the same place in the chain, and the unique index lets one of them have it; whoever does not
see the other's period can't name its end. That holds in every isolation level, and without a lock.

It replaces an exclusion constraint, which compared each new period with what is near it in space, twice, and the index by
item and start: by item, the new one finds periods in the same order.
"""

from django.db import migrations, models

# As SQL where periods are written: they are never changed otherwise.
WHAT_WENT_BEFORE = """
ALTER TABLE billing_itemperiod DISABLE TRIGGER charged_periods_only_grow;
UPDATE billing_itemperiod p SET previous_end = before.end_on FROM (
    SELECT id, lag(end_on) OVER (PARTITION BY item_id ORDER BY start_on) AS end_on FROM billing_itemperiod
) before WHERE before.id = p.id AND before.end_on IS NOT NULL;
ALTER TABLE billing_itemperiod ENABLE TRIGGER charged_periods_only_grow;
"""

NO_EXCLUSION = "ALTER TABLE billing_itemperiod DROP CONSTRAINT charged_periods_of_an_item_never_overlap"

EXCLUSION = """
ALTER TABLE billing_itemperiod ADD CONSTRAINT charged_periods_of_an_item_never_overlap EXCLUDE USING gist (
    box(point(item_id, start_on - date '0001-01-01'), point(item_id, end_on - 1 - date '0001-01-01')) WITH &&
);
"""

# Once a statement. Each new period is looked up by itself: joined otherwise, all items and periods would be read. The one
# before it is the last of the item that began earlier; the index has it next to the new one.
#
# An item is kept by what it was charged through. Only one that was not moved on before has to be looked for, and locked,
# so that nobody deletes it meanwhile. Later periods are of an item because the first one is.
FOLLOW = """
CREATE FUNCTION billing_keep_chain_of_periods() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    unmoved bigint[];
    culprit record;
BEGIN
    SELECT n.item_id, n.previous_end INTO culprit FROM new_period n
        WHERE n.previous_end IS DISTINCT FROM (
            SELECT p.end_on FROM billing_itemperiod p
            WHERE n.previous_end IS NOT NULL AND p.item_id = n.item_id AND p.start_on < n.start_on
            ORDER BY p.previous_end DESC NULLS LAST LIMIT 1
        ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no period of item % ended on %', culprit.item_id, culprit.previous_end
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'periods_follow_one_that_is_there',
                TABLE = TG_TABLE_NAME;
    END IF;

    SELECT array_agg(DISTINCT n.item_id) INTO unmoved FROM new_period n
        LEFT JOIN billing_billingitem i ON i.id = n.item_id
        WHERE n.previous_end IS NULL AND i.charged_through IS NULL;
    IF unmoved IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM FROM billing_billingitem WHERE id = ANY(unmoved) ORDER BY id FOR KEY SHARE;
    SELECT u.id INTO culprit FROM unnest(unmoved) AS u (id)
        WHERE NOT EXISTS (SELECT FROM billing_billingitem i WHERE i.id = u.id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no item % to charge a period of', culprit.id
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER periods_are_of_an_item ON billing_itemperiod;
CREATE TRIGGER periods_are_of_an_item AFTER INSERT ON billing_itemperiod
    REFERENCING NEW TABLE AS new_period FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_chain_of_periods();
DROP FUNCTION billing_keep_item_of_period();
"""

ITEMS_ONLY = """
CREATE FUNCTION billing_keep_item_of_period() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    unmoved bigint[];
    culprit bigint;
BEGIN
    SELECT array_agg(DISTINCT n.item_id) INTO unmoved FROM new_period n
        LEFT JOIN billing_billingitem i ON i.id = n.item_id WHERE i.charged_through IS NULL;
    IF unmoved IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM FROM billing_billingitem WHERE id = ANY(unmoved) ORDER BY id FOR KEY SHARE;
    SELECT u.id INTO culprit FROM unnest(unmoved) AS u (id)
        WHERE NOT EXISTS (SELECT FROM billing_billingitem i WHERE i.id = u.id) LIMIT 1;
    IF culprit IS NOT NULL THEN
        RAISE EXCEPTION 'there is no item % to charge a period of', culprit
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER periods_are_of_an_item ON billing_itemperiod;
CREATE TRIGGER periods_are_of_an_item AFTER INSERT ON billing_itemperiod
    REFERENCING NEW TABLE AS new_period FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_item_of_period();
DROP FUNCTION billing_keep_chain_of_periods();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0028_balances_in_one_pass")]

    operations = [
        migrations.AddField(
            model_name="itemperiod",
            name="previous_end",
            field=models.DateField(
                null=True, help_text="End of the item's period before this one; none of its first."
            ),
        ),
        migrations.RunSQL(WHAT_WENT_BEFORE, migrations.RunSQL.noop),
        migrations.RunSQL(NO_EXCLUSION, EXCLUSION),
        migrations.RemoveIndex(model_name="itemperiod", name="periods_of_an_item"),
        migrations.RemoveConstraint(model_name="itemperiod", name="one_charge_per_one_off_item"),
        migrations.AddConstraint(
            model_name="itemperiod",
            constraint=models.UniqueConstraint(
                models.F("item"),
                models.OrderBy(models.F("previous_end"), nulls_first=True),
                name="charged_periods_of_an_item_never_overlap",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="itemperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(previous_end__lte=models.F("start_on")), name="periods_begin_after_those_before"
            ),
        ),
        migrations.AddConstraint(
            model_name="itemperiod",
            constraint=models.CheckConstraint(
                condition=models.Q(is_one_off=False) | models.Q(previous_end__isnull=True),
                name="one_charge_per_one_off_item",
            ),
        ),
        migrations.RunSQL(FOLLOW, ITEMS_ONLY),
    ]
