"""The ways a mail can take: SMTP, phase by phase, or any other Django e-mail backend, in one step."""

from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings
from django.core.mail import get_connection

from notifications import journal, rendering
from notifications.models import NotificationLog, Phase
from notifications.smtp import Broken, HandOverFailed, MailServer, Refused, ServerSettings, plain

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Taken:
    """The server or provider took the mail, and what it said. `provider_id`: its own number of the message."""

    code: int | None = None
    words: str = ""
    provider_id: str = ""


class TransportFailed(Exception):
    """A mail was not taken, or nobody knows.

    `is_permanent`: refused for good. `is_provably_undelivered`: no copy can have got through. `is_servers_fault`: the
    next mail would fare no better.
    """

    def __init__(
        self,
        phase: Phase,
        words: str,
        *,
        code: int | None = None,
        is_permanent: bool = False,
        is_provably_undelivered: bool = False,
        is_servers_fault: bool = False,
    ) -> None:
        self.phase = phase
        self.words = words
        self.code = code
        self.is_permanent = is_permanent
        self.is_provably_undelivered = is_provably_undelivered or is_permanent
        self.is_servers_fault = is_servers_fault
        super().__init__(f"{phase.value}: {f'{code} ' if code else ''}{words}")


class Transport(Protocol):
    """One worker's way to hand mails over. `longest_seconds`: what that may take after the point of no return."""

    name: str
    longest_seconds: float
    has_journal: bool

    def offer(self, log: NotificationLog) -> None:
        """Do all that can be done before the point of no return. Raises TransportFailed: nothing was delivered."""

    def abandon(self) -> None:
        """Do not hand over what was offered; it is not delivered."""

    def hand_over(self, log: NotificationLog) -> Taken:
        """Give the mail. To be called once, after `offer` and the commit. Raises TransportFailed."""

    def close(self) -> None:
        """Leave politely. Never raises."""


def transport() -> Transport:
    """The way that the settings name."""
    if settings.EMAIL_BACKEND == SMTP_BACKEND:
        return Smtp(smtp_settings())
    return Plain(settings.EMAIL_BACKEND)


def smtp_settings() -> ServerSettings:
    """The mail server of EMAIL_URL."""
    return ServerSettings(
        host=settings.EMAIL_HOST,
        port=settings.EMAIL_PORT,
        user=settings.EMAIL_HOST_USER,
        password=settings.EMAIL_HOST_PASSWORD,
        uses_starttls=settings.EMAIL_USE_TLS,
        uses_tls=settings.EMAIL_USE_SSL,
        seconds=settings.MAIL_SECONDS,
    )


class Smtp:
    """SMTP: the one way that tells before the point of no return whether the server would take the mail."""

    def __init__(self, server: ServerSettings) -> None:
        self.name = server.name
        self.longest_seconds = server.seconds
        self.has_journal = False
        self._server = MailServer(server)
        self._journal = journal.address()

    def offer(self, log: NotificationLog) -> None:
        # `render` has made sure of both addresses before they were frozen.
        sender = rendering.address_of(log.content.sender)
        recipient = rendering.ascii_address(log.content.recipient)
        try:
            self.has_journal = self._server.offer(sender, recipient, journal=self._journal)
        except HandOverFailed as failed:
            raise _failure(failed, is_provably_undelivered=True) from failed

    def abandon(self) -> None:
        self._server.hang_up()

    def hand_over(self, log: NotificationLog) -> Taken:
        try:
            reply = self._server.hand_over(rendering.message_of(log))
        except HandOverFailed as failed:
            raise _failure(failed, is_provably_undelivered=isinstance(failed, Refused)) from failed
        return Taken(reply.code, reply.words)

    def close(self) -> None:
        self._server.say_goodbye()


def _failure(failed: HandOverFailed, *, is_provably_undelivered: bool) -> TransportFailed:
    return TransportFailed(
        failed.phase,
        failed.words,
        code=failed.code,
        is_permanent=isinstance(failed, Refused) and failed.is_permanent,
        is_provably_undelivered=is_provably_undelivered,
        is_servers_fault=isinstance(failed, Broken),
    )


class Plain:
    """Any other backend: one call, and only what a provider's answer proves counts as not delivered."""

    longest_seconds = 120.0
    has_journal = False

    def __init__(self, backend: str) -> None:
        self.name = backend
        self._connection: Any = get_connection(backend)

    def offer(self, log: NotificationLog) -> None:
        """Nothing can be found out beforehand."""

    def abandon(self) -> None:
        """Nothing was offered."""

    def hand_over(self, log: NotificationLog) -> Taken:
        mail = rendering.for_backend(log, log.content)
        try:
            count = self._connection.send_messages([mail])
        except Exception as error:
            raise _provider_failure(error) from error
        if not count:
            raise TransportFailed(Phase.BODY, "the backend took nothing, and did not say why")
        status: Any = getattr(mail, "anymail_status", None)
        return Taken(None, "taken by the backend", (status and status.message_id) or "")

    def close(self) -> None:
        self._connection.close()


def _provider_failure(error: Exception) -> TransportFailed:
    """Read a provider's answer (Anymail's exceptions carry its status code); anything else proves nothing."""
    words = plain(str(error)) or type(error).__name__
    code = getattr(error, "status_code", None)
    if isinstance(error, ConnectionRefusedError):
        return TransportFailed(Phase.CONNECT, words, is_provably_undelivered=True, is_servers_fault=True)
    if type(error).__name__ in {"AnymailRecipientsRefused", "AnymailInvalidAddress", "AnymailSerializationError"}:
        return TransportFailed(Phase.REPLY, words, code=code, is_permanent=True)
    if code == TOO_MANY_REQUESTS or code in {401, 403}:
        return TransportFailed(Phase.REPLY, words, code=code, is_provably_undelivered=True, is_servers_fault=True)
    if isinstance(code, int) and 400 <= code < 500 and code != 408:
        return TransportFailed(Phase.REPLY, words, code=code, is_permanent=True)
    return TransportFailed(Phase.REPLY, words, code=code if isinstance(code, int) else None)
