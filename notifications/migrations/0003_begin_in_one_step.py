"""The point of no return as one statement, and few indexes to write into on the way there.

The mails of one customer are found without looking at all of a day's.
"""

import django.db.models.deletion
from django.db import migrations, models

import billing.models.fields

# The rules of the point of no return stand here, and nowhere else; `notifications.sending` puts its verdicts into words.
# Each statement of a volatile function sees what was committed before *it* began, as statements of their own would: so
# the switch is read after the barrier's locks were taken, and the fall and the mail after the fall was locked.
BEGIN = """
CREATE FUNCTION notifications_begin_hand_over(
    mail bigint, claim_token bigint, ordered_by bigint, partner bigint, fall bigint,
    needs_the_fall boolean, tells boolean, goes_to_everyone boolean,
    barrier integer, patience text, lease_seconds double precision,
    worker_host text, worker_pid bigint, worker_started text, server_name text, journal_accepted boolean,
    is_new boolean, its_sender text, its_reply_to text, its_subject text, its_text text, its_html text,
    written_at timestamptz,
    OUT verdict text, OUT number bigint, OUT words text
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seen record;
    moment timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the point of no return would read a stale switch: it needs READ COMMITTED';
    END IF;

    -- From left to right: the locks are waited for within the time that was set before them. The commit outlives a
    -- crash of the server, whatever that is set to.
    PERFORM set_config('lock_timeout', patience, true), set_config('synchronous_commit', 'on', true),
        pg_advisory_xact_lock_shared(barrier, 0), pg_advisory_xact_lock_shared(barrier, partner::integer);
    SELECT 'halted', id INTO verdict, number FROM billing_processswitch
    WHERE process = 'notifications' AND is_halted AND (partner_id IS NULL OR partner_id = partner)
    ORDER BY partner_id DESC NULLS FIRST LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;

    -- The fall before the mail, as everybody locks them. The balance is only read: locked, billing would have to leave
    -- the customer out.
    PERFORM FROM billing_episode WHERE id = fall FOR UPDATE;
    SELECT
        n.state = 'claimed' AND n.token = claim_token AND n.order_id IS NOT DISTINCT FROM ordered_by AS is_mine,
        e.closed_at IS NULL AND b.balance < a.threshold AS is_true_still,
        cu.status,
        (SELECT count(*) FROM notifications_deliveryattempt t WHERE t.notification_id = n.id) AS attempts,
        EXISTS (
            SELECT FROM notifications_deliveryattempt t
            WHERE t.notification_id = n.id AND t.outcome IN ('open', 'unknown', 'accepted')
              AND t.began_at > coalesce((SELECT o.at FROM notifications_stafforder o WHERE o.id = n.order_id),
                                        '-infinity')
        ) AS may_have_gone_out,
        EXISTS (
            SELECT FROM notifications_confirmedinstance c JOIN notifications_serveridentity s
                ON (s.system_identifier, s.database_oid, s.timeline) = (c.system_identifier, c.database_oid, c.timeline)
        ) AS is_confirmed,
        EXISTS (SELECT FROM notifications_breakertrip WHERE reset_at IS NULL) AS is_tripped,
        (SELECT count(*) FROM notifications_notificationlog same
         WHERE same.customer_id = n.customer_id AND same.kind = n.kind AND same.recipient_hash = n.recipient_hash
           AND same.sending_at > clock_timestamp() - interval '1 day' AND same.id <> n.id
           AND same.order_id IS NULL) AS mails_today,
        (SELECT mails_a_recipient_a_day FROM notifications_breakerlimits WHERE id = 1) AS mails_allowed
    INTO seen
    FROM notifications_notificationlog n
    JOIN billing_customer cu ON cu.id = n.customer_id
    JOIN billing_customerbalance b ON b.customer_id = cu.id
    LEFT JOIN billing_episode e ON e.id = n.episode_id
    LEFT JOIN billing_balancealert a ON a.id = e.alert_id
    WHERE n.id = mail;

    -- Whose it is comes first: to who was replaced, the mail that its successor sent looks like one too many.
    verdict := CASE
        WHEN seen.is_mine IS NOT TRUE THEN 'not mine'
        WHEN NOT seen.is_confirmed THEN 'copied'
        WHEN seen.is_tripped AND ordered_by IS NULL THEN 'tripped'
        WHEN seen.may_have_gone_out THEN 'twice'
        WHEN ordered_by IS NULL AND seen.mails_today >= seen.mails_allowed THEN 'too many'
        WHEN seen.status <> 'active' AND NOT goes_to_everyone THEN 'inactive'
        WHEN needs_the_fall AND seen.is_true_still IS NOT TRUE THEN 'recovered'
    END;
    IF verdict IS NOT NULL THEN
        number := seen.mails_today;
        words := seen.status;
        RETURN;
    END IF;

    moment := clock_timestamp();  -- the statement's own time is from before the locks
    UPDATE notifications_notificationlog SET
        state = 'sending', sending_at = moment, because = '', detail = '',
        lease_until = moment + make_interval(secs => lease_seconds)
    WHERE id = mail AND token = claim_token AND state = 'claimed' AND lease_until > moment
      AND order_id IS NOT DISTINCT FROM ordered_by;
    IF NOT FOUND THEN
        verdict := 'not mine';
        RETURN;
    END IF;
    IF is_new THEN
        UPDATE notifications_notificationcontent SET
            sender = its_sender, reply_to = its_reply_to, subject = its_subject, text = its_text, html = its_html,
            frozen_at = written_at
        WHERE notification_id = mail AND frozen_at IS NULL;
    END IF;
    IF tells THEN
        -- Its own fall, and those of the mails that it covers: seldom any, and then worth a statement of their own.
        UPDATE billing_episode SET told_at = moment WHERE id = fall AND closed_at IS NULL AND told_at IS NULL;
        IF EXISTS (SELECT FROM notifications_notificationlog WHERE covered_by_id = mail AND because = 'covered') THEN
            UPDATE billing_episode SET told_at = moment
            WHERE closed_at IS NULL AND told_at IS NULL AND id IN (
                SELECT episode_id FROM notifications_notificationlog
                WHERE covered_by_id = mail AND because = 'covered'
            );
        END IF;
    END IF;
    INSERT INTO notifications_deliveryattempt (
        notification_id, number, token, host, pid, process_started, server, began_at, phase, outcome, words,
        has_journal, provider_id
    ) VALUES (
        mail, seen.attempts + 1, claim_token, worker_host, worker_pid, worker_started, server_name, moment, 'body',
        'open', '', journal_accepted, ''
    ) RETURNING id INTO number;
    verdict := 'begun';
END
$$;
"""

NO_BEGIN = """
DROP FUNCTION notifications_begin_hand_over(
    bigint, bigint, bigint, bigint, bigint, boolean, boolean, boolean, integer, text, double precision,
    text, bigint, text, text, boolean, boolean, text, text, text, text, text, timestamptz
)
"""


# The server's yes. It may wait for the disk as long as the next point of no return does, which writes out everything that
# was committed before it: so at no moment are there two mails of a worker that a crash of the server could leave open.
SETTLE = """
CREATE FUNCTION notifications_settle_sent(
    mail bigint, attempt bigint, claim_token bigint, its_code integer, its_words text, its_provider_id text,
    another_follows boolean
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF another_follows THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    UPDATE notifications_notificationlog SET
        state = 'sent', because = '', detail = its_words, sent_at = statement_timestamp(), try_count = try_count + 1,
        lease_until = NULL
    WHERE id = mail AND token = claim_token AND state IN ('sending', 'uncertain');
    UPDATE notifications_deliveryattempt SET
        ended_at = statement_timestamp(), outcome = 'accepted', phase = 'reply', code = its_code, words = its_words,
        provider_id = its_provider_id
    WHERE id = attempt AND outcome IN ('open', 'unknown');
END
$$;
"""

NO_SETTLE = "DROP FUNCTION notifications_settle_sent(bigint, bigint, bigint, integer, text, text, boolean)"

# What a mail says is compressed when it is frozen, which takes a good part of that step by PostgreSQL's own method.
QUICKLY = """
DO $$
BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        ALTER TABLE notifications_notificationcontent
            ALTER COLUMN text SET COMPRESSION lz4, ALTER COLUMN html SET COMPRESSION lz4;
    END IF;
END
$$;
"""
AS_EVER = """
ALTER TABLE notifications_notificationcontent
    ALTER COLUMN text SET COMPRESSION default, ALTER COLUMN html SET COMPRESSION default
"""


def is_set(field):
    return models.Q(**{f"{field}__isnull": False})


def unindexed(name, to, related_name, **options):
    """A reference of the log without an index of its own."""
    field = models.ForeignKey(
        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name=related_name, to=to, **options
    )
    return migrations.AlterField(model_name="notificationlog", name=name, field=field)


class Migration(migrations.Migration):
    dependencies = [("notifications", "0002_rows_are_rights_to_send"), ("billing", "0010_alerts_reach_people")]

    operations = [
        migrations.RunSQL(BEGIN, NO_BEGIN),
        migrations.RunSQL(SETTLE, NO_SETTLE),
        migrations.RunSQL(QUICKLY, AS_EVER),
        *(
            migrations.AddIndex(model_name="notificationlog", index=index)
            for index in (
                models.Index(models.F("customer"), models.F("sending_at"), name="mails_of_a_customer"),
                models.Index(models.F("errant"), condition=is_set("errant"), name="apologies_by_mail"),
                models.Index(models.F("order"), condition=is_set("order"), name="mails_by_order"),
            )
        ),
        unindexed("customer", "billing.customer", "notifications"),
        unindexed(
            "errant", "notifications.notificationlog", "apologies", null=True, help_text="What an apology is for."
        ),
        unindexed("covered_by", "notifications.notificationlog", "covers", null=True),
        unindexed(
            "order", "notifications.stafforder", "notifications", null=True, help_text="Exempts it from the breaker."
        ),
        # As constraints, they have no second index for patterns.
        migrations.AddConstraint(
            model_name="notificationlog", constraint=models.UniqueConstraint(fields=["key"], name="one_mail_per_key")
        ),
        migrations.AddConstraint(
            model_name="notificationlog",
            constraint=models.UniqueConstraint(fields=["message_id"], name="one_mail_per_message_id"),
        ),
        migrations.AlterField(
            model_name="notificationlog", name="key", field=billing.models.fields.KeyField(db_collation="C")
        ),
        migrations.AlterField(
            model_name="notificationlog",
            name="message_id",
            field=models.TextField(help_text="Derived from the key: every attempt carries the same one."),
        ),
    ]
