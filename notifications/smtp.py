"""A mail server, spoken to phase by phase, so that a failure tells whether the mail may have been delivered.

`offer` goes up to the server's 354, all of it provably no delivery; `hand_over` then gives the body and waits for the
answer. One deadline covers a whole conversation: a socket's own time-out starts anew with each byte that drips.

Where the server offers it (RFC 2920, PIPELINING), MAIL, RCPT and DATA go out at once, and are answered one by one: the
body still waits for the 354 and for whatever the caller does before `hand_over`.

Failures are of two sorts: `Refused`, the server said no, and `Broken`, the connection or the server is of no use. Both
tell the phase. The connection is closed then, save after a refused recipient or message, when it can be used on.
"""

import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

from notifications.models import Phase

PERMANENT = 500
LONGEST_REPLY_LINE = 8192
YES = {250, 251}
IDLE_SECONDS = 20.0  # a server that was not spoken to for longer may be about to hang up


@dataclass(frozen=True)
class ServerSettings:
    """Where the mail server is, and how to speak to it. `seconds`: for one mail, from connecting to the answer."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    uses_starttls: bool = False
    uses_tls: bool = False
    seconds: float = 30.0

    @property
    def name(self) -> str:
        """Host and port, as attempts are noted."""
        return f"{self.host}:{self.port}"


class HandOverFailed(Exception):
    """A mail was not taken. `phase`: how far it came; `code`: the server's, None where it said nothing."""

    def __init__(self, phase: Phase, words: str, code: int | None = None) -> None:
        self.phase = phase
        self.code = code
        self.words = words
        super().__init__(f"{phase}: {f'{code} ' if code else ''}{words}")


class Refused(HandOverFailed):
    """The server said no to this mail. `is_permanent`: for good (5xx)."""

    @property
    def is_permanent(self) -> bool:
        return self.code is not None and self.code >= PERMANENT


class Broken(HandOverFailed):
    """The connection failed, or the server wants nobody now, or not us (log-in, certificate): no fault of this mail."""


@dataclass(frozen=True)
class Reply:
    """The server took the mail: its code (250) and words."""

    code: int
    words: str


@dataclass(frozen=True)
class _Step:
    """One command of an offer. `is_needed`: without a yes to it there is no offer."""

    phase: Phase
    command: str
    wanted: frozenset[int] = frozenset(YES)
    is_needed: bool = True


class _Deadline:
    """A moment of the monotonic clock that a whole conversation has to be over by."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left. Raises TimeoutError when none are."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the conversation took too long")
        return left


class _Connection(smtplib.SMTP):
    """smtplib's connection, each wait bounded by the deadline of the whole conversation."""

    deadline: _Deadline

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Lines(self)
        return super().getreply()

    def send(self, s: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.deadline.remaining())
        super().send(s)


class _Lines:
    """Lines from the connection's socket. A file object would wait a whole time-out for every byte."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._buffer = b""

    def readline(self, limit: int = LONGEST_REPLY_LINE) -> bytes:
        """The next line with its end, or what came before the server hung up."""
        while b"\n" not in self._buffer and len(self._buffer) < limit:
            sock = self._connection.sock
            if sock is None:
                break
            sock.settimeout(self._connection.deadline.remaining())
            if not (more := sock.recv(4096)):
                break
            self._buffer += more
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        end = min(end, limit)
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

    def close(self) -> None:
        """Nothing to close: the socket is the connection's."""


class MailServer:
    """One connection to the mail server, made when it is needed and kept from mail to mail."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._connection: _Connection | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.say_goodbye()

    def offer(self, sender: str, recipient: str, *, journal: str = "") -> bool:
        """Come as far as the server's “go ahead” (354); whether the journal was accepted as second recipient.

        Bare addresses, without names.

        Raises Refused or Broken; whatever it raises, nothing was delivered. A connection kept from an earlier mail that
        turns out to be dead is made anew, once.
        """
        is_kept = self._connection is not None
        try:
            return self._offer(sender, recipient, journal)
        except Broken as broken:
            if not is_kept or broken.phase in {Phase.CONNECT, Phase.GREETING, Phase.LOGIN}:
                raise
        return self._offer(sender, recipient, journal)

    def hand_over(self, message: bytes) -> Reply:
        """Give the body and wait for the answer. To be called after `offer`, past the point of no return.

        Raises Refused (the server said no: not delivered) or Broken (nobody knows).
        """
        connection = self._connection
        if connection is None:
            raise Broken(Phase.BODY, "there is no connection")
        phase = Phase.BODY
        with self._failures(lambda: phase):
            connection.send(_dot_stuffed(message))
            phase = Phase.REPLY
            code, words = connection.getreply()
        self._used_at = time.monotonic()
        if code == 250:
            return Reply(code, plain(words))
        self._leave_if_asked(code)
        if code < 400:  # an answer that SMTP does not know here: it says neither yes nor no
            self.hang_up()
            raise Broken(Phase.REPLY, plain(words), code)
        raise Refused(Phase.REPLY, plain(words), code)

    def look_in(self) -> None:
        """Connect, log in and do nothing. Raises Broken or Refused, as a mail would; may be repeated."""
        deadline = _Deadline(self.settings.seconds)
        if self._connection is None:
            self._connect(deadline)
        connection = self._connection
        assert connection is not None
        connection.deadline = deadline
        with self._failures(lambda: Phase.LOGIN):
            self._expect(connection.noop(), Phase.LOGIN)
        self._used_at = time.monotonic()

    def hang_up(self) -> None:
        """Close the connection at once, without the final dot: what was offered is not delivered."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = None

    def say_goodbye(self) -> None:
        """End the connection politely, if there is one. Never raises, and waits two seconds at most."""
        if self._connection is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._connection.deadline = _Deadline(2.0)
                self._connection.quit()
        self.hang_up()

    def _offer(self, sender: str, recipient: str, journal: str) -> bool:
        if self._connection is not None and time.monotonic() - self._used_at > IDLE_SECONDS:
            self.say_goodbye()
        deadline = _Deadline(self.settings.seconds)
        if self._connection is None:
            self._connect(deadline)
        connection = self._connection
        assert connection is not None
        connection.deadline = deadline
        parameters = "" if sender.isascii() and recipient.isascii() else " SMTPUTF8"
        if parameters and not connection.has_extn("smtputf8"):
            raise Refused(Phase.RCPT, "the mail server takes no addresses beyond ASCII (SMTPUTF8)", 553)
        steps = [
            _Step(Phase.MAIL, f"MAIL FROM:<{sender}>{parameters}"),
            _Step(Phase.RCPT, f"RCPT TO:<{recipient}>"),
            *([_Step(Phase.RCPT, f"RCPT TO:<{journal}>", is_needed=False)] if journal else []),
            _Step(Phase.DATA, "DATA", wanted=frozenset({354})),
        ]
        has_journal = self._go_through(connection, steps)
        self._used_at = time.monotonic()
        return has_journal

    def _go_through(self, connection: _Connection, steps: list[_Step]) -> bool:
        """Say all of it; whether what is not needed was taken as well. Raises at the first that needed a yes."""
        is_ahead = connection.has_extn("pipelining")
        has_all = len(steps) > len([step for step in steps if step.is_needed])
        phase = steps[0].phase
        with self._failures(lambda: phase):
            lines = [_line(step.command) for step in steps]
            if is_ahead:
                connection.send(b"".join(lines))
            for number, step in enumerate(steps):
                phase = step.phase
                if not is_ahead:
                    connection.send(lines[number])
                code, words = connection.getreply()
                if code in step.wanted:
                    continue
                if not step.is_needed:
                    has_all = False
                    continue
                if is_ahead and _is_plain_no(code):
                    self._hear_out(connection, steps[number + 1 :])
                self._refuse(phase, code, words)
        return has_all

    def _hear_out(self, connection: _Connection, steps: list[_Step]) -> None:
        """Take in the answers to what was said after a command that was refused.

        A server that would take a body all the same (the journal was not refused) gets none: only hanging up keeps it
        from being delivered.
        """
        try:
            codes = [connection.getreply()[0] for _ in steps]
        except (OSError, smtplib.SMTPException):
            codes = [-1]
        if not all(code in YES or _is_plain_no(code) for code in codes):
            self.hang_up()

    def _connect(self, deadline: _Deadline) -> None:
        settings = self.settings
        phase = Phase.CONNECT
        with self._failures(lambda: phase):
            sock = socket.create_connection((settings.host, settings.port), timeout=deadline.remaining())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else short commands wait 40 ms for each other
            if settings.uses_tls:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=settings.host)
            connection = _Connection(local_hostname=_own_name())
            connection.deadline = deadline
            connection.sock = sock
            connection._host = settings.host  # type: ignore[attr-defined]  # noqa: SLF001 - starttls asks for it
            self._connection = connection
            phase = Phase.GREETING
            self._expect(connection.getreply(), phase, wanted=220)
            connection.ehlo_or_helo_if_needed()
            if settings.uses_starttls:
                sock.settimeout(deadline.remaining())
                connection.starttls(context=ssl.create_default_context())
                connection.ehlo_or_helo_if_needed()
            phase = Phase.LOGIN
            if settings.user:
                connection.login(settings.user, settings.password)
        self._used_at = time.monotonic()

    def _expect(self, reply: tuple[int, bytes], phase: Phase, *, wanted: int = 250) -> None:
        """Raise unless the server said yes."""
        code, words = reply
        if code != wanted:
            self._refuse(phase, code, words)

    def _refuse(self, phase: Phase, code: int, words: bytes) -> NoReturn:
        """Raise what the answer means. The connection stays good after a refused mail."""
        text = plain(words)
        if phase in {Phase.GREETING, Phase.LOGIN} or not _is_plain_no(code):
            self.hang_up()
            raise Broken(phase, text, code if code > 0 else None)
        self._reset()
        self._used_at = time.monotonic()
        raise Refused(phase, text, code)

    def _reset(self) -> None:
        """Make the server forget the mail that it refused; where that fails, the next mail gets a new connection."""
        if self._connection is not None:
            try:
                code, _ = self._connection.rset()
            except (OSError, smtplib.SMTPException):
                code = -1
            if code != 250:
                self.hang_up()

    def _leave_if_asked(self, code: int) -> None:
        if code == 421:
            self.hang_up()

    @contextmanager
    def _failures(self, phase: Callable[[], Phase]) -> Iterator[None]:
        """Turn what sockets and smtplib raise into Broken, and hang up."""
        try:
            yield
        except HandOverFailed:
            raise
        except smtplib.SMTPResponseException as error:
            self.hang_up()
            raise Broken(phase(), plain(error.smtp_error), error.smtp_code if error.smtp_code > 0 else None) from error
        except ssl.SSLCertVerificationError as error:
            self.hang_up()
            raise Broken(phase(), f"the server's certificate is not trusted: {error.verify_message}") from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self.hang_up()
            raise Broken(phase(), _in_words(error)) from error


def _dot_stuffed(message: bytes) -> bytes:
    """The message as it goes over the wire, with the final dot."""
    text = message.replace(b"\r\n.", b"\r\n..")
    if text.startswith(b"."):
        text = b"." + text
    return text + (b"" if text.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def _is_plain_no(code: int) -> bool:
    """No to this mail, and not to us: 421 is the server's good-bye."""
    return 400 <= code < 600 and code != 421


def _line(command: str) -> bytes:
    """The command as it goes over the wire. Raises ValueError for what would be two."""
    if "\r" in command or "\n" in command:
        raise ValueError("an address holds a line break")
    return command.encode() + b"\r\n"


def _own_name() -> str:
    """What to greet with. Not `getfqdn`: that may ask a name server, and wait for it."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "[127.0.0.1]"


def plain(words: bytes | str) -> str:
    """What a server said, in one line of letters that can be kept: PostgreSQL takes no NUL."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:500]


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nothing listens there"
    if isinstance(error, socket.gaierror):
        return f"the server's name can't be found: {error.strerror}"
    return plain(str(error) or type(error).__name__)
