"""Every step of a hand-over writes into each index: none that another one begins with."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0007_apologies_of_a_recipient")]

    operations = [
        # mails_of_a_partner
        migrations.AlterField(
            model_name="notificationlog",
            name="partner",
            field=models.ForeignKey(
                db_index=False,
                help_text="Whose halts hold it back.",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.partner",
            ),
        ),
        # attempts_of_a_mail_are_numbered
        migrations.AlterField(
            model_name="deliveryattempt",
            name="notification",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="attempts",
                to="notifications.notificationlog",
            ),
        ),
    ]
