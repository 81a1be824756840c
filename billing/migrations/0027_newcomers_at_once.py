"""Customers who come by the thousand get their balances and built-in alerts a statement at a time.

A row at a time, each of their rows was an INSERT of its own, and each of those ran whatever triggers the two tables have:
the more there are, the slower an import of customers became.
"""

from django.db import migrations

AT_ONCE = """
CREATE FUNCTION billing_equip_customers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_customerbalance (customer_id, currency) SELECT id, currency FROM newcomer ORDER BY id;
    INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
        SELECT id, 'exhausted', -credit_limit, true FROM newcomer ORDER BY id;
    RETURN NULL;
END
$$;
DROP TRIGGER customers_have_a_balance ON billing_customer;
CREATE TRIGGER customers_have_a_balance AFTER INSERT ON billing_customer
    REFERENCING NEW TABLE AS newcomer FOR EACH STATEMENT EXECUTE FUNCTION billing_equip_customers();
DROP FUNCTION billing_equip_customer();
"""

ONE_BY_ONE = """
CREATE FUNCTION billing_equip_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_customerbalance (customer_id, currency) VALUES (NEW.id, NEW.currency);
    INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
        VALUES (NEW.id, 'exhausted', -NEW.credit_limit, true);
    RETURN NULL;
END
$$;
DROP TRIGGER customers_have_a_balance ON billing_customer;
CREATE TRIGGER customers_have_a_balance AFTER INSERT ON billing_customer
    FOR EACH ROW EXECUTE FUNCTION billing_equip_customer();
DROP FUNCTION billing_equip_customers();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0026_months_close_once'),
    ]

    operations = [
        migrations.RunSQL(AT_ONCE, ONE_BY_ONE),
    ]
