"""Nobody changes what was noted of changes; and what there is already is noted as it is found, as the first "before".

The same rule as for the ledger, by the same function (billing 0004).
"""

from django.db import migrations

HISTORIES = (
    "partner", "customer", "callidentity", "balancealert", "alertrecipient", "partneralert", "billingitem",
    "itempricechange", "itempause", "ratedeck", "rate", "source", "breakerlimits", "user", "usergroups",
    "useruserpermissions", "group",
)  # fmt: skip

FOUND = "found"


def note_what_is_there(apps, schema_editor):
    """One statement a table, in the database: no row comes here."""
    for name in HISTORIES:
        history = apps.get_model("ivy", f"{name}history")
        watched = history._meta.get_field("pgh_obj").related_model
        columns = [
            field.column
            for field in history._meta.concrete_fields
            if not field.name.startswith("pgh_")
        ]
        listed = ", ".join(f'"{column}"' for column in columns)
        schema_editor.execute(
            f'INSERT INTO "{history._meta.db_table}" (pgh_created_at, pgh_label, pgh_obj_id, {listed})'
            f" SELECT now(), '{FOUND}', \"{watched._meta.pk.column}\", {listed} FROM \"{watched._meta.db_table}\""
        )


def forget(apps, schema_editor):
    """The tables themselves go next."""


class Migration(migrations.Migration):

    dependencies = [
        ('ivy', '0010_histories'),
    ]

    operations = [
        migrations.RunPython(note_what_is_there, forget),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {name}_history_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ivy_{name}history"
                " FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change()",
                f"DROP TRIGGER {name}_history_only_grows ON ivy_{name}history",
            )
            for name in HISTORIES
        ),
    ]
