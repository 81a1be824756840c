"""Amounts from a date, and pauses: what was charged keeps its amount and its days, whoever edits what."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.fields

PAUSES_NEVER_OVERLAP = """
ALTER TABLE billing_itempause ADD CONSTRAINT pauses_of_an_item_never_overlap EXCLUDE USING gist (
    int8range(item_id, item_id, '[]') WITH &&,
    daterange(starts_on, ends_on) WITH &&
)
"""

# Of OLD and NEW, the one that there is not is NULL in every column. Both functions below lock the item before they look
# how far it was charged, so that no run charges it meanwhile; a run reads pauses and amounts in a statement after the
# one that locked the item.
PAUSES = """
CREATE FUNCTION billing_pause_item() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first_day date;  -- the first one that is charged otherwise than before
    item record;
BEGIN
    first_day := CASE
        WHEN TG_OP <> 'UPDATE' THEN coalesce(NEW.starts_on, OLD.starts_on)
        WHEN (OLD.item_id, OLD.starts_on) <> (NEW.item_id, NEW.starts_on) THEN least(OLD.starts_on, NEW.starts_on)
        WHEN OLD.ends_on IS DISTINCT FROM NEW.ends_on THEN least(OLD.ends_on, NEW.ends_on)
    END;
    FOR item IN
        UPDATE billing_billingitem SET next_due_on = coalesce(charged_through, starts_on)
        WHERE id IN (OLD.item_id, NEW.item_id)
        RETURNING reference, kind, charged_through
    LOOP
        IF item.kind <> 'recurring' THEN
            RAISE EXCEPTION 'item % is charged once: there is nothing to pause', item.reference
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'only_recurring_items_are_paused';
        END IF;
        IF first_day < item.charged_through THEN
            RAISE EXCEPTION 'item % was charged through % already', item.reference, item.charged_through
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'charged_days_stay_charged';
        END IF;
    END LOOP;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER pauses_make_items_due_again BEFORE INSERT OR UPDATE OR DELETE ON billing_itempause
    FOR EACH ROW EXECUTE FUNCTION billing_pause_item();
"""

NO_PAUSES = """
DROP TRIGGER pauses_make_items_due_again ON billing_itempause;
DROP FUNCTION billing_pause_item();
"""

AMOUNTS = """
CREATE FUNCTION billing_keep_charged_amount() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    item record;
BEGIN
    FOR item IN
        SELECT reference, charged_through FROM billing_billingitem
        WHERE id IN (OLD.item_id, NEW.item_id)
        FOR NO KEY UPDATE
    LOOP
        IF least(OLD.from_date, NEW.from_date) < item.charged_through THEN
            RAISE EXCEPTION 'item % was charged through % already', item.reference, item.charged_through
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
        END IF;
    END LOOP;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER charged_amounts_stay BEFORE INSERT OR UPDATE OR DELETE ON billing_itempricechange
    FOR EACH ROW EXECUTE FUNCTION billing_keep_charged_amount();

CREATE FUNCTION billing_keep_first_amount() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_itempricechange WHERE item_id = NEW.id) THEN
        RAISE EXCEPTION 'item % has amounts from a date: change_item gives it another one', NEW.reference
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER amounts_with_dates_change_by_date BEFORE UPDATE OF amount ON billing_billingitem
    FOR EACH ROW WHEN (OLD.amount <> NEW.amount) EXECUTE FUNCTION billing_keep_first_amount();
"""

NO_AMOUNTS = """
DROP TRIGGER amounts_with_dates_change_by_date ON billing_billingitem;
DROP FUNCTION billing_keep_first_amount();
DROP TRIGGER charged_amounts_stay ON billing_itempricechange;
DROP FUNCTION billing_keep_charged_amount();
"""

# The days after the end were charged and given back: a run never charges them again, so they can't become the item's
# once more. Keys of credits of an item lie between `credit:item:REF:` and `credit:item:REF;`.
CREDITS = """
CREATE FUNCTION billing_keep_credited_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    credits text := 'credit:item:' || key_part(NEW.reference);
BEGIN
    IF EXISTS (
        SELECT FROM billing_ledgerentry c WHERE c.key > credits || ':' AND c.key < credits || ';'
            AND NOT EXISTS (SELECT FROM billing_ledgerentry r WHERE r.reverses = c.key)
    ) THEN
        RAISE EXCEPTION 'item % ended on % and was given a credit: begin another', NEW.reference, OLD.ends_on
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER credited_items_stay_ended BEFORE UPDATE OF ends_on ON billing_billingitem
    FOR EACH ROW WHEN (OLD.ends_on < coalesce(NEW.ends_on, 'infinity')) EXECUTE FUNCTION billing_keep_credited_end();
"""

NO_CREDITS = """
DROP TRIGGER credited_items_stay_ended ON billing_billingitem;
DROP FUNCTION billing_keep_credited_end();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_open_episodes_by_alert")]

    operations = [
        migrations.CreateModel(
            name="ItemPause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("starts_on", models.DateField()),
                ("ends_on", models.DateField(blank=True, help_text="The first day that is charged again.", null=True)),
                ("changed_by", models.TextField()),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("item", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="pauses", to="billing.billingitem")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("ends_on__isnull", True), ("ends_on__gt", models.F("starts_on")), _connector="OR"),
                        name="pause_has_days",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ItemPriceChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("from_date", models.DateField(help_text="Periods that begin on this day or later cost the new amount.")),
                (
                    "amount",
                    billing.models.fields.MoneyField(
                        decimal_places=6,
                        help_text="For one whole interval and one piece, in the customer's currency.",
                        max_digits=18,
                    ),
                ),
                ("changed_by", models.TextField()),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("item", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="price_changes", to="billing.billingitem")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("item", "from_date"), name="one_amount_of_an_item_from_a_date")],
            },
        ),
        migrations.RunSQL(
            PAUSES_NEVER_OVERLAP, "ALTER TABLE billing_itempause DROP CONSTRAINT pauses_of_an_item_never_overlap"
        ),
        migrations.RunSQL(PAUSES, NO_PAUSES),
        migrations.RunSQL(AMOUNTS, NO_AMOUNTS),
        migrations.RunSQL(CREDITS, NO_CREDITS),
    ]
