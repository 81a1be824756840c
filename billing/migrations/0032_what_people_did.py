"""What a person did is found by their name: orders of mails, switches, and entries posted by hand (no re-rating's)."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0031_room_in_the_indexes_of_items'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='switchhistory',
            options={'verbose_name': 'change of a switch', 'verbose_name_plural': 'changes of switches'},
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(models.F('entered_by'), models.OrderBy(models.F('id'), descending=True), condition=models.Q(models.Q(('entered_by', ''), _negated=True), ('rerating_id__isnull', True)), name='entries_by_person'),
        ),
        migrations.AddIndex(
            model_name='switchhistory',
            index=models.Index(models.F('changed_by'), models.OrderBy(models.F('id'), descending=True), name='switch_changes_by_person'),
        ),
    ]
