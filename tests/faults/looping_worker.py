"""A worker as the long fault run has several: bills and tells customers again and again, until it is killed.

`ivy` does it as Ivy does. `flag` is the old way, kept as the contrast: whom it mailed it remembers in the Redis cache.
"""

import logging
import os
import sys
import time
from email.message import EmailMessage
from email.utils import make_msgid

import django


def main(way: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
    django.setup()
    logging.disable(logging.CRITICAL)
    from django.db import connection

    once = {"ivy": ivy, "flag": flag}[way]
    while True:
        try:
            once()
        except Exception:
            # Whatever a fault brings about: a worker goes on with a new connection, as the next task of a queue would.
            connection.close()
            time.sleep(0.3)
        time.sleep(0.05)


def ivy() -> None:
    from billing import cycle as billing_cycle
    from notifications import cycle

    billing_cycle.scheduled(by="worker")
    cycle.scheduled()


def flag() -> None:
    """Reads the flag, mails, sets the flag: reads that work and writes that fail make it mail again and again."""
    import smtplib

    from django.conf import settings
    from django.core.cache import caches
    from django.db import connection

    cache = caches["redis"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT cu.account, cu.email, b.balance < a.threshold FROM billing_customer cu"
            " JOIN billing_customerbalance b ON b.customer_id = cu.id"
            " JOIN billing_balancealert a ON a.customer_id = cu.id AND a.kind = 'low_balance' ORDER BY random()"
        )
        for account, address, is_low in cursor.fetchall():
            try:
                if not is_low:
                    cache.delete(account)
                elif not cache.get(account):
                    message = EmailMessage()
                    message["From"], message["To"] = "billing@quayside.example", address
                    message["Subject"], message["Message-ID"] = "Your balance is low", make_msgid(domain="example.com")
                    message.set_content(f"Account {account}\n")
                    with smtplib.SMTP(settings.EMAIL_HOST, settings.EMAIL_PORT, timeout=3) as server:
                        server.send_message(message)
                    cache.set(account, "told", None)
            except Exception:
                continue


if __name__ == "__main__":
    main(sys.argv[1])
