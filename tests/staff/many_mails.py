"""Bursts of mails, made by the database in a moment."""

from django.db import connection

from notifications import instance
from tests.factories import make_alert, make_customer, make_episode


def make_many(
    count: int,
    state: str,
    *,
    because: str = "",
    detail: str = "the breaker tripped",
    customers: int = 10,
    tag: str = "a",
) -> None:
    """So many mails in this state, of as many customers in turn who are below their threshold, of the last minutes.

    Sent ones went out in that order, a second apart.
    """
    instance.why_not_confirmed()  # a database that has mailed was confirmed
    falls = [make_episode(alert=make_alert(customer=make_customer(balance=5))).pk for _ in range(customers)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH fall AS (
                SELECT row_number() OVER (ORDER BY e.id) - 1 AS place, e.id AS episode, a.id AS alert, c.*
                FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
                JOIN billing_customer c ON c.id = a.customer_id WHERE e.id = ANY(%(falls)s)
            ), mail AS (
                INSERT INTO notifications_notificationlog (
                    key, kind, customer_id, partner_id, alert_id, episode_id, recipient_hash, message_id, state,
                    because, detail, reminder_number, is_errant, try_count, sending_at, sent_at
                )
                SELECT %(tag)s || ':' || g, 'low_balance', f.id, f.partner_id, f.alert, f.episode,
                    encode(sha256(convert_to(f.email, 'UTF8')), 'hex'), '<' || %(tag)s || g || '@mails.example>',
                    %(state)s, %(because)s, %(detail)s, 0, false, 0,
                    CASE WHEN %(state)s IN ('sent', 'uncertain') THEN now() - make_interval(secs => %(count)s - g) END,
                    CASE WHEN %(state)s = 'sent' THEN now() - make_interval(secs => %(count)s - g) END
                FROM generate_series(1, %(count)s) g JOIN fall f ON f.place = g %% %(customers)s ORDER BY g
                RETURNING id, customer_id
            )
            INSERT INTO notifications_notificationcontent (
                notification_id, recipient, sender, reply_to, subject, text, html
            )
            SELECT mail.id, fall.email, '', '', '', '', '' FROM mail JOIN fall ON fall.id = mail.customer_id
            """,
            {
                "falls": falls,
                "tag": tag,
                "state": state,
                "because": because,
                "detail": detail,
                "count": count,
                "customers": customers,
            },
        )
