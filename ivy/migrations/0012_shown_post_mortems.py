
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ivy', '0011_histories_only_grow'),
    ]

    operations = [
        migrations.AddField(
            model_name='incident',
            name='post_mortem_is_shown',
            field=models.BooleanField(db_default=False, default=False, help_text='Whether those to whom the incident is shown read it, too.'),
        ),
        migrations.AlterField(
            model_name='incident',
            name='post_mortem',
            field=models.TextField(blank=True, default='', help_text='What happened, why, and what keeps it from happening again.'),
        ),
    ]
