"""The old way, kept as the contrast: whom it has told, the sender remembers in the cache.

get/set    looks for a flag, mails, sets the flag; what the cache raises is logged, and the next customer comes
ignoring   the same, with a cache that swallows its exceptions: not a word anywhere
add        `if cache.add(flag): mail`, with exceptions swallowed, and a later look whether it was taken
"""

import logging
import smtplib
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any

from django.conf import settings
from django.db import connection
from django_redis.cache import RedisCache

logger = logging.getLogger(__name__)

VARIANTS = ("get/set", "ignoring", "add")
SECONDS_A_MAIL = 3.0


class FlaggedSender:
    """One worker's sender. May be killed at any point, and then tells again what it had not flagged yet."""

    def __init__(self, variant: str) -> None:
        assert variant in VARIANTS, variant
        self._variant = variant
        configured: dict[str, Any] = settings.CACHES["redis"]
        options = dict(configured["OPTIONS"])
        if variant != "get/set":
            options["IGNORE_" + "EXCEPTIONS"] = True
        self._flags = RedisCache(configured["LOCATION"], {"OPTIONS": options, "KEY_PREFIX": "old"})

    def one_pass(self) -> None:
        """Mail everybody who is below a threshold and carries no flag; take the flag from who is not."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT cu.account, coalesce(r.email, cu.email), a.threshold, b.balance
                FROM billing_customer cu
                JOIN billing_customerbalance b ON b.customer_id = cu.id
                JOIN billing_balancealert a ON a.customer_id = cu.id AND a.kind = 'low_balance'
                LEFT JOIN billing_alertrecipient r ON r.alert_id = a.id ORDER BY random()
                """
            )
            rows = cursor.fetchall()
        for account, address, threshold, balance in rows:
            flag = f"told:{account}:{threshold}:{address}"
            try:
                if balance >= threshold:
                    self._flags.delete(flag)
                else:
                    self._tell(flag, account, address, threshold, balance)
            except Exception as error:  # noqa: BLE001 - as it was: the next customer must not suffer
                logger.warning("%s: %s", account, error)

    def _tell(self, flag: str, *what: Any) -> None:
        if self._variant == "add":
            # None, from a cache that swallowed an exception, is not False: better twice than never.
            if self._flags.add(flag, "yes", timeout=None) is not False:
                self._mail(*what)
        elif not self._flags.get(flag):
            self._mail(*what)
            self._flags.set(flag, "yes", timeout=None)

    def _mail(self, account: str, address: str, threshold: Any, balance: Any) -> None:
        message = EmailMessage()
        message["From"], message["To"] = "billing@quayside.example", address
        message["Subject"], message["Message-ID"] = "Your balance is low", make_msgid(domain="quayside.example")
        message.set_content(f"Account {account}: €{balance:.2f}, below €{threshold:.2f}.\n")
        with smtplib.SMTP(settings.EMAIL_HOST, settings.EMAIL_PORT, timeout=SECONDS_A_MAIL) as server:
            server.send_message(message)
