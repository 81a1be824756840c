"""The partners' list of calls asks for the newest of everybody's: by block, as an index of rows would slow imports."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0029_periods_follow_one_another")]

    operations = [
        migrations.AddIndex(
            model_name="callrecord",
            index=BrinIndex(fields=["started_at"], name="calls_by_time", autosummarize=True, pages_per_range=16),
        ),
    ]
