
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0021_what_staff_search'),
    ]

    operations = [
        migrations.AddField(
            model_name='partner',
            name='sender_name',
            field=models.CharField(blank=True, db_default='', default='', help_text='Beside that address; empty: the name above.', max_length=200),
        ),
    ]
