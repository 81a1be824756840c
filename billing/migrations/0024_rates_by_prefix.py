"""A call's rate, and what a deck says of a prefix, without reading the deck."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('billing', '0023_mails_in_a_customers_language')]

    operations = [
        migrations.AddIndex(
            model_name='rate',
            index=models.Index(models.F('deck'), models.F('prefix'), name='rates_of_a_deck_by_prefix'),
        ),
    ]
