"""What the journal proves of mails that nobody knows of, read from a real IMAP server; and what it does not."""

import imaplib
import queue
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.cycle import run_cycle
from billing.models import Customer
from notifications import cycle
from notifications.models import BreakerLimits, DeliveryAttempt, NotificationLog, Outcome, State
from tests.billing.at_once import real_commits
from tests.factories import make_alert, make_customer, make_entry, make_partner
from tests.faults.mailserver import At, Fault, MailServer, free_port, mail_server, wait_for_port
from tests.faults.processes import another_connection, start

pytestmark = real_commits

ARCHIVE = "journal@archive.example"


class Archive:
    """The archive mailbox; `is_open`: whether copies arrive just now."""

    def __init__(self, port: int) -> None:
        self.is_open = True
        self.port = port
        self._waiting: queue.Queue[bytes] = queue.Queue()
        self._box = imaplib.IMAP4("127.0.0.1", port)
        self._box.login("demouser", "demopass")
        self._lock = threading.Lock()

    def keep(self, copy: bytes) -> None:
        if self.is_open:
            self.put(copy)

    def put(self, message: bytes) -> None:
        with self._lock:
            self._box.append("INBOX", None, None, message)  # type: ignore[arg-type]


@pytest.fixture
def archive(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    port = free_port()
    server = subprocess.Popen(
        [Path(sys.executable).parent / "pymap", "--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict",
         "--demo-data"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(port)
        settings.JOURNAL = {
            "address": ARCHIVE, "host": "127.0.0.1", "port": port, "user": "demouser", "password": "demopass",
            "folder": "INBOX", "uses_tls": False, "wait_seconds": 0,
        }  # fmt: skip
        url = f"imap://demouser:demopass@127.0.0.1:{port}/INBOX?address={ARCHIVE}&wait=0"
        monkeypatch.setenv("JOURNAL_URL", url)
        yield Archive(port)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def server(archive: Archive, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    BreakerLimits.objects.create(pk=1, mails_a_recipient_a_day=100)
    with mail_server(journal=ARCHIVE, deadline_seconds=60) as mails:
        mails.keep = archive.keep
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.MAIL_SECONDS = "127.0.0.1", mails.port, 60.0
        monkeypatch.setenv("EMAIL_URL", mails.url)
        yield mails


@pytest.fixture
def mei(server: MailServer) -> Customer:
    """A customer who has just fallen below ten pounds."""
    customer = make_customer(
        partner=make_partner(sender="billing@quayside.example"), email="mei@example.net", balance=5
    )
    make_alert(customer=customer, threshold=Decimal(10))
    make_entry(customer=customer, kind="payment", key="payment:bank:1", amount=Decimal("0.01"))
    run_cycle(by="test", at=datetime.now(UTC))
    return customer


def one_pass() -> cycle.Pass:
    return cycle.run_pass(at=datetime.now(UTC))


def mail_to(customer: Customer) -> NotificationLog:
    return NotificationLog.objects.get(customer=customer)


def copies(server: MailServer) -> int:
    """How many mails the customer has got; canaries go to the journal alone."""
    return len(server.mails_to("mei@example.net"))


class TestFoundInTheJournal:
    def test_an_uncertain_mail_is_sent(self, server: MailServer, mei: Customer) -> None:
        server.fail(At.REPLY, Fault.DROP)
        assert one_pass().uncertain == 1
        one_pass()
        log = mail_to(mei)
        assert (log.state, log.detail) == (State.SENT, "found in the journal")
        assert copies(server) == 1
        assert list(log.history.values_list("by", "verb", "to_state")) == [("journal", "found", "sent")]


class TestMissingInTheJournal:
    """As when the connection broke before the server had the whole body: nobody has the mail."""

    def test_proves_a_loss_once_a_later_canary_is_there_and_the_mail_goes_out_once_more(
        self, server: MailServer, mei: Customer
    ) -> None:
        server.fail(At.BODY, Fault.DROP)
        assert one_pass().uncertain == 1
        for _ in range(3):
            one_pass()
        log = mail_to(mei)
        assert log.state == State.SENT
        assert copies(server) == 1
        assert [mail.message_id for mail in server.mails_to("mei@example.net")] == [log.message_id]
        assert log.history.filter(by="journal", verb="resend").count() == 1

    def test_proves_nothing_while_no_canary_arrives_either(
        self, server: MailServer, archive: Archive, mei: Customer
    ) -> None:
        archive.is_open = False
        server.fail(At.REPLY, Fault.DROP)
        for _ in range(3):
            one_pass()
        assert mail_to(mei).state == State.UNCERTAIN
        assert copies(server) == 1

    def test_proves_nothing_of_a_worker_that_is_only_silent(
        self, server: MailServer, archive: Archive, mei: Customer
    ) -> None:
        hold = server.hold(At.DATA)
        worker = start("run_notifications", "--json")
        assert hold.reached.wait(60)
        # Past the point of no return as far as the database knows, while its process is alive.
        hold.release.set()
        worker.communicate(timeout=60)
        archive.is_open = True
        log = mail_to(mei)
        with another_connection() as other, other.transaction():
            other.execute("ALTER TABLE notifications_notificationlog DISABLE TRIGGER USER")
            other.execute("ALTER TABLE notifications_deliveryattempt DISABLE TRIGGER USER")
            other.execute("UPDATE notifications_notificationlog SET state = 'uncertain', because = 'lease_expired',"
                          " sent_at = NULL, message_id = '<never-seen@example.com>'")  # fmt: skip
            other.execute("UPDATE notifications_deliveryattempt SET outcome = 'open', ended_at = NULL,"
                          " host = 'another machine'")  # fmt: skip
            other.execute("ALTER TABLE notifications_notificationlog ENABLE TRIGGER USER")
            other.execute("ALTER TABLE notifications_deliveryattempt ENABLE TRIGGER USER")
        for _ in range(3):
            one_pass()
        log.refresh_from_db()
        assert log.state == State.UNCERTAIN
        assert DeliveryAttempt.objects.get().outcome == Outcome.OPEN
        assert copies(server) == 1

    def test_proves_nothing_where_the_journal_was_refused_in_that_conversation(
        self, server: MailServer, mei: Customer
    ) -> None:
        server.fail(At.BODY, Fault.DROP)
        one_pass()
        DeliveryAttempt.objects.update(has_journal=False)
        for _ in range(3):
            one_pass()
        assert mail_to(mei).state == State.UNCERTAIN
        assert copies(server) == 0


class TestAJournalThatCantBeRead:
    def test_is_told_in_words_and_stops_nothing(self, server: MailServer, settings: Any, mei: Customer) -> None:
        settings.JOURNAL = {**settings.JOURNAL, "port": free_port()}
        done = one_pass()
        assert done.sent == 1
        assert "The journal can't be read" in done.trouble[0]

    def test_and_hangs_up_in_the_middle_stops_nothing(self, server: MailServer, settings: Any, mei: Customer) -> None:
        with hanging_up_after_the_log_in() as port:
            settings.JOURNAL = {**settings.JOURNAL, "port": port}
            done = one_pass()
        assert done.sent == 1
        assert "The journal can't be read" in done.trouble[0]


@contextmanager
def hanging_up_after_the_log_in() -> Iterator[int]:
    """The port of an IMAP server that lets everybody in, and hangs up when it is asked for anything."""

    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"* OK ready\r\n")
            for line in self.rfile:
                tag, verb, *_ = line.split()
                if verb.upper() in {b"SEARCH", b"UID"}:
                    return
                told = b"* CAPABILITY IMAP4rev1\r\n" if verb.upper() == b"CAPABILITY" else b""
                self.wfile.write(told + tag + b" OK done\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=[0.05], daemon=True).start()
        yield listening.server_address[1]
        listening.shutdown()


class TestAMailThatCameBack:
    REPORT = (
        b"From: mailer-daemon@example.net\r\nTo: billing@quayside.example\r\nSubject: Undelivered\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: text/plain\r\n\r\nNo such mailbox.\r\n"
        b"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; example.net\r\n\r\n"
        b"Final-Recipient: rfc822; mei@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 no such mailbox\r\n\r\n"
        b"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: %s\r\nSubject: Low\r\n\r\n--x--\r\n"
    )

    def test_says_so_on_the_row_of_a_sent_one_once(self, server: MailServer, archive: Archive, mei: Customer) -> None:
        one_pass()
        log = mail_to(mei)
        archive.put(self.REPORT.replace(b"%s", log.message_id.encode()))
        for _ in range(2):
            one_pass()
        log.refresh_from_db()
        assert log.state == State.SENT
        assert log.detail == "came back: smtp; 550 5.1.1 no such mailbox"
        assert log.history.filter(verb="bounced").count() == 1

    @pytest.mark.parametrize(
        ("words", "instead"),
        [
            (b"Message-ID: %s", b"Message-ID: <>"),
            (b"550 5.1.1 no such mailbox", b"550 \x00\xff"),
            (b"text/rfc822-headers", b"message/rfc822"),
            (b'boundary="x"', b'boundary="y"'),
        ],
        ids=["no Message-ID", "no text", "no headers", "no parts"],
    )
    def test_in_words_that_make_no_sense_stops_nothing(
        self, server: MailServer, archive: Archive, mei: Customer, words: bytes, instead: bytes
    ) -> None:
        archive.put(self.REPORT.replace(words, instead).replace(b"%s", b"<"))
        done = one_pass()
        assert (done.sent, done.trouble) == (1, [])
        log = mail_to(mei)
        archive.put(self.REPORT.replace(b"550 5.1.1", b"550\x00 5.1.1").replace(b"%s", log.message_id.encode()))
        one_pass()
        log.refresh_from_db()
        assert log.detail == "came back: smtp; 550 5.1.1 no such mailbox"

    def test_that_was_uncertain_has_failed(self, server: MailServer, archive: Archive, mei: Customer) -> None:
        archive.is_open = False
        server.fail(At.REPLY, Fault.DROP)
        one_pass()
        log = mail_to(mei)
        archive.put(self.REPORT.replace(b"%s", log.message_id.encode()))
        one_pass()
        log.refresh_from_db()
        assert (log.state, log.because) == (State.FAILED, "bounced")
        assert copies(server) == 1


def test_the_clock_of_waiting_is_the_databases(server: MailServer, settings: Any, mei: Customer) -> None:
    settings.JOURNAL = {**settings.JOURNAL, "wait_seconds": 3600}
    server.fail(At.BODY, Fault.DROP)
    for _ in range(3):
        one_pass()
    assert mail_to(mei).state == State.UNCERTAIN, "an hour has not passed"
    attempt = DeliveryAttempt.objects.get()
    assert attempt.ended_at is not None
    assert abs(attempt.ended_at - datetime.now(UTC)) < timedelta(minutes=5)
