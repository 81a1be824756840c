"""Errant mails and apologies are few among all that were ever sent: their queue is read by indexes of their own."""

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
        migrations.AddIndex(
            model_name='notificationlog',
            index=models.Index(models.F('customer'), models.F('recipient_hash'), models.F('created_at'), condition=models.Q(('kind', 'apology')), name='apologies'),
        ),
    ]
