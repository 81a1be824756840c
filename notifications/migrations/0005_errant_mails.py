"""The queue of errant mails is read by an index of its own: they are few among all that were ever sent."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0004_staff_permissions'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='notificationlog',
            index=models.Index(models.F('id'), condition=models.Q(('is_errant', True)), name='errant_mails'),
        ),
    ]
