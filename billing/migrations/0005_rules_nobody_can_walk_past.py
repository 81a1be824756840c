"""What every new customer gets, what stays fixed, and who is noted to be judged: by trigger, since `bulk_create`,
`update()` and a psql session walk past `save()`.
"""

from django.db import migrations

CUSTOMERS = """
CREATE FUNCTION billing_equip_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_customerbalance (customer_id, currency) VALUES (NEW.id, NEW.currency);
    INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
        VALUES (NEW.id, 'exhausted', -NEW.credit_limit, true);
    RETURN NULL;
END
$$;
CREATE TRIGGER customers_have_a_balance AFTER INSERT ON billing_customer
    FOR EACH ROW EXECUTE FUNCTION billing_equip_customer();

CREATE FUNCTION billing_follow_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_balancealert SET threshold = -NEW.credit_limit
        WHERE customer_id = NEW.id AND kind = 'exhausted' AND threshold <> -NEW.credit_limit;
    -- DO UPDATE, so that the note is locked until the change is committed: judging skips it, and never takes it away
    -- having seen the customer as it was.
    INSERT INTO billing_customertojudge (customer_id) VALUES (NEW.id)
        ON CONFLICT (customer_id) DO UPDATE SET since = now();
    IF NEW.status = 'closed' AND OLD.status <> 'closed' THEN
        UPDATE billing_billingitem
            SET ends_on = greatest(starts_on, (NEW.closed_at AT TIME ZONE NEW.timezone)::date)
            WHERE customer_id = NEW.id
              AND (ends_on IS NULL OR ends_on > greatest(starts_on, (NEW.closed_at AT TIME ZONE NEW.timezone)::date));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER alerts_and_items_follow_the_customer AFTER UPDATE ON billing_customer
    FOR EACH ROW WHEN (OLD.credit_limit <> NEW.credit_limit OR OLD.status <> NEW.status)
    EXECUTE FUNCTION billing_follow_customer();

CREATE FUNCTION billing_date_closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'closed' THEN
        NEW.closed_at := coalesce(NEW.closed_at, now());
    ELSE
        NEW.closed_at := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER closing_time_follows_the_status BEFORE INSERT OR UPDATE OF status, closed_at ON billing_customer
    FOR EACH ROW EXECUTE FUNCTION billing_date_closing();
"""

NO_CUSTOMERS = """
DROP TRIGGER closing_time_follows_the_status ON billing_customer;
DROP FUNCTION billing_date_closing();
DROP TRIGGER alerts_and_items_follow_the_customer ON billing_customer;
DROP FUNCTION billing_follow_customer();
DROP TRIGGER customers_have_a_balance ON billing_customer;
DROP FUNCTION billing_equip_customer();
"""

ALERTS = """
CREATE FUNCTION billing_note_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_customertojudge (customer_id) VALUES (NEW.customer_id)
        ON CONFLICT (customer_id) DO UPDATE SET since = now();
    RETURN NULL;
END
$$;
CREATE TRIGGER changed_alerts_are_judged AFTER INSERT OR UPDATE ON billing_balancealert
    FOR EACH ROW EXECUTE FUNCTION billing_note_alert();
"""

NO_ALERTS = """
DROP TRIGGER changed_alerts_are_judged ON billing_balancealert;
DROP FUNCTION billing_note_alert();
"""

RATES = """
CREATE FUNCTION billing_keep_rate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.valid_from IS NULL OR OLD.valid_from <= now() THEN
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'rate % is in force or was: end it instead of deleting it', OLD.prefix
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'rates_in_force_are_not_edited';
        END IF;
        IF (OLD.deck_id, OLD.prefix, OLD.price_per_minute, OLD.connect_fee, OLD.minimum_charge, OLD.first_increment,
            OLD.increment, OLD.valid_from)
            IS DISTINCT FROM
            (NEW.deck_id, NEW.prefix, NEW.price_per_minute, NEW.connect_fee, NEW.minimum_charge, NEW.first_increment,
            NEW.increment, NEW.valid_from)
        THEN
            RAISE EXCEPTION 'rate % is in force or was: a later row of the prefix ends it', OLD.prefix
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'rates_in_force_are_not_edited';
        END IF;
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER rates_in_force_are_not_edited BEFORE UPDATE OR DELETE ON billing_rate
    FOR EACH ROW EXECUTE FUNCTION billing_keep_rate();

CREATE FUNCTION billing_raise_rates_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE billing_ratedeck SET rates_version = rates_version + 1
        WHERE id IN (SELECT deck_id FROM changed_rate);
    RETURN NULL;
END
$$;
CREATE TRIGGER new_rates_raise_the_version AFTER INSERT ON billing_rate
    REFERENCING NEW TABLE AS changed_rate FOR EACH STATEMENT EXECUTE FUNCTION billing_raise_rates_version();
CREATE TRIGGER changed_rates_raise_the_version AFTER UPDATE ON billing_rate
    REFERENCING NEW TABLE AS changed_rate FOR EACH STATEMENT EXECUTE FUNCTION billing_raise_rates_version();
CREATE TRIGGER deleted_rates_raise_the_version AFTER DELETE ON billing_rate
    REFERENCING OLD TABLE AS changed_rate FOR EACH STATEMENT EXECUTE FUNCTION billing_raise_rates_version();
"""

NO_RATES = """
DROP TRIGGER deleted_rates_raise_the_version ON billing_rate;
DROP TRIGGER changed_rates_raise_the_version ON billing_rate;
DROP TRIGGER new_rates_raise_the_version ON billing_rate;
DROP FUNCTION billing_raise_rates_version();
DROP TRIGGER rates_in_force_are_not_edited ON billing_rate;
DROP FUNCTION billing_keep_rate();
"""

ITEMS = """
CREATE FUNCTION billing_keep_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.charged_through IS NOT NULL AND
        (OLD.customer_id, OLD.reference, OLD.kind, OLD.starts_on, OLD.interval, OLD.interval_count, OLD.bill_cycle_day,
         OLD.timing, OLD.proration)
        IS DISTINCT FROM
        (NEW.customer_id, NEW.reference, NEW.kind, NEW.starts_on, NEW.interval, NEW.interval_count, NEW.bill_cycle_day,
         NEW.timing, NEW.proration)
    THEN
        RAISE EXCEPTION 'item % was charged already: end it and begin another', OLD.reference
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'charged_items_keep_their_dates';
    END IF;
    IF TG_OP = 'INSERT' AND EXISTS (SELECT FROM billing_customer WHERE id = NEW.customer_id AND status = 'closed') THEN
        RAISE EXCEPTION 'item % would charge a customer who is closed', NEW.reference
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'closed_customers_get_no_new_items';
    END IF;
    NEW.next_due_on := coalesce(NEW.charged_through, NEW.starts_on);
    RETURN NEW;
END
$$;
CREATE TRIGGER charged_items_keep_their_dates
    BEFORE INSERT OR UPDATE OF customer_id, reference, kind, starts_on, ends_on, interval, interval_count,
        bill_cycle_day, timing, proration
    ON billing_billingitem FOR EACH ROW EXECUTE FUNCTION billing_keep_item();
"""

NO_ITEMS = """
DROP TRIGGER charged_items_keep_their_dates ON billing_billingitem;
DROP FUNCTION billing_keep_item();
"""

SWITCHES = """
CREATE FUNCTION billing_write_switch_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_switchhistory (process, partner_id, cause, is_halted, reason, changed_by)
        VALUES (NEW.process, NEW.partner_id, NEW.cause, NEW.is_halted, NEW.reason, NEW.changed_by);
    RETURN NULL;
END
$$;
CREATE TRIGGER switches_write_their_history AFTER INSERT OR UPDATE ON billing_processswitch
    FOR EACH ROW EXECUTE FUNCTION billing_write_switch_history();
CREATE TRIGGER switches_are_never_deleted BEFORE DELETE OR TRUNCATE ON billing_processswitch
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

NO_SWITCHES = """
DROP TRIGGER switches_are_never_deleted ON billing_processswitch;
DROP TRIGGER switches_write_their_history ON billing_processswitch;
DROP FUNCTION billing_write_switch_history();
"""

# A call record names its batch and source without a foreign key: neither may go. Keys of calls hold the source's name.
BATCHES = """
CREATE TRIGGER sources_keep_their_name BEFORE UPDATE OF name ON billing_source
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER arrival_batches_are_never_deleted BEFORE DELETE OR TRUNCATE ON billing_arrivalbatch
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER deliveries_are_never_deleted BEFORE DELETE OR TRUNCATE ON billing_delivery
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

NO_BATCHES = """
DROP TRIGGER sources_keep_their_name ON billing_source;
DROP TRIGGER deliveries_are_never_deleted ON billing_delivery;
DROP TRIGGER arrival_batches_are_never_deleted ON billing_arrivalbatch;
"""

# What calls in quarantine may wait for. One row a statement, whatever its size.
MENDED_CAUSES = """
CREATE FUNCTION billing_note_mended_cause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_mendedcause (kind) VALUES (TG_ARGV[0]);
    RETURN NULL;
END
$$;
CREATE TRIGGER identities_mend_quarantine AFTER INSERT OR UPDATE ON billing_callidentity
    FOR EACH STATEMENT EXECUTE FUNCTION billing_note_mended_cause('identity');
CREATE TRIGGER rates_mend_quarantine AFTER INSERT OR UPDATE ON billing_rate
    FOR EACH STATEMENT EXECUTE FUNCTION billing_note_mended_cause('rate');
CREATE TRIGGER customers_mend_quarantine AFTER INSERT OR UPDATE OF rate_deck_id, inbound_deck_id, status, partner_id
    ON billing_customer FOR EACH STATEMENT EXECUTE FUNCTION billing_note_mended_cause('customer');
CREATE TRIGGER partners_mend_quarantine AFTER UPDATE OF rate_deck_id ON billing_partner
    FOR EACH STATEMENT EXECUTE FUNCTION billing_note_mended_cause('customer');
"""

NO_MENDED_CAUSES = """
DROP TRIGGER partners_mend_quarantine ON billing_partner;
DROP TRIGGER customers_mend_quarantine ON billing_customer;
DROP TRIGGER rates_mend_quarantine ON billing_rate;
DROP TRIGGER identities_mend_quarantine ON billing_callidentity;
DROP FUNCTION billing_note_mended_cause();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_ledger_and_histories_only_grow")]

    operations = [
        migrations.RunSQL(CUSTOMERS, NO_CUSTOMERS),
        migrations.RunSQL(ALERTS, NO_ALERTS),
        migrations.RunSQL(RATES, NO_RATES),
        migrations.RunSQL(ITEMS, NO_ITEMS),
        migrations.RunSQL(SWITCHES, NO_SWITCHES),
        migrations.RunSQL(BATCHES, NO_BATCHES),
        migrations.RunSQL(MENDED_CAUSES, NO_MENDED_CAUSES),
    ]
