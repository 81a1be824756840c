
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import billing.models.fields


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('billing', '0017_what_alarms_go_by'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PortalUser',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('viewer', 'Viewer'), ('manager', 'Manager'), ('owner', 'Owner')], default='viewer', max_length=8)),
                ('language', models.CharField(blank=True, default='', help_text='How money and dates are written; empty: as for the partner.', max_length=16)),
                ('timezone', billing.models.fields.TimeZoneField(blank=True, default='', help_text="The zone of all times; empty: the partner's.", max_length=64)),
                ('is_active', models.BooleanField(default=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('partner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='portal_users', to='billing.partner')),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='portal_user', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(models.F('partner'), models.F('id'), name='portal_users_of_a_partner')],
                'constraints': [models.CheckConstraint(condition=models.Q(('role__in', ['viewer', 'manager', 'owner'])), name='portal_role_is_known')],
            },
        ),
    ]
