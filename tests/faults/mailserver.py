"""A real mail server that fails as told, and keeps what it accepted: the truth about who was mailed what.

Faults are given by phase, for the next so many mails or for one recipient's. The server runs in a thread of the test,
so that it outlives every worker that is killed.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from enum import StrEnum
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

FOREVER = 10**9


class At(StrEnum):
    """Where in the conversation a fault strikes.

    DATA: before the 354. BODY: some of the body was read. REPLY: after the final dot. AFTER: the 250 was written.
    """

    GREETING = "greeting"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    REPLY = "reply"
    AFTER = "after"
    QUIT = "quit"


class Fault(StrEnum):
    """DROP and HANG at REPLY have accepted the mail; LATER and NEVER (4xx and 5xx) have not."""

    DROP = "drop"
    HANG = "hang"
    LATER = "later"
    NEVER = "never"
    SLOW = "slow"
    DRIP = "drip"


@dataclass(eq=False)
class Hold:
    """A conversation that waits: `reached` once it is there, going on when `release` is set.

    `port` is the client's, by which its process is found; `to` the recipient. After BODY it can only break off.
    """

    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    to: str = ""

    async def wait(self, session: Session | None, to: str) -> None:
        """Wait here, in the server, for the test."""
        self.port = session.peer[1] if session is not None and session.peer else 0
        self.to = to
        self.reached.set()
        await asyncio.get_running_loop().run_in_executor(None, self.release.wait, 120)


@dataclass(frozen=True)
class Accepted:
    """A mail that the server took. From then on its recipient has it, whatever the sender knows."""

    at: float
    message_id: str
    to: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class _Planned:
    at: At
    fault: Fault | Hold
    times: int
    to: str


class MailServer:
    """The server, its plan of faults and its record. `hang_seconds`: how long a HANG lasts at most.

    `deadline_seconds`: what senders who are given its URL have for each mail.

    Who fails at MAIL or RCPT while PIPELINING would still take the body that must not come.
    """

    def __init__(
        self,
        *,
        login: tuple[str, str] | None = None,
        tls: Any = None,
        journal: str = "",
        port: int = 0,
        offers_pipelining: bool = True,
        deadline_seconds: int = 3,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.journal = journal
        self.keep: Callable[[bytes], None] | None = None
        self.hang_seconds = 60.0
        self.choose: Callable[[At, str], Fault | None] | None = None
        self.port = port or free_port()
        self.offers_pipelining = offers_pipelining
        self.deadline_seconds = deadline_seconds
        self._login = login
        self._tls = tls
        self._plan: list[_Planned] = []
        self._lock = threading.Lock()
        self._controller: Controller | None = None

    @property
    def url(self) -> str:
        """For EMAIL_URL."""
        return f"smtp://127.0.0.1:{self.port}/?EMAIL_TIMEOUT={self.deadline_seconds}"

    def start(self) -> None:
        """Listen; again after `stop`, at the same port."""
        server = self

        class Here(Controller):
            def factory(self) -> SMTP:
                return _Faulty(
                    server,
                    enable_SMTPUTF8=True,
                    authenticator=server._authenticate if server._login else None,
                    auth_required=bool(server._login),
                    auth_require_tls=False,
                )

        self._controller = Here(self, hostname="127.0.0.1", port=self.port, ssl_context=self._tls, ready_timeout=20)
        self._controller.start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._controller is not None:
            self._controller.stop()
        self._controller = None

    def fail(self, at: At, fault: Fault | Hold, *, times: int = 1, to: str = "") -> None:
        """Let the next conversations (or only those about mails to `to`) fail there."""
        with self._lock:
            self._plan.append(_Planned(at, fault, times, to))

    def hold(self, at: At, *, to: str = "") -> Hold:
        """Let the next conversation wait there until it is released."""
        hold = Hold()
        self.fail(at, hold, to=to)
        return hold

    def forget(self, hold: Hold) -> None:
        """Hold nobody there any more: nobody came, or it is over."""
        hold.release.set()
        with self._lock:
            self._plan = [planned for planned in self._plan if planned.fault is not hold]

    def heal(self) -> None:
        """No more faults."""
        with self._lock:
            for planned in self._plan:
                if isinstance(planned.fault, Hold):
                    planned.fault.release.set()
            self._plan.clear()
        self.choose = None

    def mails_to(self, address: str) -> list[Accepted]:
        return [mail for mail in self.accepted if mail.to == address]

    def next_fault(self, at: At, to: str) -> Fault | Hold | None:
        """What the plan has for this point of this conversation; used up by asking."""
        with self._lock:
            for planned in self._plan:
                if planned.at == at and planned.times > 0 and planned.to in {"", to}:
                    planned.times -= 1
                    return planned.fault
        return self.choose(at, to) if self.choose else None

    def take(self, envelope: Envelope) -> None:
        """Record a mail as accepted, and hand the journal its copy."""
        content = envelope.original_content or b""
        headers = message_from_bytes(content)
        everybody = [str(address) for address in envelope.rcpt_tos]
        people = [address for address in everybody if address != self.journal]
        self.accepted.append(
            Accepted(time.time(), str(headers["Message-ID"]), (people or [""])[0], tuple(everybody), content)
        )
        if self.journal in everybody and self.keep is not None:
            self.keep(content)

    def _authenticate(self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        ok = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == self._login
        return AuthResult(success=ok, handled=False)


class _Faulty(SMTP):
    """aiosmtpd's protocol, failing where the plan says so."""

    def __init__(self, server: MailServer, **options: Any) -> None:
        super().__init__(self, timeout=120, **options)
        self._mail_server = server
        self._at: At | None = At.GREETING
        self._to = ""

    async def push(self, status: Any) -> None:
        at, self._at = self._at, None
        if at is None:
            await super().push(status)
            return
        await self._answer(at, status)

    async def _answer(self, at: At, status: Any) -> None:
        fault = self._mail_server.next_fault(at, self._to)
        if isinstance(fault, Hold):
            await fault.wait(self.session, self._to)
            fault = None
        match fault:
            case Fault.DROP:
                self._hang_up()
            case Fault.HANG:
                await asyncio.sleep(self._mail_server.hang_seconds)
                self._hang_up()
            case Fault.LATER | Fault.NEVER:
                later = "421 4.3.2 Try again later" if at == At.GREETING else "451 4.3.0 Try again later"
                await super().push(later if fault == Fault.LATER else "554 5.7.1 Not here, not ever")
                if at == At.GREETING and self.transport is not None:
                    self.transport.close()
            case Fault.DRIP:
                await self._drip(f"{status}\r\n".encode())
            case Fault.SLOW:
                await asyncio.sleep(0.5)
                await super().push(status)
            case _:
                await super().push(status)

    async def _drip(self, line: bytes) -> None:
        for letter in line:
            if self.transport is None or self.transport.is_closing():
                return
            self.transport.write(bytes([letter]))
            await asyncio.sleep(0.5)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def smtp_EHLO(self, hostname: str) -> None:
        self._at = At.EHLO
        await super().smtp_EHLO(hostname)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        more = ["250-PIPELINING"] if self._mail_server.offers_pipelining else []
        return [*responses[:-1], *more, responses[-1]]

    async def smtp_AUTH(self, arg: str) -> None:
        fault = self._mail_server.next_fault(At.AUTH, "")
        if fault in {Fault.LATER, Fault.NEVER}:
            later = "454 4.7.0 Temporary authentication failure"
            await super().push(later if fault == Fault.LATER else "535 5.7.8 Authentication credentials invalid")
        elif fault == Fault.DROP:
            self._hang_up()
        else:
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:
        self._to = ""
        self._at = At.MAIL
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:
        if not self._to:
            self._to = (arg or "").partition("<")[2].partition(">")[0]
        self._at = At.RCPT
        await super().smtp_RCPT(arg)

    async def smtp_QUIT(self, arg: str | None) -> None:
        self._at = At.QUIT
        await super().smtp_QUIT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        fault = self._mail_server.next_fault(At.DATA, self._to)
        if fault in {Fault.LATER, Fault.NEVER}:
            await super().push("451 4.3.0 Try again later" if fault == Fault.LATER else "554 5.7.1 Not here, not ever")
            return
        if fault is not None:
            self._mail_server.fail(At.DATA, fault, to=self._to)
            self._at = At.DATA
        body = self._mail_server.next_fault(At.BODY, self._to)
        if body is not None:
            self._at = None
            await super().push("354 Go ahead")
            await self._reader.readuntil()
            if isinstance(body, Hold):
                await body.wait(self.session, self._to)
            self._hang_up()
            return
        await super().smtp_DATA(arg)
        after = self._mail_server.next_fault(At.AFTER, self._to)
        if isinstance(after, Hold):
            await after.wait(self.session, self._to)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        fault = self._mail_server.next_fault(At.REPLY, self._to)
        if fault == Fault.LATER:
            return "451 4.3.0 Try again later"
        if fault == Fault.NEVER:
            return "554 5.7.1 Not here, not ever"
        self._mail_server.take(envelope)
        if fault is not None:
            self._mail_server.fail(At.REPLY, fault, to=self._to)
            self._at = At.REPLY
        return "250 2.0.0 Taken"


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    """A mail server for a while."""
    server = MailServer(**options)
    server.start()
    try:
        yield server
    finally:
        server.heal()
        server.stop()


def free_port() -> int:
    """A port of loopback that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for_port(port: int, *, seconds: float = 60) -> None:
    """Until somebody listens there."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, f"nobody listens at {port}"
        time.sleep(0.05)
