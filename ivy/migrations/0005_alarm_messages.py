"""An alarm says apart what is wrong, whom it affects and what to do; and what staff are owed to hear gets an outbox.

Words of alarms from before stay in `wrong`. What of them was not mailed yet is owed from now on.
"""

import datetime

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import Q

KEEP_WHAT_IS_OWED = """
UPDATE ivy_alarm SET since = raised_at, next_reminder_at = now() + interval '4 hours';
INSERT INTO ivy_alarmmessage (alarm_id, event, number, channel, created_at, tries, next_try_at, answer)
SELECT id, 'raised', 0, 'mail', raised_at, mail_tries, now(), ''
FROM ivy_alarm WHERE cleared_at IS NULL AND mailed_at IS NULL
UNION ALL
SELECT id, 'cleared', 0, 'mail', cleared_at, mail_tries, now(), ''
FROM ivy_alarm WHERE cleared_at IS NOT NULL AND mailed_at IS NOT NULL AND all_clear_mailed_at IS NULL;
SET CONSTRAINTS ALL IMMEDIATE;
"""

KEEP_WHAT_WAS_TOLD = """
UPDATE ivy_alarm SET
    mailed_at = (SELECT sent_at FROM ivy_alarmmessage
                 WHERE alarm_id = ivy_alarm.id AND event = 'raised' AND channel = 'mail'),
    all_clear_mailed_at = (SELECT sent_at FROM ivy_alarmmessage
                           WHERE alarm_id = ivy_alarm.id AND event = 'cleared' AND channel = 'mail');
"""


class Migration(migrations.Migration):
    dependencies = [("ivy", "0004_probes")]

    operations = [
        migrations.RenameField("alarm", "words", "wrong"),
        migrations.AlterField("alarm", "wrong", models.TextField(help_text="What is wrong, as it was found last.")),
        migrations.AlterField("alarm", "key", models.CharField(help_text="Names the trouble.", max_length=200)),
        migrations.AddField(
            "alarm", "affects", models.TextField(blank=True, db_default="", help_text="Whom it affects.")
        ),
        migrations.AddField("alarm", "todo", models.TextField(blank=True, db_default="", verbose_name="what to do")),
        migrations.AddField(
            "alarm",
            "since",
            models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="When the trouble began, as far as the data tell.",
            ),
        ),
        migrations.AlterField(
            "alarm",
            "seen_at",
            models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                help_text="When it was found so last.",
                verbose_name="last seen at",
            ),
        ),
        migrations.AddField(
            "alarm",
            "well_since",
            models.DateTimeField(help_text="When it was found well; empty while it is wrong.", null=True),
        ),
        migrations.AddField(
            "alarm",
            "flap_count",
            models.PositiveIntegerField(
                db_default=0, help_text="How often, within an hour each.", verbose_name="came back"
            ),
        ),
        migrations.AddField("alarm", "came_back_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "alarm", "reminder_count", models.PositiveIntegerField(db_default=0, verbose_name="reminders")
        ),
        migrations.AddField(
            "alarm",
            "next_reminder_at",
            models.DateTimeField(
                db_default=django.db.models.expressions.CombinedExpression(
                    django.db.models.functions.datetime.Now(), "+", models.Value(datetime.timedelta(hours=4))
                )
            ),
        ),
        migrations.AddIndex("alarm", models.Index(fields=["key", "-cleared_at"], name="alarms_by_key")),
        migrations.AddIndex(
            "alarm", models.Index(condition=Q(("cleared_at__isnull", True)), fields=["since"], name="standing_alarms")
        ),
        migrations.CreateModel(
            name="AlarmMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "event",
                    models.CharField(
                        choices=[("raised", "ALARM"), ("reminder", "STILL WRONG"), ("cleared", "ALL CLEAR")],
                        max_length=8,
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        db_default=0, help_text="Which reminder; 0 for what there is only one of."
                    ),
                ),
                ("channel", models.CharField(choices=[("mail", "Mail"), ("webhook", "Webhook")], max_length=7)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("tries", models.PositiveIntegerField(db_default=0, help_text="Counted before each try.")),
                ("tried_at", models.DateTimeField(null=True)),
                ("next_try_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("answer", models.TextField(blank=True, db_default="", help_text="What came of the last try.")),
                (
                    "alarm",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="messages", to="ivy.alarm"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=Q(("sent_at__isnull", True)), fields=["channel", "next_try_at"], name="messages_owed"
                    ),
                    models.Index(fields=["channel", "sent_at"], name="messages_sent"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("alarm", "event", "number", "channel"), name="one_message_per_alarm_event_and_channel"
                    )
                ],
            },
        ),
        migrations.RunSQL(KEEP_WHAT_IS_OWED, reverse_sql=KEEP_WHAT_WAS_TOLD),
        migrations.RemoveField("alarm", "mail_tries"),
        migrations.RemoveField("alarm", "mailed_at"),
        migrations.RemoveField("alarm", "all_clear_mailed_at"),
    ]
