
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0022_sender_names'),
        ('portal', '0002_invitations_and_looks'),
    ]

    operations = [
        migrations.CreateModel(
            name='Brand',
            fields=[
                ('partner', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='brand', serialize=False, to='billing.partner')),
                ('colour', models.CharField(blank=True, default='', help_text="#rrggbb, in lower case; empty: Ivy's green.", max_length=7)),
                ('logo', models.BinaryField(null=True)),
                ('logo_hash', models.CharField(blank=True, default='', max_length=16)),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('changed_by', models.TextField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('colour', ''), ('colour__regex', '^#[0-9a-f]{6}$'), _connector='OR'), name='brand_colour_is_one'), models.CheckConstraint(condition=models.Q(models.Q(('logo__isnull', True), ('logo_hash', '')), models.Q(('logo__isnull', False), models.Q(('logo_hash', ''), _negated=True)), _connector='OR'), name='logos_and_only_they_have_a_hash')],
            },
        ),
    ]
