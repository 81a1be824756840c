"""The rule that charged periods of an item never overlap, at a third of its price.

As boxes (item across, days up) instead of two ranges, GiST compares four numbers where it unpacked two ranges. The
numbers are whole and far below 2^53, so floating point keeps them exactly.
"""

from django.db import migrations

AS_BOXES = """
ALTER TABLE billing_itemperiod DROP CONSTRAINT charged_periods_of_an_item_never_overlap;
ALTER TABLE billing_itemperiod ADD CONSTRAINT charged_periods_of_an_item_never_overlap EXCLUDE USING gist (
    box(point(item_id, start_on - date '0001-01-01'), point(item_id, end_on - 1 - date '0001-01-01')) WITH &&
);
"""

AS_RANGES = """
ALTER TABLE billing_itemperiod DROP CONSTRAINT charged_periods_of_an_item_never_overlap;
ALTER TABLE billing_itemperiod ADD CONSTRAINT charged_periods_of_an_item_never_overlap EXCLUDE USING gist (
    int8range(item_id, item_id, '[]') WITH &&,
    daterange(start_on, end_on) WITH &&
);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_reratings")]

    operations = [migrations.RunSQL(AS_BOXES, AS_RANGES)]
