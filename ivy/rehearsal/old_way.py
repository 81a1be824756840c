"""How it was done in 2019: whom it has mailed, the billing remembers in a cache."""

import smtplib
from email.message import EmailMessage
from email.utils import make_msgid

import redis


class OldWay:
    """Looks for a flag, mails, sets the flag. `failures`: what it met, and swallowed."""

    def __init__(self, redis_url: str, mail_port: int) -> None:
        self._cache = redis.Redis.from_url(redis_url, socket_timeout=2)
        self._mail_port = mail_port
        self.failures: list[str] = []

    def one_pass(self, addresses: list[str]) -> None:
        """Mail everybody who is low and was not mailed yet, as far as the cache remembers."""
        for address in addresses:
            if self._cache.get(f"warned:{address}"):
                continue
            self._mail(address)
            try:
                self._cache.set(f"warned:{address}", "yes")
            except redis.RedisError as error:
                self.failures.append(str(error))

    def _mail(self, address: str) -> None:
        message = EmailMessage()
        message["From"], message["To"] = "billing@quayside.example", address
        message["Subject"], message["Message-ID"] = "Your balance is low", make_msgid(domain="quayside.example")
        message.set_content("Your balance is low. Please pay.\n")
        with smtplib.SMTP("127.0.0.1", self._mail_port, timeout=5) as server:
            server.send_message(message)
