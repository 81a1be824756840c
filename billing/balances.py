"""What a balance was at some time, from the ledger."""

from datetime import datetime
from decimal import Decimal

from django.db import connection

LOOKED_AT = 20_000


def balance_at(customer_id: int, at: datetime) -> Decimal | None:
    """The customer's balance at that moment, by when entries were posted; None where too much was posted since.

    From today's balance back, over the customer's newest LOOKED_AT entries at most, by index: quick for whatever was
    lately, however long the ledger is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH latest AS MATERIALIZED (
                SELECT amount, posted_at FROM billing_ledgerentry
                WHERE customer_id = %(customer)s ORDER BY id DESC LIMIT %(limit)s
            )
            SELECT b.balance - coalesce((SELECT sum(amount) FROM latest WHERE posted_at > %(at)s), 0)
            FROM billing_customerbalance b
            WHERE b.customer_id = %(customer)s
              AND ((SELECT count(*) FROM latest) < %(limit)s OR (SELECT min(posted_at) FROM latest) <= %(at)s)
            """,
            {"customer": customer_id, "at": at, "limit": LOOKED_AT},
        )
        row = cursor.fetchone()
    return row[0] if row else None
