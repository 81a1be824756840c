"""Which database mails: a copy of last night's, or one that took over, sends nothing until staff confirm it."""

from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives

from billing import halting
from billing.models import Episode, HaltCause, Process, ProcessSwitch
from notifications import claiming, instance, releasing, reviewing, sending, transports
from notifications.models import (
    BreakerTrip,
    ConfirmedInstance,
    DeliveryAttempt,
    NotificationHistory,
    NotificationLog,
    Outcome,
    State,
    Verb,
)
from tests.billing.at_once import at_once
from tests.billing.test_commands import command
from tests.billing.test_invariants import sql
from tests.notifications.conftest import Server
from tests.notifications.stories import (
    log_of,
    make_fallen,
    make_mail,
    make_watched,
    nothing_may_be_written,
    owe,
    real_commits,
    run_pass,
    set_balance,
    standing,
    states,
)

Outbox = list[EmailMultiAlternatives]
ASTRID = "Astrid Holm"

ELSEWHERE = {
    "another server": ("system_identifier = system_identifier + 1", "this database is a copy"),
    "another database of the server": ("database_oid = database_oid + 1", "this database is a copy"),
    "a copy restored in place": ("log_oid = log_oid + 1", "a copy was restored into this database"),
    "a fail-over": ("timeline = '000000FF'", "the database failed over (timeline 000000FF before, "),
    "another installation": ("installation = repeat('0', 64)", "another secret key"),
}
# What can't come about while a worker holds on to a connection.
FOUND_OUT_BY_PASSES = {"a copy restored in place", "another installation"}

everywhere = pytest.mark.parametrize("where", ELSEWHERE)


def move(where: str = "another server") -> str:
    """What mailed until now was somewhere else; what the reason for not mailing any more says."""
    change, words = ELSEWHERE[where]
    sql(f"UPDATE notifications_confirmedinstance SET {change}")
    return words


def halt_of_notifications() -> ProcessSwitch:
    return ProcessSwitch.objects.get(process=Process.NOTIFICATIONS)


def reset() -> None:
    releasing.reset(reason="We moved here.", by=ASTRID)


@pytest.mark.django_db
class TestADatabaseThatNeverMailed:
    def test_confirms_itself(self, mailoutbox: Outbox) -> None:
        make_fallen()
        assert run_pass().sent == 1
        known, here = ConfirmedInstance.objects.get(), instance.identity()
        assert (known.system_identifier, known.database_oid) == (here.system_identifier, here.database_oid)
        assert (known.timeline, known.installation) == (here.timeline, here.installation)
        assert (known.confirmed_by, len(here.timeline), len(here.installation)) == ("first start", 8, 64)

    def test_is_told_by_that_no_mail_was_ever_owed(self) -> None:
        make_mail(State.SENT)
        ConfirmedInstance.objects.all().delete()
        assert instance.why_not_confirmed() == "nobody has confirmed that this database is the one that mails"
        assert not ConfirmedInstance.objects.exists()

    def test_that_was_confirmed_before_its_log_was_asked_for_stays_the_one(self) -> None:
        instance.why_not_confirmed()
        ConfirmedInstance.objects.update(log_oid=None)
        assert instance.why_not_confirmed() == ""
        assert ConfirmedInstance.objects.get().log_oid == instance.identity().log_oid

    def test_does_not_confirm_itself_where_only_somebody_asks(self) -> None:
        with nothing_may_be_written():
            assert instance.doubt() == ""
        assert not ConfirmedInstance.objects.exists()

    def test_stays_the_one_however_often_it_is_asked(self, mailoutbox: Outbox) -> None:
        for _ in range(3):
            make_fallen()
            assert run_pass().sent == 1
        assert ConfirmedInstance.objects.get().confirmed_by == "first start"


@pytest.mark.django_db
class TestADatabaseSomewhereElse:
    @everywhere
    def test_is_found_out(self, where: str) -> None:
        assert instance.why_not_confirmed() == ""
        words = move(where)
        assert words in instance.why_not_confirmed()
        assert ConfirmedInstance.objects.get().confirmed_by == "first start"

    @everywhere
    def test_sends_nothing_and_halts_with_the_reason(self, mail_server: Server, where: str) -> None:
        make_fallen()
        owe()
        words = move(where)
        done = run_pass()
        assert (done.sent, done.uncertain, done.is_halted, done.pending) == (0, 1, True, 0)
        halt = halt_of_notifications()
        assert (halt.is_halted, halt.cause, halt.changed_by) == (True, HaltCause.BREAKER, "instance check")
        assert words in halt.reason
        assert done.halted == [halt.reason]
        assert mail_server.mails == []
        assert not DeliveryAttempt.objects.exists()

    def test_is_known_by_a_setting_that_staging_has_of_its_own(self, settings: Any) -> None:
        instance.why_not_confirmed()
        settings.SECRET_KEY = "another secret key than the one that was here before"
        assert "another secret key" in instance.why_not_confirmed()

    def test_does_not_know_what_of_its_mails_went_out_since(self) -> None:
        """The original may have sent what waited here, and what was in workers' hands."""
        logs = {state: make_mail(state) for state in State}
        words = move()
        assert run_pass().uncertain == 4
        for state, log in logs.items():
            if state in {State.PENDING, State.CLAIMED, State.SENDING, State.HELD}:
                assert standing(log) == ("uncertain", "copied")
                line = log.history.get()
                assert (line.by, line.verb, line.from_state) == ("instance check", "doubt", state)
                assert words in line.reason
            else:
                assert standing(log)[0] == state
                assert not log.history.exists()

    def test_writes_falls_from_then_on_as_uncertain(self, mailoutbox: Outbox) -> None:
        instance.why_not_confirmed()
        words = move()
        alert = make_fallen()
        for created in (1, 0):
            done = run_pass()
            assert (done.created, done.sent) == (created, 0)
        assert standing(log_of(alert)) == ("uncertain", "copied")
        assert words in log_of(alert).detail
        assert mailoutbox == []

    def test_writes_one_of_several_falls_as_uncertain_and_the_others_as_covered(self) -> None:
        instance.why_not_confirmed()
        move()
        five = make_watched(5)
        ten = make_watched(10, customer=five.customer)
        set_balance(five.customer, 3)
        run_pass()
        assert standing(log_of(five)) == ("uncertain", "copied")
        assert standing(log_of(ten)) == ("suppressed", "covered")

    def test_says_what_can_never_be_sent_as_it_is(self) -> None:
        instance.why_not_confirmed()
        move()
        alert = make_fallen()
        alert.recipients.create(email="desk")
        run_pass()
        assert standing(log_of(alert)) == ("failed", "no_address")

    def test_does_not_write_it_down_anew_with_every_pass(self) -> None:
        make_mail()
        move()
        for _ in range(3):
            run_pass()
        assert NotificationHistory.objects.count() == ProcessSwitch.objects.count() == 1

    def test_sends_nothing_after_staff_ended_only_their_own_halt(self, mailoutbox: Outbox) -> None:
        instance.why_not_confirmed()
        move()
        run_pass()
        halting.resume(Process.NOTIFICATIONS, reason="Go on.", by=ASTRID)
        make_fallen()
        assert run_pass().sent == 0
        assert mailoutbox == []

    @pytest.mark.parametrize("where", [where for where in ELSEWHERE if where not in FOUND_OUT_BY_PASSES])
    def test_stops_a_worker_that_has_claimed_already(self, mail_server: Server, where: str) -> None:
        """A replica takes over while a worker stands before the point of no return."""
        log = make_mail()
        (claim,) = claiming.claim()
        words = move(where)
        way = transports.transport()
        try:
            assert sending.send(claim, way).state == State.UNCERTAIN
        finally:
            way.close()
        assert standing(log) == ("uncertain", "copied")
        assert words in NotificationLog.objects.get().detail
        assert mail_server.mails == []

    def test_says_so_in_the_command(self) -> None:
        make_mail()
        move("a fail-over")
        answer = command("run_notifications", "--json")
        assert (answer.status, answer.json["uncertain"], answer.json["sent"]) == (3, 1, 0)
        (reason,) = answer.json["halted"]
        assert reason.startswith("the database failed over")
        assert reason.endswith("reset_breaker confirms that it mails from now on")


@pytest.mark.django_db
class TestStaffWhoConfirm:
    @everywhere
    def test_let_it_mail_from_now_on(self, mailoutbox: Outbox, where: str) -> None:
        before = make_mail()
        words = move(where)
        run_pass()
        answer = command("reset_breaker", "--preview", "--json")
        assert words in answer.json["doubt"]
        assert (answer.json["trip"], answer.json["mails"]) == ("", 0)

        answer = command("reset_breaker", "--reason=We moved here.", "--json")
        assert answer.json["processes"][0]["state"] == "working"
        assert instance.why_not_confirmed() == ""
        assert ConfirmedInstance.objects.get().confirmed_by.endswith("(command line)")

        alert = make_fallen()
        assert run_pass().sent == 1
        assert [mail.to for mail in mailoutbox] == [[alert.customer.email]]
        assert standing(before) == ("uncertain", "copied")

    def test_say_of_each_mail_that_was_in_doubt_what_became_of_it(self, mailoutbox: Outbox) -> None:
        sent, lost, known = make_mail(), make_mail(), make_mail(State.SENDING)
        move()
        run_pass()
        reset()
        for verb, log in [(Verb.DELIVERED, sent), (Verb.RESEND, lost), (Verb.SUPPRESS, known)]:
            assert reviewing.review(verb, [log.key], reason="I looked.", by=ASTRID).done == [log.key]
        assert run_pass().sent == 1
        assert [mail.to for mail in mailoutbox] == [[lost.customer.email]]
        assert [standing(log)[0] for log in (sent, lost, known)] == ["sent", "sent", "suppressed"]

    def test_that_a_mail_in_doubt_arrived_have_its_fall_told_of(self) -> None:
        log = make_mail()
        move()
        run_pass()
        reset()
        reviewing.review(Verb.DELIVERED, [log.key], reason="I looked.", by=ASTRID)
        assert Episode.objects.get().told_at is not None

    def test_may_do_so_before_a_pass_has_noticed(self, mailoutbox: Outbox) -> None:
        make_mail()
        move()
        reset()
        assert run_pass().sent == 1
        assert not ProcessSwitch.objects.filter(is_halted=True).exists()

    def test_change_nothing_where_there_is_no_doubt(self) -> None:
        make_mail()
        before = instance.identity()
        reset()
        assert instance.identity() == before
        assert states() == ["pending"]
        assert not BreakerTrip.objects.exists()


@real_commits
class TestSeveralAtOnce:
    def test_find_out_once(self, mail_server: Server) -> None:
        logs = [make_mail() for _ in range(5)]
        move()
        done = at_once(run_pass, run_pass, run_pass)
        assert sum(one.uncertain for one in done) == 5
        assert {standing(log) for log in logs} == {("uncertain", "copied")}
        assert NotificationHistory.objects.count() == 5
        assert ProcessSwitch.objects.count() == 1
        assert mail_server.mails == []

    def test_confirm_a_new_database_once(self, mail_server: Server) -> None:
        make_fallen()
        done = at_once(run_pass, run_pass, run_pass)
        assert sum(one.sent for one in done) == len(mail_server.mails) == 1
        assert ConfirmedInstance.objects.get().confirmed_by == "first start"
        assert not ProcessSwitch.objects.exists()

    def test_count_the_answer_that_a_worker_gets_meanwhile(self, mail_server: Server) -> None:
        """Doubted in the middle of its hand-over, and taken by the server all the same."""
        log = make_mail()

        def doubt(_message: object) -> str:
            at_once(lambda: instance.doubt_what_may_have_gone_out(reason="the database failed over"))
            return "250 taken"

        mail_server.on_body = doubt
        run_pass()
        assert len(mail_server.mails) == 1
        assert standing(log) == ("sent", "")
        assert DeliveryAttempt.objects.get().outcome == Outcome.ACCEPTED
