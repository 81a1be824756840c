"""The index of open episodes finds those of an alert: another one over all of them is not needed.

By hand: Django's own operation drops every index over the alert, and with it `one_open_episode_per_alert`.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0011_default_alerts_can_be_kept")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "DROP INDEX billing_episode_alert_id_215ea8ef",
                    "CREATE INDEX billing_episode_alert_id_215ea8ef ON billing_episode (alert_id)",
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="episode",
                    name="alert",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="episodes",
                        to="billing.balancealert",
                    ),
                ),
            ],
        )
    ]
