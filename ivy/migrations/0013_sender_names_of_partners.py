
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0022_sender_names'),
        ('ivy', '0012_shown_post_mortems'),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='watchedpartner',
            name='insert_insert',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='watchedpartner',
            name='update_update',
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='watchedpartner',
            name='delete_delete',
        ),
        migrations.AddField(
            model_name='partnerhistory',
            name='sender_name',
            field=models.CharField(blank=True, db_default='', default='', help_text='Beside that address; empty: the name above.', max_length=200),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='watchedpartner',
            trigger=pgtrigger.compiler.Trigger(name='insert_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func='WITH _pgh_attached_context AS ( SELECT _pgh_attach_context() AS value ) INSERT INTO "ivy_partnerhistory" ("created_at", "currency", "id", "language", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "rate_deck_id", "reply_to", "sender", "sender_name", "slug", "timezone") SELECT new_values."created_at", new_values."currency", new_values."id", new_values."language", new_values."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'insert\', new_values."id", new_values."rate_deck_id", new_values."reply_to", new_values."sender", new_values."sender_name", new_values."slug", new_values."timezone" FROM ( SELECT new_values.* FROM new_values  ) AS new_values, _pgh_attached_context; RETURN NULL;', hash='61b0418b869000e8a839b40ceed1aae6f7d42b7d', level='STATEMENT', operation='INSERT', pgid='pgtrigger_insert_insert_98be8', referencing='REFERENCING NEW TABLE AS new_values ', table='billing_partner', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='watchedpartner',
            trigger=pgtrigger.compiler.Trigger(name='update_update', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD.* IS DISTINCT FROM NEW.*)', func='INSERT INTO "ivy_partnerhistory" ("created_at", "currency", "id", "language", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "rate_deck_id", "reply_to", "sender", "sender_name", "slug", "timezone") VALUES (NEW."created_at", NEW."currency", NEW."id", NEW."language", NEW."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'update\', NEW."id", NEW."rate_deck_id", NEW."reply_to", NEW."sender", NEW."sender_name", NEW."slug", NEW."timezone"); RETURN NULL;', hash='59458afc126223645de787c62d53f89765fe59a9', operation='UPDATE', pgid='pgtrigger_update_update_09619', table='billing_partner', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='watchedpartner',
            trigger=pgtrigger.compiler.Trigger(name='delete_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func='INSERT INTO "ivy_partnerhistory" ("created_at", "currency", "id", "language", "name", "pgh_context", "pgh_created_at", "pgh_label", "pgh_obj_id", "rate_deck_id", "reply_to", "sender", "sender_name", "slug", "timezone") VALUES (OLD."created_at", OLD."currency", OLD."id", OLD."language", OLD."name", COALESCE(NULLIF(CURRENT_SETTING(\'pghistory.context_metadata\', TRUE), \'\'), NULL)::JSONB, clock_timestamp(), \'delete\', OLD."id", OLD."rate_deck_id", OLD."reply_to", OLD."sender", OLD."sender_name", OLD."slug", OLD."timezone"); RETURN NULL;', hash='d24ce2813c91029e38db4eda79811117ac18f343', operation='DELETE', pgid='pgtrigger_delete_delete_0ff70', table='billing_partner', when='AFTER')),
        ),
    ]
