"""A copy restored into the same database is known by the number of the log's table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0009_what_people_did")]

    operations = [
        migrations.AddField(
            model_name="confirmedinstance",
            name="log_oid",
            field=models.BigIntegerField(
                help_text="The number of the log's table. Empty: confirmed before it was asked for.", null=True
            ),
        ),
    ]
