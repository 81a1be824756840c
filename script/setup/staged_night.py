"""Stages a night in the demo world, for pictures: notifications halted, a burst held, and mails nobody knows of.

A colleague has sent some of those again, and they were taken: their recipients have them twice.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

BURST = """
WITH customer AS (
    SELECT c.*, a.id AS alert, row_number() OVER (ORDER BY c.id) - 1 AS place, count(*) OVER () AS customers
    FROM billing_customer c JOIN billing_balancealert a ON a.customer_id = c.id AND a.kind = 'low_balance'
    WHERE c.email <> '' AND c.status = 'active'
), mail AS (
    INSERT INTO notifications_notificationlog (
        key, kind, customer_id, partner_id, alert_id, recipient_hash, message_id, state, because, detail,
        reminder_number, is_errant, try_count, created_at, sending_at, sent_at
    )
    SELECT 'staged:' || g, 'low_balance', c.id, c.partner_id, c.alert,
        encode(sha256(convert_to(c.email, 'UTF8')), 'hex'), '<staged-' || g || '@ivy.example>', s.state, s.because,
        s.detail, 0, false, 0, now() - interval '50 minutes' + g * interval '1 second',
        CASE WHEN s.state <> 'held' THEN now() - interval '40 minutes' + g * interval '1 second' END,
        CASE WHEN s.state = 'sent' THEN now() - interval '40 minutes' + g * interval '1 second' END
    FROM generate_series(1, 400) g
    CROSS JOIN LATERAL (
        SELECT * FROM (VALUES
            (1, 90, 'sent', '', 'the mail server took it'),
            (91, 102, 'uncertain', 'broke_off', 'the connection broke after the body'),
            (103, 400, 'held', 'breaker', 'the breaker tripped: more than 50 customers in one pass')
        ) AS s (first, last, state, because, detail) WHERE g BETWEEN first AND last
    ) s
    JOIN customer c ON c.place = g %% c.customers
    RETURNING id, customer_id, state, created_at
), tried AS (
    INSERT INTO notifications_deliveryattempt (
        notification_id, number, token, host, pid, process_started, server, began_at, ended_at, phase, outcome, words,
        has_journal, provider_id
    )
    SELECT m.id, 1, 1, 'alpha', 1, '1', 'mail.ivy.example:587', m.created_at + interval '10 minutes',
        m.created_at + interval '10 minutes 31 seconds', 'reply', 'unknown',
        'no answer within 30 seconds after the body', false, ''
    FROM mail m WHERE m.state = 'uncertain'
)
INSERT INTO notifications_notificationcontent
    (notification_id, recipient, sender, reply_to, subject, text, html, frozen_at)
SELECT m.id, c.email, 'billing@ivy.example', 'help@ivy.example', 'Low balance on account ' || c.account,
    CASE WHEN m.state = 'held' THEN '' ELSE 'Your balance has fallen below your threshold. Please top up.' END,
    CASE WHEN m.state = 'held' THEN '' ELSE
        '<h2>Low balance</h2><p>Your balance has fallen below your threshold. Please top up.</p>' END,
    CASE WHEN m.state = 'held' THEN NULL ELSE now() END
FROM mail m JOIN billing_customer c ON c.id = m.customer_id
"""

AGAIN = """
WITH again AS (
    SELECT id, sending_at + interval '20 minutes' AS at FROM notifications_notificationlog
    WHERE order_id = (SELECT max(id) FROM notifications_stafforder WHERE verb = 'resend')
), tried AS (
    INSERT INTO notifications_deliveryattempt (
        notification_id, number, token, host, pid, process_started, server, began_at, ended_at, phase, outcome, words,
        has_journal, provider_id
    )
    SELECT id, 2, 2, 'alpha', 1, '1', 'mail.ivy.example:587', at, at + interval '1 second', 'reply', 'accepted',
        'taken', false, ''
    FROM again
)
UPDATE notifications_notificationlog n SET state = %s, token = 2, lease_until = now() + interval '1 minute',
    sending_at = again.at, sent_at = again.at, detail = 'the mail server took it'
FROM again WHERE again.id = n.id
"""
AGAIN_STEP = """
UPDATE notifications_notificationlog SET state = %s
WHERE order_id = (SELECT max(id) FROM notifications_stafforder WHERE verb = 'resend')
"""
SENT_AGAIN = 4


def main() -> None:
    """Do it once, in a world that was loaded and billed a moment ago."""
    sys.path.insert(0, str(CHECKOUT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")

    import django
    from django.db import connection

    django.setup()

    from billing import halting
    from billing.models import Process
    from notifications import instance, reviewing
    from notifications.models import NotificationLog, State, Verb

    instance.why_not_confirmed()  # a database that mails was confirmed
    with connection.cursor() as cursor:
        cursor.execute(BURST, [])
    uncertain = NotificationLog.objects.filter(state=State.UNCERTAIN).order_by("pk").values_list("key", flat=True)
    reviewing.review(
        Verb.RESEND,
        list(uncertain[:SENT_AGAIN]),
        reason="Customers on the phone say no mail came.",
        by="bob.evening@ivy.example",
    )
    with connection.cursor() as cursor:
        for state in ("claimed", "sending", "sent"):
            cursor.execute(AGAIN if state == "claimed" else AGAIN_STEP, [state])
    halting.halt(Process.NOTIFICATIONS, reason="Customers call: they got two mails.", by="night.shift@ivy.example")


if __name__ == "__main__":
    main()
