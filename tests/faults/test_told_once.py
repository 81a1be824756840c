"""A customer is told once, whatever fails: real workers, a real mail server, real kills. The short form.

Each worker is a process of its own. What counts as told is what the mail server accepted.
"""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import psycopg
import pytest
import trustme

from billing.cycle import run_cycle
from billing.models import Customer, Episode
from notifications import cycle, instance, owing
from notifications.models import BreakerLimits, BreakerTrip, NotificationLog, State
from tests.billing.at_once import real_commits
from tests.factories import make_alert, make_customer, make_entry, make_partner
from tests.faults.mailserver import At, Fault, MailServer, free_port, mail_server, wait_for_port
from tests.faults.processes import Running, another_connection, finish, run, start, wait_until, warm_up

pytestmark = real_commits

PASS = ["run_notifications", "--json"]


@cache
def steady_port() -> int:
    """The same for all tests, so that their workers can be forked from one process."""
    return free_port()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[MailServer]:
    """The mail server of this process and of the workers that it starts."""
    # Workers that are frozen in the middle of a mail for as long as the test needs find it still worth going on with.
    with mail_server(port=steady_port(), deadline_seconds=120) as mails:
        monkeypatch.setenv("EMAIL_URL", mails.url)
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.MAIL_SECONDS = "127.0.0.1", mails.port, 60.0
        yield mails


@pytest.fixture(autouse=True)
def wide_limits() -> None:
    """The breaker has tests of its own."""
    BreakerLimits.objects.create(pk=1, mails_an_hour=100_000, customers_a_pass=100_000, mails_a_recipient_a_day=100)


def fell(*names: str) -> list[Customer]:
    """Customers who have just fallen below ten pounds, each with an address of their own."""
    partner = make_partner(slug="quayside", name="Quayside", sender="billing@quayside.example")
    customers = []
    for name in names:
        customer = make_customer(partner=partner, email=address(name), name=name, balance=20)
        make_alert(customer=customer, threshold=Decimal(10))
        spend(customer, Decimal(15), key=f"adjustment:{name}")
        customers.append(customer)
    bill()
    return customers


def spend(customer: Customer, amount: Decimal, *, key: str) -> None:
    make_entry(customer=customer, kind="adjustment", key=key, amount=-amount, reason="calls", entered_by="Astrid Holm")


def bill() -> None:
    run_cycle(by="test", at=datetime.now(UTC))


def address(name: str) -> str:
    return f"{name.lower()}@example.net"


def told(server: MailServer) -> list[str]:
    """Who has a mail, sorted; twice who has two."""
    return sorted(mail.to for mail in server.accepted)


def state_of(customer: Customer) -> str:
    return NotificationLog.objects.get(customer=customer).state


def one_pass() -> cycle.Pass:
    """A whole pass, in this process."""
    return cycle.run_pass(at=datetime.now(UTC))


def let_leases_run_out() -> None:
    with another_connection() as other:
        other.execute("UPDATE notifications_notificationlog SET lease_until = now() - interval '1 s'"
                      " WHERE lease_until IS NOT NULL")  # fmt: skip


def let_delays_pass() -> None:
    NotificationLog.objects.filter(state=State.PENDING).update(next_try_at=datetime.now(UTC) - timedelta(seconds=1))


def kill(worker: Running) -> None:
    worker.kill()
    worker.communicate(timeout=60)


class TestAReplyThatNeverCame:
    """The mail server has the mail; the sender can't know. In 2019 it went out again, and again."""

    @pytest.mark.parametrize("fault", [Fault.DROP, Fault.HANG])
    def test_leaves_the_mail_uncertain_and_never_sends_it_again_by_itself(
        self, server: MailServer, settings: Any, fault: Fault
    ) -> None:
        if fault == Fault.HANG:
            settings.MAIL_SECONDS = 3.0
        (mei,) = fell("Mei")
        server.fail(At.REPLY, fault)
        assert one_pass().uncertain == 1
        for _ in range(3):
            let_delays_pass()
            let_leases_run_out()
            one_pass()
        assert told(server) == [address("Mei")]
        assert state_of(mei) == State.UNCERTAIN

    def test_does_not_keep_others_from_being_told(self, server: MailServer) -> None:
        fell("Mei", "Ines", "Jonas")
        server.fail(At.REPLY, Fault.DROP, to=address("Mei"))
        one_pass()
        one_pass()
        assert told(server) == [address("Ines"), address("Jonas"), address("Mei")]

    def test_is_sent_again_only_by_order_and_with_the_same_message_id(self, server: MailServer) -> None:
        (mei,) = fell("Mei")
        server.fail(At.REPLY, Fault.DROP)
        one_pass()
        key = NotificationLog.objects.get(customer=mei).key
        status, answer = run("review", "resend", key, "--reason", "she says that nothing came")
        assert (status, answer["done"]) == (0, 1)
        one_pass()
        first, second = server.accepted
        assert first.message_id == second.message_id
        assert first.content == second.content
        assert state_of(mei) == State.SENT
        assert run("review", "resend", key, "--reason", "again")[1]["done"] == 0


class TestAWorkerKilled:
    @pytest.mark.parametrize("at", [At.EHLO, At.MAIL, At.RCPT, At.DATA])
    def test_before_the_point_of_no_return_the_mail_goes_out_later_once(self, server: MailServer, at: At) -> None:
        (mei,) = fell("Mei")
        hold = server.hold(at)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        kill(worker)
        hold.release.set()
        assert one_pass().sent == 0, "the lease still runs"
        let_leases_run_out()
        one_pass()
        assert told(server) == [address("Mei")]
        assert state_of(mei) == State.SENT

    def test_after_it_the_mail_is_uncertain_and_stays_so(self, server: MailServer) -> None:
        (mei,) = fell("Mei")
        hold = server.hold(At.REPLY)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        kill(worker)
        hold.release.set()
        for _ in range(3):
            let_leases_run_out()
            one_pass()
        assert told(server) == [address("Mei")]
        assert state_of(mei) == State.UNCERTAIN


class TestAWorkerPaused:
    def test_and_woken_after_its_lease_sends_nothing_a_second_time_and_its_late_answer_counts(
        self, server: MailServer
    ) -> None:
        (mei,) = fell("Mei")
        hold = server.hold(At.REPLY)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            let_leases_run_out()
            one_pass()
            assert state_of(mei) == State.UNCERTAIN
        finally:
            hold.release.set()
            os.kill(worker.pid, signal.SIGCONT)
        finish(worker)
        assert state_of(mei) == State.SENT
        one_pass()
        assert told(server) == [address("Mei")]

    def test_before_the_point_of_no_return_and_replaced_hands_over_nothing(self, server: MailServer) -> None:
        fell("Mei")
        hold = server.hold(At.DATA)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            let_leases_run_out()
            assert one_pass().sent == 1
        finally:
            hold.release.set()
            os.kill(worker.pid, signal.SIGCONT)
        status, answer = finish(worker)
        assert (status, answer["sent"], answer["held"]) == (0, 0, 0)
        assert told(server) == [address("Mei")]
        assert not BreakerTrip.objects.exists(), "that somebody else has sent it is no reason to halt everything"

    def test_while_it_gives_a_mail_up_keeps_no_billing_waiting(self, server: MailServer) -> None:
        """It found the balance recovered, and has begun to close the fall."""
        (mei,) = fell("Mei")
        owing.owe(at=datetime.now(UTC), doubt=instance.why_not_confirmed())
        spend(mei, Decimal(-50), key="adjustment:top-up")
        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with another_connection() as other, another_connection() as looking:
            with other.transaction():
                other.execute("SELECT FROM billing_customertojudge FOR UPDATE")
                worker = start(*PASS)
                wait_until(lambda: looking.execute(waits).fetchone(), what="giving up")
                os.kill(worker.pid, signal.SIGSTOP)
            try:
                other.execute("SET statement_timeout = '20s'")
                other.execute("UPDATE billing_customertojudge SET since = now()")
            finally:
                os.kill(worker.pid, signal.SIGCONT)
        assert finish(worker)[1]["suppressed"] == 1
        assert state_of(mei) == State.SUPPRESSED
        assert told(server) == []

    def test_too_long_over_the_commit_hands_over_nothing_and_the_mail_goes_out_later(self, server: MailServer) -> None:
        """The lock stands for whatever makes a commit slow; the worker may wait for it as long as a halt would."""
        (mei,) = fell("Mei")
        hold = server.hold(At.DATA)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        with another_connection() as other, other.transaction():
            other.execute("SELECT FROM billing_episode FOR UPDATE")
            hold.release.set()
            wait_until(lambda: NotificationLog.objects.get(customer=mei).state == State.PENDING, what="giving up")
        finish(worker)
        assert told(server) == []
        let_delays_pass()
        one_pass()
        assert told(server) == [address("Mei")]


class TestAServerThatRefuses:
    @pytest.mark.parametrize("at", [At.GREETING, At.MAIL, At.RCPT, At.DATA, At.REPLY])
    def test_for_now_gets_the_mail_later_once(self, server: MailServer, at: At) -> None:
        (mei,) = fell("Mei")
        server.fail(at, Fault.LATER)
        assert one_pass().sent == 0
        log = NotificationLog.objects.get(customer=mei)
        assert log.state == State.PENDING
        assert "Try again later" in log.detail
        assert one_pass().sent == 0, "not before its delay has passed"
        let_delays_pass()
        one_pass()
        assert told(server) == [address("Mei")]

    @pytest.mark.parametrize("offers_pipelining", [True, False])
    @pytest.mark.parametrize("at", [At.MAIL, At.RCPT, At.DATA, At.REPLY])
    def test_for_good_fails_that_mail_and_no_other(self, server: MailServer, at: At, offers_pipelining: bool) -> None:
        server.offers_pipelining = offers_pipelining
        mei, _ = fell("Mei", "Ines")
        server.fail(at, Fault.NEVER)
        one_pass()
        failed, sent = NotificationLog.objects.order_by("pk")
        assert (failed.state, sent.state) == (State.FAILED, State.SENT)
        assert "554 5.7.1 Not here, not ever" in failed.detail
        assert told(server) == [address("Ines")]
        assert Episode.objects.get(alert__customer=mei, alert__kind="low_balance").told_at is None

    def test_to_listen_is_told_in_words_and_tried_again(self, server: MailServer) -> None:
        fell("Mei", "Ines")
        server.stop()
        done = one_pass()
        assert "the connection was refused" in done.trouble[0]
        assert done.pending == 2
        server.start()
        let_delays_pass()
        one_pass()
        assert told(server) == [address("Ines"), address("Mei")]

    def test_a_wrong_password_is_told_in_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with mail_server(login=("ivy", "right")) as server:
            (mei,) = fell("Mei")
            monkeypatch.setenv("EMAIL_URL", f"smtp://ivy:wrong@127.0.0.1:{server.port}")
            status, answer = run("run_notifications")
            assert (status, answer["pending"]) == (1, 1)
            assert "login: 535" in NotificationLog.objects.get(customer=mei).detail
            monkeypatch.setenv("EMAIL_URL", f"smtp://ivy:right@127.0.0.1:{server.port}")
            let_delays_pass()
            assert run("run_notifications")[0] == 0
            assert told(server) == [address("Mei")]

    def test_an_untrusted_certificate_is_told_in_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ssl

        authority = trustme.CA()
        expired = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        expired.configure_cert(context)
        (mei,) = fell("Mei")
        port = free_port()
        with _tls_server(port, context):
            monkeypatch.setenv("EMAIL_URL", f"smtp+ssl://127.0.0.1:{port}")
            with authority.cert_pem.tempfile() as trusted:
                monkeypatch.setenv("SSL_CERT_FILE", trusted)
                assert run("run_notifications")[0] == 1
        assert "certificate has expired" in NotificationLog.objects.get(customer=mei).detail

    def test_a_server_that_drips_holds_nobody_up_for_ever(self, server: MailServer, settings: Any) -> None:
        settings.MAIL_SECONDS = 3.0
        (mei,) = fell("Mei")
        server.fail(At.MAIL, Fault.DRIP)
        one_pass()
        assert state_of(mei) == State.PENDING
        assert "no answer in time" in NotificationLog.objects.get(customer=mei).detail


def _tls_server(port: int, context: Any) -> Any:
    from contextlib import contextmanager

    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    @contextmanager
    def serving() -> Iterator[None]:
        import asyncio
        import threading

        loop = asyncio.new_event_loop()
        controller = Controller(Sink(), hostname="127.0.0.1", port=port)
        listening = loop.run_until_complete(
            loop.create_server(controller.factory, host="127.0.0.1", port=port, ssl=context)
        )
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        wait_for_port(port)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(listening.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(60)

    return serving()


class TestManyWorkers:
    @pytest.mark.parametrize("workers", [2, 4])
    def test_tell_each_customer_once(self, server: MailServer, workers: int) -> None:
        names = [f"Customer{number}" for number in range(60)]
        fell(*names)
        processes = [start(*PASS) for _ in range(workers)]
        for process in processes:
            finish(process)
        one_pass()
        assert told(server) == sorted(address(name) for name in names)


class TestAHaltInTheMiddleOfABurst:
    def test_lets_nothing_begin_afterwards_and_keeps_the_answers_of_what_had_begun(self, server: MailServer) -> None:
        warm_up()
        fell(*[f"Customer{number}" for number in range(100)])  # as many as two workers claim at a time
        server.fail(At.REPLY, Fault.SLOW, times=100)
        workers = [start(*PASS)]
        wait_until(lambda: server.accepted, what="the first mail")  # a pass beside one that still reckons has no work
        workers.append(start(*PASS))
        wait_until(lambda: len(server.accepted) >= 5, what="the burst")
        assert run("halt", "notifications", "--reason", "something is wrong")[0] == 0
        at_the_halt = NotificationLog.objects.filter(sending_at__isnull=False).count()
        assert {finish(worker)[0] for worker in workers} == {3}
        assert NotificationLog.objects.filter(sending_at__isnull=False).count() == at_the_halt
        assert NotificationLog.objects.filter(state=State.SENT).count() == at_the_halt == len(server.accepted)
        assert run("run_notifications")[0] == 3
        assert len(server.accepted) == at_the_halt
        server.heal()
        # Who was topped up meanwhile hears nothing any more.
        lucky = NotificationLog.objects.filter(state=State.PENDING).select_related("customer").first()
        assert lucky is not None
        make_entry(customer=lucky.customer, kind="payment", key="payment:bank:1", amount=Decimal(100))
        assert run("run_billing")[0] == 0, "billing goes on"
        assert run("resume", "notifications", "--reason", "it was a false alarm")[0] == 0
        one_pass()
        assert len(server.accepted) == 99
        assert lucky.customer.email not in told(server)


class TestWithoutRedis:
    def test_customers_are_told_all_the_same(self, server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CACHE_URL", f"redis://127.0.0.1:{free_port()}/0")
        fell("Mei")
        for _ in range(2):
            assert run("run_notifications")[0] == 0
        assert told(server) == [address("Mei")]


class TestTheTopUpThatCameFirst:
    def test_just_before_the_point_of_no_return_nothing_is_sent_and_the_next_fall_is_told(
        self, server: MailServer
    ) -> None:
        (mei,) = fell("Mei")
        hold = server.hold(At.DATA)
        worker = start(*PASS)
        assert hold.reached.wait(60)
        make_entry(customer=mei, kind="payment", key="payment:bank:1", amount=Decimal(100))
        hold.release.set()
        assert finish(worker)[1]["suppressed"] == 1
        assert told(server) == []
        spend(mei, Decimal(100), key="adjustment:again")
        bill()
        one_pass()
        assert told(server) == [address("Mei")]


class TestTwoPeopleAtOnce:
    def test_order_a_resend_once(self, server: MailServer) -> None:
        (mei,) = fell("Mei")
        server.fail(At.REPLY, Fault.DROP)
        one_pass()
        key = NotificationLog.objects.get(customer=mei).key
        both = [start("review", "resend", key, "--reason", "nothing came", "--json") for _ in range(2)]
        assert sorted(finish(one)[1]["done"] for one in both) == [0, 1]
        one_pass()
        assert told(server) == [address("Mei")] * 2, "the order's one, besides the first"


def test_a_mail_about_to_go_out_twice_without_an_order_trips_the_breaker(server: MailServer) -> None:
    """As a restored backup or a slip with SQL would have it."""
    (mei,) = fell("Mei")
    one_pass()
    with another_connection() as other, other.transaction():
        other.execute("ALTER TABLE notifications_notificationlog DISABLE TRIGGER notifications_stay_what_they_are")
        other.execute("UPDATE notifications_notificationlog SET state = 'pending', sent_at = NULL")
        other.execute("ALTER TABLE notifications_notificationlog ENABLE TRIGGER notifications_stay_what_they_are")
    status, answer = run("run_notifications")
    assert (status, answer["sent"], answer["held"]) == (3, 0, 1)
    assert told(server) == [address("Mei")]
    assert state_of(mei) == State.HELD
    with pytest.raises(psycopg.errors.IntegrityError), another_connection() as other:
        other.execute("UPDATE notifications_notificationlog SET state = 'sent', sent_at = now()")
