"""Sums of the ledger by partner and quarter of an hour, kept beside it; see `billing.sums`.

A customer that goes to another partner takes its entries with it: the sums of both are thrown away, and made anew. Who
sums up holds the lock exclusively, so that no sum is made of customers that are just moving.
"""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields

FORGET_SUMS = """
CREATE FUNCTION billing_forget_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1230030);
    DELETE FROM billing_ledgersummark WHERE partner_id IN (OLD.partner_id, NEW.partner_id);
    DELETE FROM billing_ledgersum WHERE partner_id IN (OLD.partner_id, NEW.partner_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER customers_take_their_sums_along AFTER UPDATE OF partner_id ON billing_customer
    FOR EACH ROW WHEN (OLD.partner_id <> NEW.partner_id) EXECUTE FUNCTION billing_forget_sums();
"""
REMEMBER_SUMS = """
DROP TRIGGER customers_take_their_sums_along ON billing_customer;
DROP FUNCTION billing_forget_sums();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0019_staff_permissions'),
    ]

    operations = [
        migrations.CreateModel(
            name='LedgerSumMark',
            fields=[
                ('partner', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='billing.partner')),
                ('through', models.DateTimeField()),
                ('after_id', models.BigIntegerField()),
                ('sampled_at', models.DateTimeField()),
                ('sampled_id', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('after_id__gte', 0), ('after_id__lte', models.F('sampled_id'))), name='sum_marks_move_forward')],
            },
        ),
        migrations.CreateModel(
            name='LedgerSum',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('begins_at', models.DateTimeField(help_text='Of the quarter of an hour in which the entries occurred.')),
                ('currency', billing.models.fields.CurrencyField(max_length=3)),
                ('kind', models.CharField(choices=[('recurring', 'Recurring'), ('one_off', 'One Off'), ('call', 'Call'), ('payment', 'Payment'), ('refund', 'Refund'), ('credit', 'Credit'), ('adjustment', 'Adjustment'), ('reversal', 'Reversal'), ('opening', 'Opening')], max_length=12)),
                ('amount', billing.models.fields.MoneyField(decimal_places=6, max_digits=18)),
                ('entry_count', models.BigIntegerField()),
                ('partner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='billing.partner')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('partner', 'begins_at', 'currency', 'kind'), name='one_sum_per_quarter_and_kind')],
            },
        ),
        migrations.RunSQL(FORGET_SUMS, REMEMBER_SUMS),
    ]
