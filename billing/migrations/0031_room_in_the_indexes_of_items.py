"""Room in the indexes of items: most items fall due on the same day, and then each of them is moved on.

An index page that was built full has to be searched for what can go, and then split, in the middle of a run. What is built
or rebuilt from here on has room for each item once more; older indexes have it after REINDEX, or have long been split.
"""

from django.db import migrations

INDEXES = [
    "billing_billingitem_pkey",
    "billing_billingitem_customer_id_4a4a2326",
    "billing_billingitem_reference_key",
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0030_calls_by_time")]

    operations = [
        migrations.RunSQL(f"ALTER INDEX {index} SET (fillfactor = 50)", f"ALTER INDEX {index} RESET (fillfactor)")
        for index in INDEXES
    ]
