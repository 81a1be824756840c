"""What must always hold on the notification side: each rule is one query for what breaks it."""

from billing.reconcile import Rule

RULES = [
    Rule(
        "every_fall_is_told_of_or_says_why_not",
        """
        SELECT cu.account, 'the fall of ' || e.opened_at || ' was taken up, and nobody is owed a mail of it'
        FROM billing_episode e JOIN billing_balancealert a ON a.id = e.alert_id
        JOIN billing_customer cu ON cu.id = a.customer_id
        WHERE e.taken_up_at IS NOT NULL
          AND NOT EXISTS (
              SELECT FROM notifications_notificationlog n
              WHERE n.episode_id = e.id AND n.kind IN ('low_balance', 'exhausted')
          )
        """,
    ),
    Rule(
        "what_tells_of_another_fall_is_sent_or_goes_on",
        """
        SELECT n.key, 'told of by ' || other.key || ', which is ' || other.state
        FROM notifications_notificationlog n
        JOIN notifications_notificationlog other ON other.id = n.covered_by_id
        JOIN billing_episode e ON e.id = n.episode_id
        JOIN billing_balancealert a ON a.id = e.alert_id
        JOIN billing_customerbalance b ON b.customer_id = a.customer_id
        WHERE n.because = 'covered' AND n.state = 'suppressed' AND e.closed_at IS NULL
          AND b.balance < a.threshold
          AND (other.state = 'failed' OR (other.state = 'suppressed' AND other.because = 'recovered'))
        """,
    ),
    Rule(
        "sent_mails_were_accepted_or_somebody_said_so",
        """
        SELECT n.key, 'sent, and no attempt was accepted' FROM notifications_notificationlog n
        WHERE n.state = 'sent'
          AND NOT EXISTS (
              SELECT FROM notifications_deliveryattempt t WHERE t.notification_id = n.id AND t.outcome = 'accepted'
          )
          AND NOT EXISTS (
              SELECT FROM notifications_notificationhistory h WHERE h.notification_id = n.id AND h.to_state = 'sent'
          )
        """,
    ),
    Rule(
        "no_mail_was_handed_over_twice_without_an_order",
        """
        SELECT n.key, 'attempts ' || earlier.number || ' and ' || later.number || ' may both have been delivered'
        FROM notifications_notificationlog n
        JOIN notifications_deliveryattempt earlier ON earlier.notification_id = n.id
            AND earlier.outcome IN ('open', 'unknown', 'accepted')
        JOIN notifications_deliveryattempt later ON later.notification_id = n.id AND later.number > earlier.number
            AND later.outcome IN ('open', 'unknown', 'accepted')
        WHERE NOT EXISTS (
            SELECT FROM notifications_notificationhistory h
            WHERE h.notification_id = n.id AND h.order_id IS NOT NULL
              AND h.at BETWEEN earlier.began_at AND later.began_at
        )
        """,
    ),
    Rule(
        "no_lease_is_long_over",
        """
        SELECT key, state || ' since its lease ended at ' || lease_until FROM notifications_notificationlog
        WHERE state IN ('claimed', 'sending') AND lease_until < now() - interval '15 minutes'
        """,
    ),
    Rule(
        "every_mail_has_a_recipient_or_says_why_not",
        """
        SELECT n.key, 'nothing is known of whom it goes to' FROM notifications_notificationlog n
        WHERE NOT EXISTS (SELECT FROM notifications_notificationcontent c WHERE c.notification_id = n.id)
        """,
    ),
]
