"""The alerts that customers begin with."""

from collections.abc import Iterable

from django.db import connection


def give_defaults(customer_ids: Iterable[int]) -> int:
    """Give these customers the default alerts of their partner, in so far as they have none; how many were given.

    An amount in the partner's currency says nothing of customers in another one: they get none. To be called in the
    transaction that creates the customers, before `episodes.open_silently`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO billing_balancealert (
                customer_id, kind, threshold, rearm_margin, remind_every_days, remind_at_most, tells_restored, is_active
            )
            SELECT c.id, 'low_balance', d.threshold, d.rearm_margin, d.remind_every_days, d.remind_at_most,
                d.tells_restored, true
            FROM unnest(%s::bigint[]) AS newcomer (customer_id)
            JOIN billing_customer c ON c.id = newcomer.customer_id
            JOIN billing_partner p ON p.id = c.partner_id AND p.currency = c.currency
            JOIN billing_partneralert d ON d.partner_id = p.id
            WHERE NOT EXISTS (
                SELECT FROM billing_balancealert a WHERE a.customer_id = c.id AND a.kind = 'low_balance'
            )
            """,
            [list(customer_ids)],
        )
        return cursor.rowcount
