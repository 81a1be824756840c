"""What moving balances costs: only those of the entries are looked up, and the new one stays on the page of the old.

Planned for many entries at once, the trigger read the balances of all customers to find those of some thousand. And a page
that is full of balances has no room for new ones, so that each of them was written elsewhere and into the index once more.
Existing tables get there by themselves: what is written anew leaves the room.
"""

from django.db import migrations

BY_INDEX = """
ALTER FUNCTION billing_post_entries()
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off;
ALTER TABLE billing_customerbalance SET (fillfactor = 50);
"""

AS_PLANNED = """
ALTER TABLE billing_customerbalance RESET (fillfactor);
ALTER FUNCTION billing_post_entries() RESET ALL;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0027_newcomers_at_once")]

    operations = [migrations.RunSQL(BY_INDEX, AS_PLANNED)]
