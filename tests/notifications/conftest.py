"""A mail server of our own on loopback, which takes mails, or answers as a test tells it to."""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pytest_django import Settings

OK = "250 2.0.0 taken"
BROKEN_OFF = ""
"""What `on_body` answers to take a mail and break off without an answer: nobody knows then that it arrived."""


@dataclass
class Server:
    """A running mail server. `on_recipient` and `on_body` answer for it: an address, a message, to a reply."""

    port: int = 0
    on_recipient: Callable[[str], str] = lambda _address: "250 OK"
    on_body: Callable[[EmailMessage], str] = lambda _message: OK
    mails: list[EmailMessage] = field(default_factory=list)

    @property
    def recipients(self) -> list[str]:
        """Whom the mails went to that it took, in order."""
        return [str(mail["To"]) for mail in self.mails]

    # What aiosmtpd calls.

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.on_recipient(address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        message = cast("EmailMessage", message_from_bytes(cast("bytes", envelope.content), policy=policy.default))
        answer = self.on_body(message)
        if answer.startswith("2") or answer == BROKEN_OFF:
            self.mails.append(message)
        if answer == BROKEN_OFF:
            server.transport.abort()
        return answer


class AtAFreePort(Controller):
    """Listens where the system chose: a port that is only looked up is taken by another connection now and then."""

    def __init__(self, handler: object, **options: Any) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        host, port = self._listening.getsockname()
        super().__init__(handler, hostname=host, port=port, ready_timeout=60, **options)

    def _create_server(self) -> Coroutine[Any, Any, asyncio.Server]:
        return self.loop.create_server(self._factory_invoker, sock=self._listening)


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[Server]:
    """A mail server that Ivy's mails go to during the test."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells of every command
    server = Server()
    controller = AtAFreePort(server)
    server.port = controller.port
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    try:
        yield server
    finally:
        controller.stop()


def free_port() -> int:
    """A port of loopback that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
