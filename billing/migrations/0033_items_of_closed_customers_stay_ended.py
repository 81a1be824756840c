"""An item of a closed customer stays ended: no later end, no earlier start and no other customer lets it charge again."""

from django.db import migrations

# Closing ends items by an update of its own, to just this day (or to the start of those that were to begin later).
ENDED = """
CREATE FUNCTION billing_keep_item_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM billing_customer c
        WHERE c.id = NEW.customer_id AND c.status = 'closed'
          AND (NEW.ends_on IS NULL OR NEW.ends_on > greatest(NEW.starts_on, (c.closed_at AT TIME ZONE c.timezone)::date))
    ) THEN
        RAISE EXCEPTION 'item % would charge a customer who is closed', NEW.reference
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'items_of_closed_customers_stay_ended';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER items_of_closed_customers_stay_ended BEFORE UPDATE OF customer_id, starts_on, ends_on
    ON billing_billingitem FOR EACH ROW EXECUTE FUNCTION billing_keep_item_ended();
"""

NOT_ENDED = """
DROP TRIGGER items_of_closed_customers_stay_ended ON billing_billingitem;
DROP FUNCTION billing_keep_item_ended();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0032_what_people_did")]

    operations = [migrations.RunSQL(ENDED, NOT_ENDED)]
