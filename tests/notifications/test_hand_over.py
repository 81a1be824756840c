"""What breaks in the middle of a hand-over, between Ivy, its database and the mail server; the others go out."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage

import pytest
from django.db import connection

from billing.models import Episode
from notifications import claiming, sending
from notifications.models import Because, NotificationContent, NotificationLog, Outcome, StaffOrder, State
from notifications.transports import Smtp, smtp_settings
from tests.billing.at_once import at_once, meanwhile, real_commits
from tests.faults.processes import another_connection, wait_until
from tests.notifications.conftest import OK, Server
from tests.notifications.stories import (
    log_of,
    make_fallen,
    make_mail,
    owe,
    run_pass,
    standing,
    states,
    tell_whom,
)

pytestmark = real_commits


@contextmanager
def losing_what_the_database_says(words: bytes) -> Iterator[threading.Event]:
    """Between Django and PostgreSQL stands somebody who hangs up instead of passing on these words, once."""
    at = connection.settings_dict
    before = at["HOST"], at["PORT"]
    lost = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def reach() -> socket.socket:
        host, port = str(before[0]), int(before[1] or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        local = socket.socket(socket.AF_UNIX)
        local.connect(f"{host}/.s.PGSQL.{port}")
        return local

    def pass_on(source: socket.socket, target: socket.socket, *, is_answer: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if is_answer and words in chunk and not lost.is_set():
                    lost.set()
                    break
                target.sendall(chunk)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = reach()
                for way in ((client, server, False), (server, client, True)):
                    threading.Thread(target=pass_on, args=way[:2], kwargs={"is_answer": way[2]}, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    connection.close()
    at["HOST"], at["PORT"] = "127.0.0.1", str(listening.getsockname()[1])
    try:
        yield lost
    finally:
        connection.close()
        at["HOST"], at["PORT"] = before
        listening.close()


class TestAConnectionLostBetweenTheCommitAndItsAnswer:
    def test_before_the_body_leaves_the_mail_owed_and_nobody_told(self, mail_server: Server) -> None:
        alert = make_fallen()
        owe()
        with losing_what_the_database_says(b"begun") as lost:
            run_pass()
            assert lost.is_set()
        assert mail_server.mails == []
        log = log_of(alert)
        assert (log.state, log.attempts.get().outcome) == (State.PENDING, Outcome.DEFERRED)
        assert Episode.objects.get().told_at is None, "else reminders would come of what nobody was told"
        NotificationLog.objects.update(next_try_at=log.created_at)
        run_pass()
        assert mail_server.recipients == [alert.customer.email]
        assert Episode.objects.get().told_at is not None


class TestALeaseThatRanOut:
    """The worker was paused, or its mail server slow; its row is uncertain by the time that it knows more."""

    @pytest.mark.parametrize(
        ("answer", "state", "because"),
        [(OK, "sent", ""), ("451 4.3.0 Later", "pending", ""), ("554 5.7.1 No", "failed", "refused")],
    )
    def test_takes_a_late_answer_for_what_it_says(
        self, mail_server: Server, answer: str, state: str, because: str
    ) -> None:
        alert = make_fallen()

        def answer_late(_message: EmailMessage) -> str:
            with another_connection() as other:
                other.execute("UPDATE notifications_notificationlog SET lease_until = now() - interval '1 s'")
            assert at_once(claiming.expire) == [1]
            return answer

        mail_server.on_body = answer_late
        run_pass()
        log = log_of(alert)
        assert standing(log) == (state, because)
        assert (Episode.objects.get().told_at is None) == (state != "sent")
        NotificationLog.objects.filter(state=State.PENDING).update(next_try_at=log.created_at)
        mail_server.on_body = lambda _message: OK
        run_pass()
        assert len(mail_server.mails) == (state != "failed")

    def test_and_that_staff_have_settled_meanwhile_stays_as_they_said(self, mail_server: Server) -> None:
        alert = make_fallen()

        def answer_late(_message: EmailMessage) -> str:
            with another_connection() as other:
                other.execute(
                    "UPDATE notifications_notificationlog"
                    " SET state = 'uncertain', because = 'copied', lease_until = NULL"
                )
            return "451 4.3.0 Later"

        mail_server.on_body = answer_late
        run_pass()
        assert standing(log_of(alert)) == (State.UNCERTAIN, Because.COPIED)
        assert not StaffOrder.objects.exists()


class TestWordsOfTheServer:
    @pytest.mark.parametrize(
        ("answer", "state"),
        [("250 taken\x00", "sent"), ("451 later\x00", "pending"), ("554 no\x00", "failed")],
    )
    def test_that_no_database_keeps_are_kept_without_them(self, mail_server: Server, answer: str, state: str) -> None:
        alert = make_fallen()
        mail_server.on_body = lambda _message: answer
        run_pass()
        log = log_of(alert)
        assert (log.state, "\x00" in log.detail) == (state, False)


class TestAMailThatBreaksTheWorkOnIt:
    def test_is_left_to_staff_and_the_others_go_out(
        self, mail_server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As one whose content was erased while it was tried again: it says nothing, to nobody."""
        erased, others = make_mail(), [make_mail() for _ in range(3)]
        NotificationContent.objects.filter(pk=erased.pk).update(frozen_at=erased.created_at)
        NotificationContent.objects.filter(pk=erased.pk).update(
            recipient="", sender="", reply_to="", subject="", text="", html="", erased_at=erased.created_at
        )
        done = run_pass()
        assert (done.sent, done.failed, done.pending) == (3, 1, 0)
        assert states(pk__in=[log.pk for log in others]) == ["sent"] * 3
        assert standing(erased) == ("failed", "unusable")
        assert f"Mail {erased.key} broke the work on it." in caplog.text


class TestTwoRecipients:
    def test_of_whom_one_is_told_while_another_is_not_after_all_leave_the_fall_told_of(
        self, mail_server: Server
    ) -> None:
        tell_whom(make_fallen(), "desk@example.net", "owner@example.net")
        owe()
        desk, owner = claiming.claim()
        with another_connection() as other, another_connection() as looking:

            def begin_the_owners_and_refuse_the_desks(_message: EmailMessage) -> str:
                other.execute("BEGIN")
                other.execute("SELECT FROM billing_episode FOR UPDATE")
                other.execute(
                    "UPDATE notifications_notificationlog SET state = 'sending', sending_at = now() WHERE id = %s",
                    [owner.log_id],
                )
                return "451 4.3.0 Later"

            mail_server.on_body = begin_the_owners_and_refuse_the_desks
            with meanwhile(lambda: sending.send(desk, Smtp(smtp_settings()))) as sent:
                waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                wait_until(lambda: looking.execute(waits).fetchone(), what="waiting for the fall")
                other.execute("COMMIT")
        assert sent.result().state == State.PENDING
        assert Episode.objects.get().told_at is not None
