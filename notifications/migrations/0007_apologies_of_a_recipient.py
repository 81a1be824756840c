"""Whether a recipient got an apology since is asked of each errant mail in its queue."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0006_mails_of_a_partner'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='notificationlog',
            index=models.Index(models.F('customer'), models.F('recipient_hash'), models.F('created_at'), condition=models.Q(('kind', 'apology')), name='apologies'),
        ),
    ]
