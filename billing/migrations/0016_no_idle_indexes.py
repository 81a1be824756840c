"""Django gives each unique text column a second index for LIKE. In collation C the unique one serves LIKE as well."""

from django.db import migrations

IDLE = {
    "billing_billingitem_reference_7c48bd8a_like": ("billing_billingitem", "reference"),
    "billing_customer_account_983f2154_like": ("billing_customer", "account"),
    "billing_freecall_call_key_3e0e5897_like": ("billing_freecall", "call_key"),
    "billing_itemperiod_entry_key_581bee6b_like": ("billing_itemperiod", "entry_key"),
}


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_periods_as_boxes")]

    operations = [
        migrations.RunSQL(f"DROP INDEX {index}", f"CREATE INDEX {index} ON {table} ({column} text_pattern_ops)")
        for index, (table, column) in IDLE.items()
    ]
