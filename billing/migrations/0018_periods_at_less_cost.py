"""What a charged period costs to keep: no key of its own, and no foreign key that looks up the item row by row.

The key follows from the item's reference, which is fixed once anything was charged, and the first day. It is unique
because periods of an item never overlap and the ledger's keys are.
"""

import django.db.models.deletion
from django.db import migrations, models

# Not immutable, since to_char is not; what it makes of a date is the same everywhere.
ITEM_KEY = """
CREATE FUNCTION item_key(reference text, start_on date) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT ('item:' || key_part(reference) || ':' || to_char(start_on, 'YYYY-MM-DD')) COLLATE "C"
$$
"""

NO_KEYS = "ALTER TABLE billing_itemperiod DROP COLUMN entry_key"

KEYS = """
ALTER TABLE billing_itemperiod ADD COLUMN entry_key text COLLATE "C";
ALTER TABLE billing_itemperiod DISABLE TRIGGER charged_periods_only_grow;
UPDATE billing_itemperiod p SET entry_key = item_key(i.reference, p.start_on)
    FROM billing_billingitem i WHERE i.id = p.item_id;
ALTER TABLE billing_itemperiod ENABLE TRIGGER charged_periods_only_grow;
ALTER TABLE billing_itemperiod ALTER COLUMN entry_key SET NOT NULL,
    ADD CONSTRAINT billing_itemperiod_entry_key_key UNIQUE (entry_key);
"""

# As SQL, because Django would drop every index on the column with the one that it made itself.
NO_FOREIGN_KEY = """
ALTER TABLE billing_itemperiod DROP CONSTRAINT billing_itemperiod_item_id_7d26454d_fk_billing_billingitem_id;
DROP INDEX billing_itemperiod_item_id_7d26454d;
"""

FOREIGN_KEY = """
CREATE INDEX billing_itemperiod_item_id_7d26454d ON billing_itemperiod (item_id);
ALTER TABLE billing_itemperiod ADD CONSTRAINT billing_itemperiod_item_id_7d26454d_fk_billing_billingitem_id
    FOREIGN KEY (item_id) REFERENCES billing_billingitem (id) DEFERRABLE INITIALLY DEFERRED;
"""

# An item is kept by what it was charged through. Only one that was not moved on before has to be looked for, and locked,
# so that nobody deletes it meanwhile. Each is looked up by its id: joined otherwise, all items would be read.
PERIODS_HAVE_ITEMS = """
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
CREATE TRIGGER periods_are_of_an_item AFTER INSERT ON billing_itemperiod
    REFERENCING NEW TABLE AS new_period FOR EACH STATEMENT EXECUTE FUNCTION billing_keep_item_of_period();

CREATE FUNCTION billing_keep_charged_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id = NEW.id THEN
        RETURN NEW;
    END IF;
    IF OLD.charged_through IS NOT NULL OR EXISTS (SELECT FROM billing_itemperiod WHERE item_id = OLD.id) THEN
        RAISE EXCEPTION 'item % was charged already: end it instead', OLD.reference
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER charged_items_are_never_deleted BEFORE DELETE OR UPDATE OF id ON billing_billingitem
    FOR EACH ROW EXECUTE FUNCTION billing_keep_charged_item();
CREATE TRIGGER items_are_never_truncated BEFORE TRUNCATE ON billing_billingitem
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

PERIODS_NEED_NO_ITEM = """
DROP TRIGGER items_are_never_truncated ON billing_billingitem;
DROP TRIGGER charged_items_are_never_deleted ON billing_billingitem;
DROP FUNCTION billing_keep_charged_item();
DROP TRIGGER periods_are_of_an_item ON billing_itemperiod;
DROP FUNCTION billing_keep_item_of_period();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_what_alarms_go_by")]

    operations = [
        migrations.RunSQL(ITEM_KEY, "DROP FUNCTION item_key(text, date)"),
        migrations.RunSQL(
            NO_KEYS, KEYS, state_operations=[migrations.RemoveField(model_name="itemperiod", name="entry_key")]
        ),
        migrations.RunSQL(
            NO_FOREIGN_KEY,
            FOREIGN_KEY,
            state_operations=[
                migrations.AlterField(
                    model_name="itemperiod",
                    name="item",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="periods",
                        to="billing.billingitem",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="itemperiod",
            index=models.Index(models.F("item"), models.F("start_on"), name="periods_of_an_item"),
        ),
        migrations.AlterField(
            model_name="customertojudge",
            name="customer",
            field=models.OneToOneField(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                related_name="+",
                serialize=False,
                to="billing.customer",
            ),
        ),
        migrations.RunSQL(PERIODS_HAVE_ITEMS, PERIODS_NEED_NO_ITEM),
    ]
