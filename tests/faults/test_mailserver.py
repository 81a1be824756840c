"""The mail server of the fault tests does what it is told, as smtplib sees it: else its tests prove nothing."""

import smtplib
import threading
import time
from contextlib import suppress

import pytest

from tests.faults.mailserver import At, Fault, MailServer, mail_server

MESSAGE = b"Message-ID: <one@example.com>\r\nTo: mei@example.net\r\nSubject: Hello\r\n\r\nHello.\r\n.dotted\r\n"


def send(server: MailServer, *, timeout: float = 60, to: str = "mei@example.net") -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=timeout) as client:
        return client.sendmail("billing@harbour.example", [to], MESSAGE)


def test_takes_a_mail_and_keeps_it() -> None:
    with mail_server() as server:
        send(server)
        (mail,) = server.accepted
        assert (mail.message_id, mail.to, mail.content) == ("<one@example.com>", "mei@example.net", MESSAGE)


@pytest.mark.parametrize(
    ("at", "fault", "raises", "accepted"),
    [
        (At.GREETING, Fault.LATER, smtplib.SMTPConnectError, 0),
        (At.GREETING, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.EHLO, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.MAIL, Fault.LATER, smtplib.SMTPSenderRefused, 0),
        (At.MAIL, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.RCPT, Fault.NEVER, smtplib.SMTPRecipientsRefused, 0),
        (At.RCPT, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.DATA, Fault.LATER, smtplib.SMTPDataError, 0),
        (At.DATA, Fault.NEVER, smtplib.SMTPDataError, 0),
        (At.DATA, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.BODY, Fault.DROP, smtplib.SMTPServerDisconnected, 0),
        (At.REPLY, Fault.LATER, smtplib.SMTPDataError, 0),
        (At.REPLY, Fault.NEVER, smtplib.SMTPDataError, 0),
        # Accepted, and the sender does not know: what all of this is about.
        (At.REPLY, Fault.DROP, smtplib.SMTPServerDisconnected, 1),
        (At.REPLY, Fault.HANG, smtplib.SMTPServerDisconnected, 1),
    ],
)
def test_fails_as_told(at: At, fault: Fault, raises: type[Exception], accepted: int) -> None:
    with mail_server() as server:
        server.hang_seconds = 60
        server.fail(at, fault)
        with pytest.raises(raises):
            send(server, timeout=1 if fault == Fault.HANG else 60)
        assert len(server.accepted) == accepted
        send(server)
        assert len(server.accepted) == accepted + 1, "it is well again afterwards"


def test_drips_longer_than_any_time_out_of_a_socket() -> None:
    with mail_server() as server:
        server.fail(At.MAIL, Fault.DRIP)
        began = time.monotonic()
        send(server, timeout=3)
        assert time.monotonic() - began > 3


@pytest.mark.parametrize(
    ("at", "accepted"),
    [(At.EHLO, 0), (At.MAIL, 0), (At.RCPT, 0), (At.DATA, 0), (At.BODY, 0), (At.REPLY, 1), (At.AFTER, 1)],
)
def test_holds_a_conversation_and_tells_whose_it_is(at: At, accepted: int) -> None:
    with mail_server() as server, smtplib.SMTP() as client:
        hold = server.hold(at)
        client.connect("127.0.0.1", server.port)

        def converse() -> None:
            with suppress(smtplib.SMTPException):
                client.sendmail("billing@harbour.example", ["mei@example.net"], MESSAGE)

        other = threading.Thread(target=converse)
        other.start()
        assert hold.reached.wait(60)
        assert client.sock is not None
        assert hold.port == client.sock.getsockname()[1]
        assert len(server.accepted) == accepted
        hold.release.set()
        other.join(60)
        assert len(server.accepted) == (at != At.BODY), "from the middle of a body there is no way on"


@pytest.mark.parametrize(("fault", "code"), [(Fault.LATER, 454), (Fault.NEVER, 535)])
def test_refuses_to_let_in(fault: Fault, code: int) -> None:
    with mail_server(login=("ivy", "right")) as server, smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
        server.fail(At.AUTH, fault, times=2)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login("ivy", "right")
        assert refused.value.smtp_code == code
        client.login("ivy", "right")


def test_fails_for_one_recipient_alone() -> None:
    with mail_server() as server:
        server.fail(At.RCPT, Fault.NEVER, to="mei@example.net", times=9)
        send(server, to="ines@example.net")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(server)
