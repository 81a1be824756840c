
import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

ONLY_ENDED = """
CREATE FUNCTION portal_looks_are_only_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended_at IS NULL AND (to_jsonb(NEW) - 'ended_at') = (to_jsonb(OLD) - 'ended_at') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a look is a record: nothing of it changes but its end, once'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$;
CREATE TRIGGER looks_are_only_ended BEFORE UPDATE ON portal_stafflook
    FOR EACH ROW EXECUTE FUNCTION portal_looks_are_only_ended();
CREATE TRIGGER looks_are_never_deleted BEFORE DELETE OR TRUNCATE ON portal_stafflook
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""
LOOKS_ARE_ROWS = """
DROP TRIGGER looks_are_never_deleted ON portal_stafflook;
DROP TRIGGER looks_are_only_ended ON portal_stafflook;
DROP FUNCTION portal_looks_are_only_ended();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0019_staff_permissions'),
        ('portal', '0001_people_of_partners'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reference', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('email', models.EmailField(max_length=254)),
                ('role', models.CharField(choices=[('viewer', 'Viewer'), ('manager', 'Manager'), ('owner', 'Owner')], max_length=8)),
                ('invited_by', models.TextField(help_text='The e-mail address of who invited.')),
                ('invited_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('sent_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('mail_number', models.PositiveSmallIntegerField(default=1, help_text='How often it was sent; the last link counts.')),
                ('expires_at', models.DateTimeField()),
                ('withdrawn_at', models.DateTimeField(null=True)),
                ('accepted_at', models.DateTimeField(null=True)),
                ('accepted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='invitations', to='portal.portaluser')),
                ('partner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='invitations', to='billing.partner')),
            ],
            options={
                'indexes': [models.Index(models.F('partner'), models.F('sent_at'), name='invitations_of_a_partner')],
                'constraints': [models.CheckConstraint(condition=models.Q(('role__in', ['viewer', 'manager', 'owner'])), name='invited_role_is_known'), models.CheckConstraint(condition=models.Q(('email', django.db.models.functions.text.Lower('email')), models.Q(('email', ''), _negated=True)), name='invited_in_lower_case'), models.CheckConstraint(condition=models.Q(('invited_by', ''), _negated=True), name='somebody_invites'), models.CheckConstraint(condition=models.Q(('accepted_at__isnull', True), ('withdrawn_at__isnull', True), _connector='OR'), name='accepted_or_withdrawn_not_both'), models.UniqueConstraint(models.F('partner'), models.F('email'), condition=models.Q(('accepted_at__isnull', True), ('withdrawn_at__isnull', True)), name='one_open_invitation_per_partner_and_address')],
            },
        ),
        migrations.CreateModel(
            name='StaffLook',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('began_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('expires_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField(null=True)),
                ('by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='looks', to=settings.AUTH_USER_MODEL)),
                ('partner', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='looks', to='billing.partner')),
            ],
            options={
                'permissions': [('look_as_partner', "Can look at a partner's portal"), ('invite_people', "Can invite people to a partner's portal")],
                'constraints': [models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='looks_have_a_reason'), models.CheckConstraint(condition=models.Q(('ended_at__isnull', True), ('ended_at__gte', models.F('began_at')), _connector='OR'), name='looks_end_after_they_begin')],
            },
        ),
        migrations.RunSQL(ONLY_ENDED, LOOKS_ARE_ROWS),
    ]
