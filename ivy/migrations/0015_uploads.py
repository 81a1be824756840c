"""Files that staff sent and that wait to be imported."""

import uuid

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [('ivy', '0014_languages_are_watched')]

    operations = [
        migrations.CreateModel(
            name='Upload',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('partners', 'Partners'), ('customers', 'Customers'), ('items', 'Items'), ('rates', 'Rates'), ('payments', 'Payments')], max_length=16)),
                ('file_name', models.TextField()),
                ('content', models.BinaryField()),
                ('options', models.JSONField(default=dict, help_text='What else was said: the deck, the source of payments.')),
                ('by', models.TextField(help_text='The e-mail address of who sent it.')),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'indexes': [models.Index(models.F('at'), name='uploads_by_age')],
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('kind__in', ['partners', 'customers', 'items', 'rates', 'payments'])), name='upload_kind_is_known'),
                    models.CheckConstraint(condition=models.Q(('by', ''), _negated=True), name='uploads_are_sent_by_somebody'),
                ],
            },
        ),
    ]
