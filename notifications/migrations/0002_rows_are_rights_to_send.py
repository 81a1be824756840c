"""The log's row is the right to send: it can't be made twice, changed into another, taken out, or go a forbidden way."""

from django.db import migrations

LOG = """
CREATE SEQUENCE notifications_claim_token;

CREATE FUNCTION notifications_keep_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.key, OLD.kind, OLD.customer_id, OLD.alert_id, OLD.episode_id, OLD.errant_id, OLD.reminder_number,
        OLD.recipient_hash, OLD.message_id, OLD.created_at)
        IS DISTINCT FROM
        (NEW.key, NEW.kind, NEW.customer_id, NEW.alert_id, NEW.episode_id, NEW.errant_id, NEW.reminder_number,
        NEW.recipient_hash, NEW.message_id, NEW.created_at)
    THEN
        RAISE EXCEPTION 'notification %: what it is about never changes', OLD.key
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'notifications_stay_what_they_are';
    END IF;
    IF OLD.state <> NEW.state AND NOT (CASE OLD.state
        WHEN 'pending' THEN NEW.state IN ('claimed', 'failed', 'uncertain', 'held', 'suppressed')
        WHEN 'claimed' THEN NEW.state IN ('pending', 'sending', 'failed', 'uncertain', 'held', 'suppressed')
        WHEN 'sending' THEN NEW.state IN ('pending', 'sent', 'failed', 'uncertain')
        WHEN 'failed' THEN NEW.state IN ('pending', 'suppressed')
        WHEN 'held' THEN NEW.state IN ('pending', 'uncertain', 'suppressed')
        WHEN 'suppressed' THEN NEW.state = 'pending' AND OLD.because = 'covered'
        WHEN 'uncertain' THEN NEW.state IN ('sent', 'failed', 'suppressed')
            -- A second try needs an order, or the proof that the first was lost, which is an order too.
            OR (NEW.state = 'pending' AND NEW.order_id IS DISTINCT FROM OLD.order_id AND NEW.order_id IS NOT NULL)
        ELSE false
    END)
    THEN
        RAISE EXCEPTION 'notification %: from % to % is no way', OLD.key, OLD.state, NEW.state
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'notifications_go_no_other_ways';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER notifications_stay_what_they_are BEFORE UPDATE ON notifications_notificationlog
    FOR EACH ROW EXECUTE FUNCTION notifications_keep_log();
CREATE TRIGGER notifications_are_never_deleted BEFORE DELETE OR TRUNCATE ON notifications_notificationlog
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

NO_LOG = """
DROP TRIGGER notifications_are_never_deleted ON notifications_notificationlog;
DROP TRIGGER notifications_stay_what_they_are ON notifications_notificationlog;
DROP FUNCTION notifications_keep_log();
DROP SEQUENCE notifications_claim_token;
"""

CONTENT = """
CREATE FUNCTION notifications_keep_content() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.erased_at IS NOT NULL AND (NEW.recipient, NEW.sender, NEW.reply_to, NEW.subject, NEW.text, NEW.html)
        IS DISTINCT FROM ('', '', '', '', '', '')
    THEN
        RAISE EXCEPTION 'what was erased says nothing'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'frozen_mails_never_change';
    END IF;
    IF NEW.erased_at IS NULL AND OLD.frozen_at IS NOT NULL AND
        (OLD.recipient, OLD.sender, OLD.reply_to, OLD.subject, OLD.text, OLD.html, OLD.frozen_at)
        IS DISTINCT FROM
        (NEW.recipient, NEW.sender, NEW.reply_to, NEW.subject, NEW.text, NEW.html, NEW.frozen_at)
    THEN
        RAISE EXCEPTION 'what a mail says is frozen at the first point of no return'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'frozen_mails_never_change';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER frozen_mails_never_change BEFORE UPDATE ON notifications_notificationcontent
    FOR EACH ROW EXECUTE FUNCTION notifications_keep_content();
CREATE TRIGGER contents_are_never_deleted BEFORE DELETE OR TRUNCATE ON notifications_notificationcontent
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

NO_CONTENT = """
DROP TRIGGER contents_are_never_deleted ON notifications_notificationcontent;
DROP TRIGGER frozen_mails_never_change ON notifications_notificationcontent;
DROP FUNCTION notifications_keep_content();
"""

# An attempt may end once; one whose worker was not heard of may end late, and one that broke off may turn out accepted.
ATTEMPTS = """
CREATE FUNCTION notifications_keep_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.outcome NOT IN ('open', 'unknown') OR OLD.notification_id <> NEW.notification_id OR OLD.number <> NEW.number
    THEN
        RAISE EXCEPTION 'attempt % has ended', OLD.number
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'ended_attempts_never_change';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER ended_attempts_never_change BEFORE UPDATE ON notifications_deliveryattempt
    FOR EACH ROW EXECUTE FUNCTION notifications_keep_attempt();
CREATE TRIGGER attempts_are_never_deleted BEFORE DELETE OR TRUNCATE ON notifications_deliveryattempt
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER notification_history_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON notifications_notificationhistory
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER staff_orders_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON notifications_stafforder
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();
"""

NO_ATTEMPTS = """
DROP TRIGGER staff_orders_only_grow ON notifications_stafforder;
DROP TRIGGER notification_history_only_grows ON notifications_notificationhistory;
DROP TRIGGER attempts_are_never_deleted ON notifications_deliveryattempt;
DROP TRIGGER ended_attempts_never_change ON notifications_deliveryattempt;
DROP FUNCTION notifications_keep_attempt();
"""

# Which database this is. The timeline from the write position itself: the control file learns of a promotion only at
# the next checkpoint.
IDENTITY = """
CREATE VIEW notifications_serveridentity AS
SELECT (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
    substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) AS timeline
"""


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial"), ("billing", "0010_alerts_reach_people")]

    operations = [
        migrations.RunSQL(LOG, NO_LOG),
        migrations.RunSQL(CONTENT, NO_CONTENT),
        migrations.RunSQL(ATTEMPTS, NO_ATTEMPTS),
        migrations.RunSQL(IDENTITY, "DROP VIEW notifications_serveridentity"),
    ]
