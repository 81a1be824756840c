"""The breaker: what it stops, at which count exactly, whom it leaves alone, and how staff let mails go again."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import connection
from django.utils import timezone

from billing import episodes, halting
from billing.models import BalanceAlert, Customer, CustomerStatus, Episode, HaltCause, Process, ProcessSwitch
from notifications import breaker, claiming, releasing, reviewing
from notifications.breaker import Reached
from notifications.claiming import Claim, LimitReached
from notifications.models import (
    BreakerLimits,
    BreakerTrip,
    ConfirmedInstance,
    NotificationHistory,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
    Verb,
)
from tests.billing.at_once import at_once
from tests.factories import make_customer, make_entry
from tests.notifications.conftest import Server
from tests.notifications.stories import (
    HOUR,
    days_pass,
    log_of,
    make_attempt,
    make_fallen,
    make_mail,
    make_watched,
    move_balance,
    nothing_may_be_written,
    owe,
    real_commits,
    run_pass,
    set_balance,
    set_limits,
    standing,
    states,
    tell_whom,
)

Outbox = list[EmailMultiAlternatives]
ASTRID = "Astrid Holm"
REACHED = Reached("mails_an_hour", "too many mails")


def fall_many(number: int) -> list[BalanceAlert]:
    return [make_fallen() for _ in range(number)]


def fall_again(alert: BalanceAlert) -> None:
    """Recover and fall once more."""
    set_balance(alert.customer, 50)
    set_balance(alert.customer, 5)


def charge(customer: Customer) -> None:
    make_entry(customer=customer, kind="call", amount=Decimal("-0.03"), rate_id=1, billed_seconds=60)


def open_limits() -> list[str]:
    """By which limits the breaker has tripped, and nobody reset it."""
    return list(BreakerTrip.objects.filter(reset_at=None).values_list("limit", flat=True))


def assert_tripped(limit: str) -> None:
    """Tripped, halted with the reason, and nothing is left that could go out."""
    trip = BreakerTrip.objects.get(reset_at=None)
    switch = ProcessSwitch.objects.get(process=Process.NOTIFICATIONS, cause=HaltCause.BREAKER)
    assert (trip.limit, switch.is_halted, switch.reason, switch.changed_by) == (limit, True, trip.reason, "breaker")
    assert {"pending", "claimed", "sending"}.isdisjoint(states())


def reset() -> releasing.Release:
    release, _ = releasing.reset(reason="The price was right.", by=ASTRID)
    return release


def let_paced_mails_go() -> None:
    """So much time goes by that every mail which was paced may go out."""
    NotificationLog.objects.filter(state=State.PENDING).update(next_try_at=timezone.now())


@pytest.mark.django_db
class TestTheLimits:
    def test_are_these_unless_staff_set_others(self) -> None:
        limits = breaker.limits()
        assert (limits.mails_a_recipient_a_day, limits.held_customers_an_hour) == (3, 10)
        assert (limits.mails_an_hour, limits.busiest_hour_factor) == (500, 3)
        assert (limits.customers_a_pass, limits.share_of_customers_a_pass) == (50, Decimal("0.25"))
        assert breaker.limits() == limits
        assert BreakerLimits.objects.count() == 1

    @pytest.mark.parametrize("falls", [5, 6], ids=["at the edge", "one beyond"])
    def test_stop_a_pass_to_too_many_customers(self, mailoutbox: Outbox, falls: int) -> None:
        set_limits(customers_a_pass=5)
        fall_many(falls)
        done = run_pass()
        if falls == 5:
            assert (done.sent, open_limits()) == (5, [])
            return
        assert (done.sent, done.held, len(mailoutbox)) == (0, 6, 0)
        assert done.halted == ["6 customers would be mailed in one pass; 5 are allowed"]
        assert_tripped("customers_a_pass")

    @pytest.mark.parametrize("falls", [4, 5], ids=["at the edge", "one beyond"])
    def test_allow_a_share_of_the_customers_charged_lately(self, falls: int) -> None:
        set_limits(customers_a_pass=1, share_of_customers_a_pass=Decimal("0.25"))
        for customer in [alert.customer for alert in fall_many(falls)]:
            charge(customer)
            charge(customer)
        for _ in range(16 - falls):
            charge(make_customer())
            make_entry(customer=make_customer(), amount=Decimal(10))  # a payment is no charge
        assert run_pass().sent == (4 if falls == 4 else 0)
        assert open_limits() == ([] if falls == 4 else ["customers_a_pass"])

    def test_count_a_customer_once_however_many_recipients_it_has(self, mailoutbox: Outbox) -> None:
        set_limits(customers_a_pass=1)
        alert = make_fallen()
        for number in range(4):
            alert.recipients.create(email=f"desk.{number}@example.net")
        assert run_pass().sent == 4
        assert open_limits() == []

    @pytest.mark.parametrize("falls", [5, 6], ids=["at the edge", "one beyond"])
    def test_stop_too_many_mails_before_the_first_goes_out(self, mailoutbox: Outbox, falls: int) -> None:
        set_limits(mails_an_hour=5)
        fall_many(falls)
        done = run_pass()
        if falls == 5:
            assert (done.sent, open_limits()) == (5, [])
            return
        assert (done.sent, done.held, len(mailoutbox)) == (0, 6, 0)
        assert_tripped("mails_an_hour")

    @pytest.mark.parametrize("falls", [2, 3], ids=["at the edge", "one beyond"])
    def test_count_what_went_out_within_the_hour(self, mailoutbox: Outbox, falls: int) -> None:
        set_limits(mails_an_hour=5)
        fall_many(3)
        run_pass()
        fall_many(falls)
        run_pass()
        assert len(mailoutbox) == (5 if falls == 2 else 3)
        assert open_limits() == ([] if falls == 2 else ["mails_an_hour"])

    def test_begin_anew_with_the_next_hour(self, mailoutbox: Outbox) -> None:
        set_limits(mails_an_hour=3, busiest_hour_factor=Decimal("0.1"))
        for _ in range(3):
            fall_many(3)
            assert run_pass().sent == 3
            days_pass(61 / 60 / 24)
        assert open_limits() == []

    @pytest.mark.parametrize("falls", [6, 7], ids=["at the edge", "one beyond"])
    def test_grow_with_the_busiest_hour(self, falls: int) -> None:
        set_limits(mails_an_hour=1, busiest_hour_factor=Decimal("1.5"))
        busy = (timezone.now() - timedelta(days=2)).replace(minute=0)
        for minute in (0, 10, 20, 59, 60, 70):
            make_mail(State.SENT, sending_at=busy + timedelta(minutes=minute))
        make_mail(State.SENT, sending_at=timezone.now() - timedelta(days=36))
        fall_many(falls)
        assert run_pass().sent == (6 if falls == 6 else 0)
        assert open_limits() == ([] if falls == 6 else ["mails_an_hour"])

    def test_stop_at_handing_over_what_was_owed_before_they_were_lowered(self, mailoutbox: Outbox) -> None:
        set_limits()
        fall_many(6)
        owe()
        set_limits(mails_an_hour=4)
        done = run_pass()
        assert (done.sent, done.is_halted, len(mailoutbox)) == (4, True, 4)
        assert sorted(states()) == ["held"] * 2 + ["sent"] * 4
        assert_tripped("mails_an_hour")

    def test_are_not_reached_by_mails_that_may_not_go_anyway(self) -> None:
        """A full hour is no burst where all who wait are suspended or of a halted partner."""
        set_limits(mails_an_hour=2)
        alerts = fall_many(2)
        owe()
        Customer.objects.filter(pk=alerts[0].customer_id).update(status=CustomerStatus.SUSPENDED)
        make_mail(State.SENT)
        assert run_pass().sent == 1
        assert (run_pass().halted, open_limits()) == ([], [])
        assert log_of(alerts[0]).state == "pending"


@pytest.mark.django_db
class TestTooManyMailsToOneRecipient:
    def test_are_held_for_that_customer_and_no_other(self, mailoutbox: Outbox) -> None:
        set_limits(mails_a_recipient_a_day=3)
        alert = make_fallen()
        other = make_fallen()
        Customer.objects.update(email="shared@example.net")
        for number in range(4):
            if number:
                fall_again(alert)
            run_pass()
        assert states(customer=alert.customer) == ["sent"] * 3 + ["held"]
        assert states(customer=other.customer) == ["sent"]
        held = NotificationLog.objects.get(state=State.HELD)
        assert (held.because, held.detail) == (
            "too_many",
            "3 mails of kind low_balance went to this recipient within a day",
        )
        assert open_limits() == []

    def test_begin_anew_after_a_day(self, mailoutbox: Outbox) -> None:
        set_limits(mails_a_recipient_a_day=1)
        alert = make_fallen()
        run_pass()
        days_pass(1.01)
        fall_again(alert)
        run_pass()
        assert states() == ["sent", "sent"]

    def test_are_counted_by_kind(self, mailoutbox: Outbox) -> None:
        set_limits(mails_a_recipient_a_day=1)
        alert = make_fallen(tells_restored=True)
        run_pass()
        set_balance(alert.customer, 50)
        run_pass()
        assert states() == ["sent", "sent"]

    def test_are_counted_while_they_wait(self) -> None:
        """Several falls in one pass: more than the limit would go out before any of them is counted as sent."""
        set_limits(mails_a_recipient_a_day=1)
        low = make_fallen(5, 3)
        owe()
        make_watched(10, customer=low.customer)
        episodes.judge(at=timezone.now())
        owe()
        assert states() == ["pending", "held"]

    def test_are_counted_again_at_the_point_of_no_return(self, mail_server: Server) -> None:
        set_limits()
        alert = make_fallen(5, 3)
        owe()
        make_watched(10, customer=alert.customer)
        episodes.judge(at=timezone.now())
        owe()
        set_limits(mails_a_recipient_a_day=1)
        run_pass()
        assert (states(), len(mail_server.mails)) == (["sent", "held"], 1)
        assert NotificationLog.objects.get(state=State.HELD).because == "too_many"

    @pytest.mark.parametrize("customers", [2, 3], ids=["at the edge", "one beyond"])
    def test_trip_the_whole_when_they_are_many_customers(self, mailoutbox: Outbox, customers: int) -> None:
        set_limits(mails_a_recipient_a_day=1, held_customers_an_hour=3)
        alerts = fall_many(customers)
        run_pass()
        for alert in alerts:
            fall_again(alert)
        bystander = make_fallen()
        run_pass()
        assert log_of(bystander).state == ("sent" if customers == 2 else "held")
        if customers == 3:
            assert_tripped("held_customers_an_hour")
        else:
            assert open_limits() == []

    def test_trip_the_whole_when_they_come_one_after_the_other(self) -> None:
        set_limits(mails_a_recipient_a_day=1, held_customers_an_hour=3)
        alerts = fall_many(3)
        run_pass()
        for alert, tripped in zip(alerts, ([], [], ["held_customers_an_hour"]), strict=True):
            assert open_limits() == []
            fall_again(alert)
            run_pass()
            assert open_limits() == tripped

    def test_of_one_customer_do_not_trip_however_many_they_are(self) -> None:
        set_limits(mails_a_recipient_a_day=1, held_customers_an_hour=2)
        alert = make_fallen()
        for _ in range(4):
            run_pass()
            fall_again(alert)
        assert open_limits() == []

    def test_stay_held_after_a_reset_also_where_they_tripped_it(self) -> None:
        set_limits(mails_a_recipient_a_day=1, held_customers_an_hour=2)
        alerts = fall_many(2)
        run_pass()
        for alert in alerts:
            fall_again(alert)
        bystander = make_fallen()
        run_pass()
        assert_tripped("held_customers_an_hour")
        assert reset().goes_out == {"low_balance": 1}
        assert log_of(bystander).state == "pending"
        assert states(because="too_many") == ["held", "held"]


@pytest.mark.django_db
class TestOrdersByStaff:
    def test_go_out_although_the_recipient_had_enough(self, mailoutbox: Outbox) -> None:
        set_limits(mails_a_recipient_a_day=1)
        alert = make_fallen()
        run_pass()
        fall_again(alert)
        run_pass()
        held = NotificationLog.objects.get(state=State.HELD)
        reviewing.review(Verb.APPROVE, [held.key], reason="They asked for it.", by=ASTRID)
        assert run_pass().sent == 1
        assert len(mailoutbox) == 2

    def test_go_out_although_the_hour_is_full(self, mailoutbox: Outbox) -> None:
        set_limits(mails_an_hour=1)
        failed = make_mail(State.FAILED)
        make_fallen()
        run_pass()
        reviewing.review(Verb.RETRY, [failed.key], reason="The mailbox is there again.", by=ASTRID)
        assert run_pass().sent == 1
        assert (len(mailoutbox), open_limits()) == (2, [])

    def test_are_not_counted_as_mails_of_the_hour(self, mailoutbox: Outbox) -> None:
        set_limits(mails_an_hour=2, customers_a_pass=2)
        failed = [make_mail(State.FAILED) for _ in range(6)]
        reviewing.review(Verb.RETRY, [log.key for log in failed], reason="Back again.", by=ASTRID)
        fall_many(2)
        assert run_pass().sent == 8
        fall_many(1)
        run_pass()
        assert open_limits() == ["mails_an_hour"]  # the third of those that nobody ordered

    def test_are_held_too_once_it_has_tripped(self) -> None:
        set_limits()
        failed = make_mail(State.FAILED)
        reviewing.review(Verb.RETRY, [failed.key], reason="Back again.", by=ASTRID)
        breaker.trip(REACHED)
        assert standing(failed) == ("held", "breaker")


@pytest.mark.django_db
class TestTheSameMailTwice:
    @pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNKNOWN, Outcome.ACCEPTED])
    def test_trips_at_once(self, mail_server: Server, outcome: Outcome) -> None:
        """Nothing of ours leads there: somebody has meddled with the log, or a rule of it is broken."""
        set_limits()
        twice, *others = [make_mail() for _ in range(3)]
        make_attempt(twice, outcome=outcome)
        run_pass()
        assert mail_server.mails == []
        assert_tripped("same_mail_twice")
        assert [standing(log) for log in (twice, *others)] == [("held", "breaker")] * 3
        assert twice.key in BreakerTrip.objects.get().reason

    @pytest.mark.parametrize("outcome", [Outcome.DEFERRED, Outcome.REFUSED])
    def test_is_no_such_thing_where_the_first_was_provably_not_delivered(
        self, mail_server: Server, outcome: Outcome
    ) -> None:
        set_limits()
        make_attempt(make_mail(), outcome=outcome)
        assert run_pass().sent == 1
        assert open_limits() == []

    def test_goes_out_by_order_once(self, mail_server: Server) -> None:
        set_limits()
        log = make_mail(State.UNCERTAIN)
        reviewing.review(Verb.RESEND, [log.key], reason="They say it never came.", by=ASTRID)
        assert run_pass().sent == 1
        assert open_limits() == []
        # An order is good for one hand-over, and not for two.
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE notifications_notificationlog DISABLE TRIGGER notifications_stay_what_they_are")
            cursor.execute("UPDATE notifications_notificationlog SET state = 'pending'")
            cursor.execute("ALTER TABLE notifications_notificationlog ENABLE TRIGGER notifications_stay_what_they_are")
        run_pass()
        assert len(mail_server.mails) == 1
        assert_tripped("same_mail_twice")


@pytest.mark.django_db
class TestTripped:
    def test_is_once(self) -> None:
        set_limits()
        assert [breaker.trip(REACHED), breaker.trip(REACHED)] == [True, False]
        assert BreakerTrip.objects.count() == 1

    def test_holds_what_waits_and_writes_it_down(self) -> None:
        logs = [make_mail(state) for state in State]
        breaker.trip(REACHED)
        was_pending = next(log for log in logs if log.state == State.PENDING)
        assert standing(was_pending) == ("held", "breaker")
        line = NotificationHistory.objects.get()
        assert (line.notification, line.by, line.verb) == (was_pending, "breaker", "hold")
        assert (line.from_state, line.to_state, line.reason) == ("pending", "held", REACHED.reason)
        for log in logs:
            if log != was_pending:
                assert standing(log)[0] == log.state

    def test_holds_what_falls_from_then_on(self, mailoutbox: Outbox) -> None:
        set_limits()
        breaker.trip(REACHED)
        alert = make_fallen()
        done = run_pass()
        assert (done.sent, done.held, done.is_halted) == (0, 1, True)
        assert standing(log_of(alert)) == ("held", "breaker")
        assert mailoutbox == []

    def test_suppresses_what_is_over_meanwhile(self) -> None:
        set_limits()
        alert = make_fallen()
        owe()
        breaker.trip(REACHED)
        set_balance(alert.customer, 50)
        assert run_pass().suppressed == 1

    def test_does_not_hand_over_what_a_worker_had_claimed(self, mail_server: Server) -> None:
        set_limits()
        make_mail()
        (claim,) = claiming.claim()
        breaker.trip(REACHED)
        claiming.give_back([claim])
        run_pass()
        assert (states(), mail_server.mails) == (["held"], [])

    def test_is_halted_for_staff_that_resume_only_their_own(self) -> None:
        set_limits()
        halting.halt(Process.NOTIFICATIONS, reason="Wrong prices.", by=ASTRID)
        breaker.trip(REACHED)
        resumed = halting.resume(Process.NOTIFICATIONS, reason="Mended.", by=ASTRID)
        assert (resumed.changed, resumed.is_halted) == (True, True)
        assert halting.resume(Process.NOTIFICATIONS, reason="Again.", by=ASTRID).changed is False
        make_fallen()
        assert run_pass().sent == 0
        assert open_limits() == ["mails_an_hour"]


@pytest.mark.django_db
class TestAReset:
    def tripped(self, falls: int = 3) -> list[BalanceAlert]:
        """So many mails held by the breaker."""
        set_limits(mails_an_hour=falls - 1)
        alerts = fall_many(falls)
        run_pass()
        assert states() == ["held"] * falls
        return alerts

    def test_lets_what_is_still_true_go_by_order_of_who_resets(self, mailoutbox: Outbox) -> None:
        self.tripped()
        release = reset()
        assert (release.trip, release.goes_out, release.over) == (
            "3 mails would go out within an hour; 2 are allowed",
            {"low_balance": 3},
            0,
        )
        order = StaffOrder.objects.get()
        assert (order.verb, order.by, order.reason, order.count) == ("release", ASTRID, "The price was right.", 3)
        assert set(NotificationLog.objects.values_list("order", flat=True)) == {order.pk}
        lines = NotificationHistory.objects.filter(verb="release")
        assert {(line.by, line.order, line.from_state, line.to_state) for line in lines} == {
            (ASTRID, order, "held", "pending")
        }
        let_paced_mails_go()
        assert run_pass().sent == 3
        assert open_limits() == []

    def test_ends_the_trip_and_tells_who_ended_it(self) -> None:
        self.tripped()
        reset()
        trip = BreakerTrip.objects.get()
        assert (trip.reset_by, trip.reset_because) == (ASTRID, "The price was right.")
        assert trip.reset_at is not None
        assert not ProcessSwitch.objects.filter(is_halted=True).exists()

    def test_paces_what_it_lets_go(self, mailoutbox: Outbox) -> None:
        self.tripped(4)
        BreakerLimits.objects.update(released_a_minute=2)
        assert reset().a_minute == 2
        first, *rest = NotificationLog.objects.order_by("pk").values_list("next_try_at", flat=True)
        assert [(at - first).total_seconds() for at in rest] == [30, 60, 90]
        done = run_pass()
        assert (done.sent, done.pending, len(mailoutbox)) == (1, 3, 1)

    def test_judges_anew(self, mailoutbox: Outbox) -> None:
        recovered, seen, closed, suspended, true = self.tripped(5)
        move_balance(recovered.customer, 50)  # billing has not judged it yet
        set_balance(seen.customer, 50)
        Customer.objects.filter(pk=closed.customer_id).update(status=CustomerStatus.CLOSED)
        Customer.objects.filter(pk=suspended.customer_id).update(status=CustomerStatus.SUSPENDED)
        release = reset()
        assert (release.goes_out, release.over) == ({"low_balance": 2}, 3)
        let_paced_mails_go()
        run_pass()
        assert [mail.to for mail in mailoutbox] == [[true.customer.email]]
        assert [log_of(alert).state for alert in (recovered, seen, closed)] == ["suppressed"] * 3
        assert Episode.objects.get(alert=recovered).closed_at is not None
        # Nobody who is suspended for a while is forgotten for it.
        Customer.objects.filter(pk=suspended.customer_id).update(status=CustomerStatus.ACTIVE)
        run_pass()
        assert mailoutbox[-1].to == [suspended.customer.email]

    def test_lets_the_next_fall_of_one_that_recovered_be_told(self, mailoutbox: Outbox) -> None:
        alert, *_ = self.tripped()
        move_balance(alert.customer, 50)
        reset()
        days_pass(1)
        set_balance(alert.customer, 5)
        run_pass()
        assert alert.customer.email in [mail.to[0] for mail in mailoutbox]

    def test_keeps_a_second_recipient_waiting_where_a_first_was_told(self, mail_server: Server) -> None:
        """The fall is neither below the threshold nor over: it would not be owed anew, if it went deeper again."""
        set_limits()
        alert = make_watched()
        tell_whom(alert, "first@example.net", "second@example.net")
        mail_server.on_recipient = lambda address: "451 later" if address == "second@example.net" else "250 OK"
        set_balance(alert.customer, 5)
        run_pass()
        mail_server.on_recipient = lambda _address: "250 OK"
        breaker.trip(REACHED)
        set_balance(alert.customer, "10.5")
        reset()
        set_balance(alert.customer, 9)
        let_paced_mails_go()
        run_pass()
        assert mail_server.recipients == ["first@example.net", "second@example.net"]

    def test_does_not_end_a_halt_of_staff(self, mailoutbox: Outbox) -> None:
        self.tripped()
        halting.halt(Process.NOTIFICATIONS, reason="Wrong prices.", by="Mei Tanaka")
        _, ended = releasing.reset(reason="The price was right.", by=ASTRID)
        assert (ended.changed, ended.is_halted) == (True, True)
        let_paced_mails_go()
        assert run_pass().sent == 0
        halting.resume(Process.NOTIFICATIONS, reason="Mended.", by="Mei Tanaka")
        assert run_pass().sent == 3

    def test_may_be_repeated(self) -> None:
        self.tripped()
        assert reset().mails == 3
        assert reset().mails == 0
        assert StaffOrder.objects.count() == 1
        assert states() == ["pending"] * 3

    def test_confirms_the_database(self) -> None:
        self.tripped()
        ConfirmedInstance.objects.update(timeline="FFFFFFFF")
        reset()
        assert ConfirmedInstance.objects.get().confirmed_by == ASTRID
        assert ConfirmedInstance.objects.get().timeline != "FFFFFFFF"

    def test_is_previewed_without_writing_anything(self) -> None:
        alert, *_ = self.tripped()
        move_balance(alert.customer, 50)
        with nothing_may_be_written():
            found = releasing.preview()
        assert (found.goes_out, found.over, found.a_minute, found.mails) == ({"low_balance": 2}, 1, 60, 2)
        assert (found.trip, found.doubt) == ("3 mails would go out within an hour; 2 are allowed", "")
        assert reset() == found

    def test_is_previewed_on_the_first_day_too(self) -> None:
        with nothing_may_be_written():
            found = releasing.preview()
        assert (found.trip, found.doubt, found.mails, found.a_minute) == ("", "", 0, 60)
        assert not ConfirmedInstance.objects.exists()

    def test_is_not_undone_by_a_pass_that_saw_the_trip_before(self) -> None:
        mail = make_mail()
        breaker.trip(REACHED)
        releasing.reset(reason="It was an ordinary Monday.", by=ASTRID)
        assert breaker.hold_what_waits() == 0
        assert standing(mail) == ("pending", "")

    def test_can_be_followed_by_another_trip(self) -> None:
        self.tripped()
        reset()
        fall_many(3)
        run_pass()
        assert open_limits() == ["mails_an_hour"]
        assert BreakerTrip.objects.count() == 2


@real_commits
class TestSeveralAtOnce:
    def claim_all(self) -> Sequence[Claim]:
        claims: list[Claim] = []
        while True:
            try:
                more = claiming.claim(limit=3)
            except LimitReached:
                return claims
            if not more:
                return claims
            claims += more

    def test_claim_no_more_than_the_hour_allows(self) -> None:
        set_limits()
        for _ in range(30):
            make_mail()
        make_mail(State.SENT)
        make_mail(State.SENT, sending_at=timezone.now() - 2 * HOUR)
        set_limits(mails_an_hour=13, busiest_hour_factor=Decimal(1))
        answers = at_once(*[self.claim_all] * 4)
        assert sum(len(claims) for claims in answers) == 12
        assert len({claim.token for claims in answers for claim in claims}) == 12
        assert sorted(states()) == ["claimed"] * 12 + ["pending"] * 18 + ["sent"] * 2

    def test_hand_over_no_more_than_the_hour_allows(self, mail_server: Server) -> None:
        set_limits()
        for _ in range(20):
            make_mail()
        set_limits(mails_an_hour=7)
        done = at_once(*[run_pass] * 4)
        # Who finds the hour reserved trips at once, and so may keep others from what they have claimed.
        assert sum(one.sent for one in done) == len(set(mail_server.recipients)) == len(mail_server.mails) <= 7
        run_pass()
        assert_tripped("mails_an_hour")

    def test_trip_once(self) -> None:
        set_limits()
        make_mail()
        assert sorted(at_once(*[lambda: breaker.trip(REACHED)] * 4)) == [False, False, False, True]
        assert BreakerTrip.objects.count() == ProcessSwitch.objects.count() == 1
        assert NotificationHistory.objects.count() == 1

    def test_reset_once(self) -> None:
        set_limits()
        make_mail()
        breaker.trip(REACHED)
        assert sorted(release.mails for release in at_once(reset, reset, reset)) == [0, 0, 1]
        assert StaffOrder.objects.count() == 1
        assert states() == ["pending"]
