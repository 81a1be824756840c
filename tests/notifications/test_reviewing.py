"""What staff order of mails: every verb from every state, twice, by two people at once; and the commands to do it."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from billing import corrections, episodes, halting
from billing.models import Customer, CustomerStatus, Episode, Process
from notifications import apologies, breaker, reviewing
from notifications.breaker import Reached
from notifications.models import (
    BreakerTrip,
    ConfirmedInstance,
    NotificationContent,
    NotificationHistory,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
    Verb,
)
from notifications.preview import preview
from notifications.reviewing import ALREADY, Reviewed
from tests.billing.at_once import at_once
from tests.billing.test_commands import command
from tests.factories import make_customer, make_entry, make_switch
from tests.faults.processes import run
from tests.notifications.conftest import Server, free_port
from tests.notifications.stories import (
    DAY,
    log_of,
    make_attempt,
    make_fallen,
    make_mail,
    make_watched,
    move_balance,
    nothing_may_be_written,
    on_one_line,
    owe,
    real_commits,
    recipients,
    run_pass,
    send_twice,
    set_balance,
    set_limits,
    standing,
    states,
    tell_whom,
)

Outbox = list[EmailMultiAlternatives]
ASTRID, MEI = "Astrid Holm", "Mei Tanaka"
REASON = "They called."

GOES = {State.PENDING, State.CLAIMED, State.SENDING, State.SENT}

# From which states each verb leads where, and in which there is nothing left to do. From all others it leads nowhere.
WAYS: dict[Verb, tuple[set[State], State, set[State]]] = {
    Verb.APPROVE: ({State.HELD}, State.PENDING, GOES),
    Verb.RETRY: ({State.FAILED}, State.PENDING, GOES),
    Verb.RESEND: ({State.UNCERTAIN}, State.PENDING, GOES),
    Verb.DELIVERED: ({State.UNCERTAIN}, State.SENT, {State.SENT}),
    Verb.SUPPRESS: (
        {State.PENDING, State.HELD, State.FAILED, State.UNCERTAIN},
        State.SUPPRESSED,
        {State.SUPPRESSED},
    ),
    Verb.ERRANT: ({State.SENT}, State.SENT, set()),
    Verb.APOLOGISE: (set(), State.SENT, set()),
}


def review(verb: Verb, *logs: NotificationLog, by: str = ASTRID) -> Reviewed:
    return reviewing.review(verb, [log.key for log in logs], reason=REASON, by=by)


def make_errant(**fields: Any) -> NotificationLog:
    return make_mail(State.SENT, is_errant=True, **fields)


def apology_for(log: NotificationLog) -> NotificationLog:
    return NotificationLog.objects.select_related("content").get(errant=log)


@pytest.mark.django_db
class TestAVerb:
    @pytest.mark.parametrize("state", list(State))
    @pytest.mark.parametrize("verb", list(WAYS))
    def test_leads_from_some_states_to_one_and_from_others_nowhere(self, verb: Verb, state: State) -> None:
        begins, ends, already = WAYS[verb]
        log = make_mail(state)
        before = NotificationLog.objects.values().get(pk=log.pk)
        reviewed = review(verb, log)
        if state in begins:
            assert reviewed == Reviewed(done=[log.key])
            assert standing(log)[0] == ends
            assert (StaffOrder.objects.count(), log.history.count()) == (1, 1)
            return
        assert reviewed.done == []
        why = reviewed.left_alone[log.key]
        assert why == ALREADY if state in already else why not in {"", ALREADY}
        assert NotificationLog.objects.values().get(pk=log.pk) == before
        assert (StaffOrder.objects.count(), log.history.count()) == (0, 0)

    @pytest.mark.parametrize("verb", [verb for verb in WAYS if verb != Verb.APOLOGISE])
    def test_done_twice_is_done_once(self, verb: Verb) -> None:
        log = make_mail(sorted(WAYS[verb][0])[0])
        assert review(verb, log).done == [log.key]
        assert review(verb, log, by=MEI) == Reviewed(left_alone={log.key: ALREADY})
        assert [line.by for line in log.history.all()] == [ASTRID]

    def test_is_kept_with_who_when_and_why(self) -> None:
        log = make_mail(State.HELD)
        review(Verb.APPROVE, log)
        line = log.history.get()
        assert (line.by, line.verb, line.reason) == (ASTRID, "approve", REASON)
        assert (line.from_state, line.to_state) == ("held", "pending")
        assert line.order == StaffOrder.objects.get()
        assert (line.order.by, line.order.verb, line.order.reason, line.order.count) == (ASTRID, "approve", REASON, 1)
        log.refresh_from_db()
        assert (log.detail, log.order, log.try_count) == (f"approve by {ASTRID}: {REASON}", line.order, 0)

    @pytest.mark.parametrize("verb", [*WAYS])
    @pytest.mark.parametrize("reason", ["", " \n"])
    def test_needs_a_reason(self, verb: Verb, reason: str) -> None:
        log = make_mail(State.HELD)
        with pytest.raises(ValueError, match="Say why"):
            reviewing.review(verb, [log.key], reason=reason, by=ASTRID)
        assert standing(log)[0] == "held"

    def test_that_only_the_breaker_has_is_refused(self) -> None:
        log = make_mail(State.HELD)
        with pytest.raises(ValueError, match="no verb of staff"):
            review(Verb.RELEASE, log)

    def test_changes_those_that_it_fits_and_tells_of_the_others(self) -> None:
        failed, sent, suppressed = (make_mail(state) for state in (State.FAILED, State.SENT, State.SUPPRESSED))
        keys = [failed.key, sent.key, "low_balance:none", suppressed.key, failed.key]
        reviewed = reviewing.review(Verb.RETRY, keys, reason=REASON, by=ASTRID)
        assert reviewed.done == [failed.key]
        assert reviewed.left_alone == {
            sent.key: ALREADY,
            "low_balance:none": "there is no such mail",
            suppressed.key: "it is suppressed: retry is for mails that are failed",
        }
        assert StaffOrder.objects.get().count == 1

    def test_of_many_mails_is_one_order_of_so_many(self) -> None:
        logs = [make_mail(State.FAILED) for _ in range(3)]
        review(Verb.RETRY, *logs)
        assert StaffOrder.objects.get().count == 3
        assert set(NotificationHistory.objects.values_list("order", flat=True)) == {StaffOrder.objects.get().pk}


@pytest.mark.django_db
class TestWhatFollows:
    @pytest.mark.parametrize(
        ("verb", "state"),
        [(Verb.APPROVE, State.HELD), (Verb.RETRY, State.FAILED), (Verb.RESEND, State.UNCERTAIN)],
    )
    def test_a_mail_that_is_ordered_goes_out_once_with_its_own_message_id(
        self, mail_server: Server, verb: Verb, state: State
    ) -> None:
        log = make_mail(state)
        review(verb, log)
        assert [run_pass().sent, run_pass().sent] == [1, 0]
        assert [mail["Message-ID"] for mail in mail_server.mails] == [log.message_id]
        assert standing(log) == ("sent", "")

    @pytest.mark.parametrize(
        ("verb", "state"),
        [(Verb.APPROVE, State.HELD), (Verb.RETRY, State.FAILED), (Verb.RESEND, State.UNCERTAIN)],
    )
    def test_a_mail_that_is_ordered_does_not_go_out_where_it_is_not_true_any_more(
        self, mail_server: Server, verb: Verb, state: State
    ) -> None:
        log = make_mail(state)
        move_balance(log.customer, 50)
        review(verb, log)
        run_pass()
        assert standing(log) == ("suppressed", "recovered")
        assert mail_server.mails == []

    def test_a_mail_known_to_have_arrived_is_sent_and_its_attempt_accepted(self) -> None:
        log = make_mail(State.UNCERTAIN)
        review(Verb.DELIVERED, log)
        log.refresh_from_db()
        assert (log.state, log.because, log.order) == ("sent", "", None)
        assert log.sent_at is not None
        attempt = log.attempts.get()
        assert (attempt.outcome, attempt.ended_at is not None) == (Outcome.ACCEPTED, True)
        assert run_pass().sent == 0

    def test_a_mail_that_staff_suppressed_stays_so(self) -> None:
        log = make_mail()
        review(Verb.SUPPRESS, log)
        run_pass()
        assert standing(log) == ("suppressed", "staff")

    def test_a_mail_that_is_tried_anew_has_all_its_tries_again(self) -> None:
        log = make_mail(State.FAILED, try_count=20, next_try_at=timezone.now() + DAY)
        review(Verb.RETRY, log)
        log.refresh_from_db()
        assert log.try_count == 0
        assert log.next_try_at <= timezone.now()

    def test_a_mail_without_an_address_goes_to_the_one_that_there_is_now(self, mail_server: Server) -> None:
        alert = make_watched()
        Customer.objects.filter(pk=alert.customer_id).update(email="")
        set_balance(alert.customer, 5)
        run_pass()
        log = log_of(alert)
        assert review(Verb.RETRY, log).left_alone == {log.key: "the customer has no address"}
        Customer.objects.filter(pk=alert.customer_id).update(email="lindqvist")
        assert review(Verb.RETRY, log).left_alone == {log.key: "“lindqvist” is no address"}
        Customer.objects.filter(pk=alert.customer_id).update(email=" New@Example.net ")
        assert review(Verb.RETRY, log).done == [log.key]
        assert run_pass().sent == 1
        assert mail_server.recipients == recipients() == ["new@example.net"]

    def test_a_refused_mail_goes_to_the_same_recipient_again(self, mail_server: Server) -> None:
        alert = make_fallen()
        mail_server.on_body = lambda _message: "554 no"
        run_pass()
        mail_server.on_body = lambda _message: "250 yes"
        Customer.objects.filter(pk=alert.customer_id).update(email="other@example.net")
        review(Verb.RETRY, log_of(alert))
        run_pass()
        assert mail_server.recipients == [alert.customer.email]

    def test_a_fall_whose_mail_was_retried_counts_as_told(self, mail_server: Server) -> None:
        log = make_mail(State.FAILED)
        review(Verb.RETRY, log)
        run_pass()
        assert Episode.objects.get().told_at is not None


@pytest.mark.django_db
class TestApologies:
    def test_go_to_the_recipients_of_the_errant_mails(self, mailoutbox: Outbox) -> None:
        alert = make_watched()
        tell_whom(alert, "desk@example.net")
        errant = make_errant(alert=alert, recipient="desk@example.net")
        assert review(Verb.APOLOGISE, errant).done == [errant.key]
        apology = apology_for(errant)
        assert (apology.kind, apology.state, apology.customer) == ("apology", "pending", errant.customer)
        assert (apology.content.recipient, apology.order) == ("desk@example.net", StaffOrder.objects.get())
        assert run_pass().sent == 1
        assert [mail.to for mail in mailoutbox] == [["desk@example.net"]]
        assert mailoutbox[0].subject.startswith("Sorry")

    def test_are_one_each_ever(self, mailoutbox: Outbox) -> None:
        errants = [make_errant() for _ in range(3)]
        assert len(review(Verb.APOLOGISE, *errants[:2]).done) == 2
        again = review(Verb.APOLOGISE, *errants, by=MEI)
        assert again == Reviewed(
            done=[errants[2].key], left_alone=dict.fromkeys([errants[0].key, errants[1].key], ALREADY)
        )
        run_pass()
        assert review(Verb.APOLOGISE, *errants).done == []
        run_pass()
        assert len(mailoutbox) == 3

    @pytest.mark.parametrize("status", [CustomerStatus.SUSPENDED, CustomerStatus.CLOSED])
    def test_reach_customers_who_are_not_active(self, mailoutbox: Outbox, status: CustomerStatus) -> None:
        errant = make_errant()
        Customer.objects.update(status=status)
        review(Verb.APOLOGISE, errant)
        assert run_pass().sent == 1
        assert len(mailoutbox) == 1

    def test_are_exempt_from_the_limits(self) -> None:
        errants = [make_errant() for _ in range(4)]
        set_limits(mails_an_hour=1, customers_a_pass=1, mails_a_recipient_a_day=1)
        review(Verb.APOLOGISE, *errants)
        assert run_pass().sent == 4
        assert not BreakerTrip.objects.exists()

    def test_are_not_for_mails_that_were_no_error(self) -> None:
        sent, errant = make_mail(State.SENT), make_errant()
        assert review(Verb.APOLOGISE, sent, errant).left_alone == {sent.key: "it is not marked as errant"}

    def test_are_not_possible_where_the_recipient_was_erased(self) -> None:
        errant = make_errant()
        NotificationContent.objects.update(recipient="", erased_at=timezone.now())
        assert review(Verb.APOLOGISE, errant).left_alone == {errant.key: "its recipient was erased"}

    def test_can_be_errors_themselves(self) -> None:
        errant = make_errant()
        review(Verb.APOLOGISE, errant)
        run_pass()
        apology = apology_for(errant)
        review(Verb.ERRANT, apology)
        assert review(Verb.APOLOGISE, apology).done == [apology.key]
        assert NotificationLog.objects.filter(kind="apology").count() == 2

    def test_for_a_mail_that_was_resent_say_that_it_came_twice_and_is_right(self, mail_server: Server) -> None:
        alert, wrong = make_fallen(customer=make_customer(balance=100, language="en-GB")), make_errant()
        (twice,) = send_twice(mail_server, alert)
        review(Verb.ERRANT, twice)
        right, other = sorted(apologies.samples([twice.key, wrong.key]), key=lambda sample: not sample.is_right)
        review(Verb.APOLOGISE, twice, wrong)
        assert mail_server.recipients.count(alert.customer.email) == 2
        assert run_pass().sent == 2
        said, said_of_the_wrong_one = (apology_for(log).content for log in (twice, wrong))
        assert said.subject == f"Sorry: we told you the same thing more than once, account {alert.customer.account}"
        for part in (on_one_line(said.text), on_one_line(unescape(said.html))):
            assert "we sent you the same mail twice. What it says is right; only its repetition was a mistake" in part
            assert "We told you the same thing more than once" in part
            assert "Low balance: £5.00" in part, "which mail it is about"
            for untrue in ("in error", "nothing that you need to do", "should not have been sent"):
                assert untrue not in part
        assert "there is nothing that you need to do" in on_one_line(said_of_the_wrong_one.text)
        # And staff had seen both before they ordered them.
        assert right.written is not None
        assert right.written.subject == said.subject
        assert other.written is not None
        assert other.written.subject == said_of_the_wrong_one.subject
        assert [sample.count for sample in (right, other)] == [1, 1]

    def test_for_a_mail_that_was_resent_and_wrong_say_that_it_was_wrong(self, mail_server: Server) -> None:
        """Its call was charged twice, which was found out and taken back; and the mail came twice, too."""
        customer = make_customer(balance=100)
        alert = make_watched(customer=customer)
        for key in ("call:pbx-1:a", "call:pbx-2:a"):
            make_entry(customer=customer, kind="call", key=key, amount=-46, rate_id=1, billed_seconds=60)
        episodes.judge(at=timezone.now())
        (twice,) = send_twice(mail_server, alert)
        review(Verb.ERRANT, twice)
        assert apologies.samples([twice.key])[0].is_right, "nobody has taken anything back yet"
        corrections.reverse("call:pbx-2:a", reason="Charged twice.", by=ASTRID)
        review(Verb.APOLOGISE, twice)
        run_pass()
        said = apology_for(twice).content
        assert said.subject == f"Sorry: we wrote to you in error about account {customer.account}"
        assert "We sent you a mail by mistake. Please disregard it" in on_one_line(said.text)
        assert "is right" not in on_one_line(said.text)

    def test_for_one_mail_of_two_about_one_fall_say_that_the_other_is_right(self, mailoutbox: Outbox) -> None:
        errant = make_errant()
        first = make_mail(State.SENT, alert=errant.alert, key="low_balance:written:otherwise", message_id="<1@x>")
        review(Verb.APOLOGISE, errant)
        run_pass()
        assert "What we wrote is right; only the repetition was a mistake" in on_one_line(
            apology_for(errant).content.text
        )
        review(Verb.ERRANT, first)
        review(Verb.APOLOGISE, first)
        run_pass()
        assert "nothing that you need to do" in on_one_line(apology_for(first).content.text), "no other mail is right"
        assert len(mailoutbox) == 2

    def test_stay_as_they_were_written_whatever_becomes_of_the_other_mail(self, mailoutbox: Outbox) -> None:
        errant = make_errant()
        review(Verb.APOLOGISE, errant)
        run_pass()
        before = apology_for(errant).content.text
        make_mail(State.SENT, alert=errant.alert, key="low_balance:written:otherwise", message_id="<1@x>")
        run_pass()
        assert apology_for(errant).content.text == before
        assert len(mailoutbox) == 1

    def test_are_shown_beforehand_without_writing_anything(self) -> None:
        errants = [make_errant() for _ in range(3)]
        with nothing_may_be_written():
            (sample,) = apologies.samples([log.key for log in errants])
        assert (sample.count, sample.is_right, sample.account) == (3, False, errants[0].customer.account)
        assert sample.written is not None
        assert apologies.samples([]) == []

    def test_that_cannot_be_written_say_why_beforehand(self) -> None:
        errant = make_errant()
        type(errant.partner).objects.update(sender="billing")
        (sample,) = apologies.samples([errant.key])
        assert (sample.written, "The sender address" in sample.why_not) == (None, True)

    def test_are_previewed_without_writing_anything(self) -> None:
        errants, sent = [make_errant() for _ in range(2)], make_mail(State.SENT)
        review(Verb.APOLOGISE, errants[0])
        with nothing_may_be_written():
            found = reviewing.apologies_for([*(log.key for log in errants), sent.key, "none"])
        assert found.done == [errants[1].key]
        assert found.left_alone == {
            errants[0].key: ALREADY,
            sent.key: "it is not marked as errant",
            "none": "there is no such mail",
        }


@real_commits
class TestTwoPeopleAtOnce:
    @pytest.mark.parametrize("verb", [verb for verb in WAYS if verb != Verb.APOLOGISE])
    def test_do_it_once(self, verb: Verb) -> None:
        log = make_mail(sorted(WAYS[verb][0])[0])
        answers = at_once(lambda: review(verb, log), lambda: review(verb, log, by=MEI))
        assert sorted(answer.done for answer in answers) == [[], [log.key]]
        assert sorted(answer.left_alone.get(log.key, "") for answer in answers) == ["", ALREADY]
        assert (log.history.count(), StaffOrder.objects.count()) == (1, 1)

    def test_apologise_once(self) -> None:
        errants = [make_errant() for _ in range(5)]
        answers = at_once(
            lambda: review(Verb.APOLOGISE, *errants),
            lambda: review(Verb.APOLOGISE, *reversed(errants), by=MEI),
            lambda: review(Verb.APOLOGISE, *errants[2:]),
        )
        assert sum(len(answer.done) for answer in answers) == 5
        assert NotificationLog.objects.filter(kind="apology").count() == 5

    def test_who_want_different_things_get_one_or_one_after_the_other(self) -> None:
        logs = [make_mail(State.FAILED) for _ in range(6)]
        answers = at_once(lambda: review(Verb.RETRY, *logs), lambda: review(Verb.SUPPRESS, *reversed(logs), by=MEI))
        # To say no comes last or makes the other one come too late; in both cases nothing goes out.
        assert set(states()) == {"suppressed"}
        assert NotificationHistory.objects.count() == sum(len(answer.done) for answer in answers)

    def test_do_not_stop_what_a_worker_is_handing_over(self, mail_server: Server) -> None:
        log = make_mail()
        suppressed, done = at_once(lambda: review(Verb.SUPPRESS, log), run_pass)
        assert len(mail_server.mails) == done.sent == int(not suppressed.done)
        assert standing(log)[0] == ("suppressed" if suppressed.done else "sent")


KEYS_OF_A_PASS = ["created", "sent", "failed", "uncertain", "held", "suppressed", "pending"]


@pytest.mark.django_db
class TestTheCommandRunNotifications:
    def test_says_what_it_did(self, mailoutbox: Outbox) -> None:
        make_fallen()
        answer = command("run_notifications")
        assert answer.status == 0
        assert answer.lines == [
            "1 mails newly owed, 1 sent, 0 failed, 0 uncertain.",
            "0 held, 0 not needed any more; 0 still owed.",
        ]
        assert answer.err == ""

    def test_answers_programs_in_one_object(self, mailoutbox: Outbox) -> None:
        make_fallen()
        answer = command("run_notifications", "--json")
        assert answer.status == 0
        assert answer.json == dict.fromkeys(KEYS_OF_A_PASS, 0) | {"created": 1, "sent": 1, "halted": [], "trouble": []}

    def test_says_that_it_is_halted(self) -> None:
        make_fallen()
        make_switch(process=Process.NOTIFICATIONS, reason="Wrong prices.")
        answer = command("run_notifications", "--json")
        assert (answer.status, answer.json["halted"]) == (3, ["Wrong prices."])
        assert (answer.json["created"], answer.json["pending"]) == (1, 1)
        assert "Halted: Wrong prices" in command("run_notifications").out

    def test_goes_on_for_the_others_where_a_partner_is_halted(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        make_switch(process=Process.NOTIFICATIONS, partner=alert.customer.partner, reason="Wrong prices.")
        answer = command("run_notifications", "--json")
        assert (answer.status, answer.json["halted"], answer.json["pending"]) == (0, ["Wrong prices."], 1)
        assert mailoutbox == []

    def test_says_that_the_mail_server_is_of_no_use(self, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
        make_fallen()
        make_fallen()
        answer = command("run_notifications", "--json")
        assert (answer.status, answer.json["pending"]) == (1, 2)
        (trouble,) = answer.json["trouble"]
        assert "nothing listens there" in trouble

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--at=2126-01-01"], "is in the future"),
            (["--at=yesterday"], "“yesterday” is no time"),
            (["--workers=0"], "--workers must be at least 1"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, words: list[str], sentence: str) -> None:
        make_fallen()
        answer = command("run_notifications", *words)
        assert (answer.status, answer.out) == (2, "")
        assert sentence in answer.err
        assert states() == []

    def test_acts_at_the_time_given(self) -> None:
        make_fallen(remind_every_days=7)
        assert command("run_notifications", "--json").json["created"] == 1
        later = f"--at={(timezone.now() + 8 * DAY).isoformat()}"
        assert command("run_notifications", "--json", later, "--future").json["created"] == 1

    def test_hands_over_only_where_told_so(self, mailoutbox: Outbox) -> None:
        make_fallen()
        assert command("run_notifications", "--only-deliver", "--json").json["sent"] == 0
        owe()
        assert command("run_notifications", "--only-deliver", "--json").json["sent"] == 1


@pytest.mark.django_db
class TestTheDryRun:
    def dry_run(self, *words: str) -> dict[str, Any]:
        """What it says; PostgreSQL refuses it to write anything."""
        with nothing_may_be_written():
            answer = command("run_notifications", "--dry-run", "--json", *words)
        assert answer.status == 0
        return answer.json

    def test_says_on_the_first_day_that_there_is_nothing(self) -> None:
        no_charges = {"charges": [], "top_customers": [], "episodes_to_open": 0}
        assert self.dry_run() == {**no_charges, "mails": 0, "would_hear": [], "would_not": [], "stopped": []}
        assert not ConfirmedInstance.objects.exists()

    def test_says_who_would_hear_what_and_why(self) -> None:
        alert = make_fallen()
        tell_whom(alert, "desk@example.net", "owner@example.net")
        account = alert.customer.account
        found = self.dry_run()
        assert found["mails"] == 2
        assert found["would_hear"] == [
            {"account": account, "kind": "low_balance", "recipient": recipient, "because": "below 10"}
            for recipient in ("desk@example.net", "owner@example.net")
        ]
        assert found == self.dry_run()
        assert run_pass().sent == 2

    def test_says_who_would_not_and_why_not(self) -> None:
        five = make_watched(5)
        make_watched(10, customer=five.customer)
        set_balance(five.customer, 3)
        without = make_watched(customer=make_customer(balance=100, email="", credit_limit=100))
        told = make_mail(State.SENT)
        make_mail(State.HELD, detail="the breaker tripped")
        suspended = make_fallen()
        Customer.objects.filter(pk=suspended.customer_id).update(status=CustomerStatus.SUSPENDED)
        set_balance(without.customer, 5)
        found = self.dry_run()
        assert [mail["account"] for mail in found["would_hear"]] == [five.customer.account]
        why = {mail["account"]: mail["because"] for mail in found["would_not"]}
        assert why[five.customer.account] == "told of by the mail about a lower threshold"
        assert why[without.customer.account] == "the customer has no address"
        assert why[told.customer.account].startswith("was told at ")
        assert why[suspended.customer.account] == "the customer is suspended"
        assert "held back: the breaker tripped" in why.values()
        assert len(found["would_not"]) == 5

    def test_says_together_what_is_alike_and_names_nobodys_key(self) -> None:
        lower = make_watched(5)
        make_watched(10, customer=lower.customer)
        set_balance(lower.customer, 3)
        owe()
        first, second, day = make_errant(), make_errant(), "2026-03-01"
        NotificationLog.objects.filter(pk=first.pk).update(sent_at=datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
        NotificationLog.objects.filter(pk=second.pk).update(sent_at=datetime(2026, 3, 1, 9, 7, tzinfo=UTC))
        review(Verb.APOLOGISE, first)
        assert preview(at=timezone.now()).not_mailed() == [
            (
                f"was told, between {day} 09:05 and {day} 09:07 UTC; the customers of 1 of these get an apology now",
                2,
            ),
            ("is told of by another mail to the same address (low balance)", 1),
        ]

    def test_says_what_is_owed_already(self) -> None:
        waits, over = make_mail(), make_mail()
        Episode.objects.filter(pk=over.episode_id).update(closed_at=timezone.now())
        found = self.dry_run()
        assert [mail["account"] for mail in found["would_hear"]] == [waits.customer.account]
        assert [(mail["account"], mail["because"]) for mail in found["would_not"]] == [
            (over.customer.account, "the balance has recovered")
        ]

    def test_looks_ahead_as_far_as_told(self) -> None:
        make_fallen(remind_every_days=7)
        run_pass()
        assert self.dry_run()["mails"] == 0
        assert [mail["kind"] for mail in self.dry_run("--at=2126-01-01")["would_hear"]] == ["reminder"]

    def test_says_what_keeps_all_of_it_back(self) -> None:
        make_fallen()
        owe()
        make_switch(process=Process.NOTIFICATIONS, reason="Wrong prices.")
        ConfirmedInstance.objects.update(timeline="FFFFFFFF")
        halted, copied = self.dry_run()["stopped"]
        assert halted.endswith("UTC: Wrong prices.")
        assert copied.startswith("the database failed over")

    def test_speaks_to_people_in_sentences(self) -> None:
        alert = make_fallen()
        with nothing_may_be_written():
            answer = command("run_notifications", "--dry-run")
        assert answer.lines == [
            "1 mails would go out.",
            f"  {alert.customer.account}: low_balance to {alert.customer.email}: below 10",
        ]


@real_commits
class TestSeveralProcesses:
    def test_hand_over_each_mail_once(self, mail_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        alerts = [make_fallen() for _ in range(25)]
        monkeypatch.setenv("EMAIL_URL", f"smtp://127.0.0.1:{mail_server.port}")
        status, answer = run("run_notifications", "--workers=3")
        assert (status, answer["created"], answer["pending"]) == (0, 25, 0)
        assert sorted(mail_server.recipients) == sorted(alert.customer.email for alert in alerts)
        assert set(states()) == {"sent"}


@pytest.mark.django_db
class TestTheCommandReview:
    def test_does_the_verb_to_the_mails_named(self) -> None:
        logs = [make_mail(State.FAILED) for _ in range(2)]
        answer = command("review", "retry", *(log.key for log in logs), f"--reason={REASON}")
        assert (answer.status, answer.lines) == (0, ["retry: 2 mails."])
        line = logs[0].history.get()
        assert (line.reason, line.by.endswith("(command line)")) == (REASON, True)

    def test_answers_programs_in_one_object(self) -> None:
        failed, sent = make_mail(State.FAILED), make_mail(State.SENT)
        answer = command("review", "suppress", failed.key, sent.key, f"--reason={REASON}", "--json")
        assert answer.status == 0
        assert answer.json["done"] == 1
        assert list(answer.json["left_alone"]) == [sent.key]

    def test_done_twice_is_fine(self) -> None:
        failed = make_mail(State.FAILED)
        for done in (1, 0):
            answer = command("review", "retry", failed.key, f"--reason={REASON}", "--json")
            assert (answer.status, answer.json["done"]) == (0, done)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["retry"], "Say why"),
            (["retry", "--reason= "], "Say why"),
            (["forget", "--reason=no"], "There is no verb “forget”"),
            (["release", "--reason=no"], "There is no verb “release”"),
            (["retry", "--preview"], "--preview is for apologise"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, words: list[str], sentence: str) -> None:
        log = make_mail(State.FAILED)
        answer = command("review", words[0], log.key, *words[1:])
        assert (answer.status, answer.out) == (2, "")
        assert sentence in answer.err
        assert standing(log)[0] == "failed"

    def test_fails_where_it_fits_none_of_the_mails(self) -> None:
        sent, suppressed = make_mail(State.SENT), make_mail(State.SUPPRESSED)
        for keys, status in [(["low_balance:none"], 2), ([suppressed.key, sent.key], 2), ([sent.key], 0)]:
            answer = command("review", "retry", *keys, "--reason=x", "--json")
            assert (answer.status, answer.json["done"]) == (status, 0)
            assert list(answer.json["left_alone"]) == keys

    def test_previews_apologies(self) -> None:
        errant, sent = make_errant(), make_mail(State.SENT)
        with nothing_may_be_written():
            answer = command("review", "apologise", errant.key, sent.key, "--preview")
        assert answer.status == 0
        assert answer.lines[:3] == [
            "1 apologies would go out.",
            f"  left alone: {sent.key}: it is not marked as errant",
            f"  1 would say, as here to account {errant.customer.account}:",
        ]
        assert "there is nothing that you need to do" in on_one_line(answer.out)
        (text,) = command("review", "apologise", errant.key, "--preview", "--json").json["texts"]
        assert (text["count"], text["is_right"], text["subject"][:5]) == (1, False, "Sorry")


@pytest.mark.django_db
class TestTheCommandNotification:
    @pytest.mark.parametrize("name_of", [lambda log: log.key, lambda log: log.message_id], ids=["key", "Message-ID"])
    def test_tells_a_mails_whole_life(self, mail_server: Server, name_of: Callable[[NotificationLog], str]) -> None:
        alert = make_fallen()
        mail_server.on_body = lambda _message: "554 5.7.1 looks like spam"
        run_pass()
        log = log_of(alert)
        review(Verb.RETRY, log)
        mail_server.on_body = lambda _message: "250 2.0.0 taken as 4711"
        run_pass()
        review(Verb.ERRANT, log)
        with nothing_may_be_written():
            answer = command("notification", name_of(log))
        assert answer.status == 0
        story = [line.partition(" UTC  ")[2] for line in answer.lines if " UTC  " in line]
        assert story[0] == "owed"
        assert "refused at reply (554 5.7.1 looks like spam): not delivered" in story[1]
        assert story[2] == f"retry by {ASTRID}: {REASON} (failed → pending)"
        assert "taken by the server (250 2.0.0 taken as 4711)" in story[3]
        assert story[4] == f"errant by {ASTRID}: {REASON} (sent → sent)"
        assert answer.lines[-1].endswith("; marked as errant")

    def test_answers_programs_in_one_object(self) -> None:
        log = make_mail(State.UNCERTAIN)
        make_attempt(log, outcome=Outcome.DEFERRED)
        answer = command("notification", log.key, "--json")
        assert answer.status == 0
        found = answer.json
        assert (found["key"], found["state"], found["because"]) == (log.key, "uncertain", "broke_off")
        assert [(one["number"], one["outcome"]) for one in found["attempts"]] == [(1, "unknown"), (2, "deferred")]
        assert (found["history"], found["recipient"]) == ([], log.customer.email)

    def test_refuses_a_mail_that_there_is_not(self) -> None:
        answer = command("notification", "low_balance:none")
        assert (answer.status, answer.out) == (2, "")
        assert "There is no mail “low_balance:none”" in answer.err
        assert command("notification", "<none@ivy.invalid>", "--json").json["error"]


COLUMNS = [
    "key", "account", "kind", "recipient", "state", "errant", "created_at", "sent_at", "attempts", "message_id",
]  # fmt: skip


@pytest.mark.django_db
class TestTheCommandExportNotifications:
    def rows(self, *words: str) -> list[dict[str, str]]:
        with nothing_may_be_written():
            answer = command("export_notifications", *words)
        assert answer.status == 0
        return list(csv.DictReader(io.StringIO(answer.out)))

    def test_lists_every_mail_in_the_order_in_which_it_was_owed(self) -> None:
        logs = [make_mail(State.SENT, is_errant=True), make_mail(State.FAILED), make_mail()]
        rows = self.rows()
        assert list(rows[0]) == COLUMNS
        assert [row["key"] for row in rows] == [log.key for log in logs]
        assert [(row["state"], row["errant"], row["attempts"]) for row in rows] == [
            ("sent", "yes", "1"),
            ("failed", "no", "1"),
            ("pending", "no", "0"),
        ]
        assert [bool(row["sent_at"]) for row in rows] == [True, False, False]
        assert [row["recipient"] for row in rows] == [log.customer.email for log in logs]

    def test_has_a_header_even_where_there_is_nothing(self) -> None:
        assert command("export_notifications").lines == [",".join(COLUMNS)]

    def test_is_one_object_for_programs(self) -> None:
        log = make_mail()
        answer = command("export_notifications", "--json")
        (row,) = json.loads(answer.out)["rows"]
        assert (list(row), row["key"]) == (COLUMNS, log.key)

    def test_goes_by_customer_and_by_time_half_open(self) -> None:
        begin = datetime(2026, 3, 2, tzinfo=UTC)
        logs = [make_mail(created_at=begin + number * timedelta(hours=12)) for number in range(4)]
        assert [row["key"] for row in self.rows("--from=2026-03-02", "--to=2026-03-03")] == [
            log.key for log in logs[:2]
        ]
        assert [row["key"] for row in self.rows("--account", logs[3].customer.account)] == [logs[3].key]

    @pytest.mark.parametrize(
        ("word", "sentence"),
        [("--account=none", "There is no customer “none”"), ("--from=then", "“then” is no time")],
    )
    def test_refuses_what_makes_no_sense(self, word: str, sentence: str) -> None:
        answer = command("export_notifications", word)
        assert (answer.status, answer.out) == (2, "")
        assert sentence in answer.err

    def test_does_not_name_who_was_erased(self) -> None:
        make_mail(State.SENT)
        NotificationContent.objects.update(recipient="", erased_at=timezone.now())
        assert [row["recipient"] for row in self.rows()] == [""]


@pytest.mark.django_db
class TestTheCommandResetBreaker:
    def trip(self) -> NotificationLog:
        set_limits()
        log = make_mail()
        breaker.trip(Reached("mails_an_hour", "too many mails"))
        return log

    def test_previews_without_writing_anything(self) -> None:
        self.trip()
        with nothing_may_be_written():
            answer = command("reset_breaker", "--preview", "--json")
            people = command("reset_breaker", "--preview")
        assert answer.status == people.status == 0
        assert answer.json == {
            "charges": [],
            "top_customers": [],
            "episodes_to_open": 0,
            "mails": 1,
            "trip": "too many mails",
            "doubt": "",
            "by_kind": {"low_balance": 1},
            "no_longer_true": 0,
            "a_minute": 60,
        }
        assert people.lines == [
            "The breaker tripped: too many mails.",
            "1 held mails would go out, 60 a minute:",
            "  1 of kind low_balance",
            "0 are no longer true and would not.",
        ]

    def test_resets_and_is_fine_with_being_repeated(self) -> None:
        log = self.trip()
        for mails, changed in [(1, True), (0, False)]:
            answer = command("reset_breaker", f"--reason={REASON}", "--json")
            assert answer.status == 0
            assert answer.json == {
                "processes": [{"process": "notifications", "partner": None, "state": "working", "changed": changed}],
                "mails": mails,
                "no_longer_true": 0,
            }
        assert standing(log)[0] == "pending"

    def test_says_that_a_halt_of_staff_goes_on(self) -> None:
        self.trip()
        halting.halt(Process.NOTIFICATIONS, reason="Wrong prices.", by=MEI)
        answer = command("reset_breaker", f"--reason={REASON}")
        assert answer.lines[:2] == [
            "notifications: halted.",
            "Staff's own halt goes on: resume notifications ends it.",
        ]

    @pytest.mark.parametrize("words", [[], ["--reason= "]])
    def test_needs_a_reason(self, words: list[str]) -> None:
        log = self.trip()
        answer = command("reset_breaker", *words)
        assert answer.status == 2
        assert "Say why" in answer.err
        assert standing(log)[0] == "held"

    def test_has_nothing_to_do_where_nothing_has_tripped(self) -> None:
        answer = command("reset_breaker", f"--reason={REASON}")
        assert (answer.status, answer.lines) == (0, ["notifications: working; the breaker had not halted them."])


@pytest.mark.django_db
class TestAPreview:
    @pytest.mark.parametrize("verb", list(WAYS))
    def test_tells_what_the_verb_then_does_and_writes_nothing(self, verb: Verb) -> None:
        logs = [make_mail(state) for state in State]
        keys = [*(log.key for log in logs), make_errant().key, "low_balance:none"]
        with nothing_may_be_written():
            foreseen = reviewing.preview(verb, keys)
        done = reviewing.review(verb, keys, reason=REASON, by=ASTRID)
        assert (foreseen.done, foreseen.left_alone) == (done.done, done.left_alone)
        assert sum(count for *_, count in foreseen.mails) == len(done.done)

    def test_counts_by_kind_partner_and_reason(self) -> None:
        logs = [make_mail(State.HELD) for _ in range(3)] + [make_mail(State.FAILED)]
        foreseen = reviewing.preview(Verb.APPROVE, [log.key for log in logs])
        assert foreseen.mails == [("low_balance", "harbour", "the breaker tripped", 3)]
        assert foreseen.reasons == [("it is failed: approve is for mails that are held", 1)]

    def test_counts_those_that_would_not_go_out_after_all(self) -> None:
        logs = [make_mail(State.HELD) for _ in range(3)]
        move_balance(logs[0].customer, 50)
        Customer.objects.filter(pk=logs[1].customer_id).update(status=CustomerStatus.CLOSED)
        keys = [log.key for log in logs]
        assert reviewing.preview(Verb.APPROVE, keys).untrue == 2
        assert reviewing.preview(Verb.SUPPRESS, keys).untrue == 0


@pytest.mark.django_db
class TestOneApologyEach:
    def make_errants(self, count: int) -> list[NotificationLog]:
        """Of one recipient, the last one sent last."""
        customer = make_customer(balance=100)
        ago = timezone.now() - DAY
        return [
            make_errant(alert=make_watched(number + 1, customer=customer), sent_at=ago + timedelta(minutes=number))
            for number in range(count)
        ]

    def apologise(self, logs: list[NotificationLog], by: str = ASTRID) -> Reviewed:
        return reviewing.apologise([log.key for log in logs], reason=REASON, by=by, one_each=True)

    def test_is_for_the_last_of_a_recipients_mails(self) -> None:
        logs = self.make_errants(3)
        assert self.apologise(logs).done == [logs[2].key]
        assert apology_for(logs[2]).content.recipient == logs[2].customer.email

    def test_is_not_repeated_for_another_of_them(self) -> None:
        logs = self.make_errants(3)
        self.apologise(logs)
        again = self.apologise(logs, by=MEI)
        assert again.done == []
        assert again.left_alone[logs[0].key] == "its recipient got an apology since"
        assert NotificationLog.objects.filter(kind="apology").count() == 1

    def test_is_owed_again_for_a_mail_that_went_out_later(self) -> None:
        logs = self.make_errants(1)
        self.apologise(logs)
        later = make_errant(alert=make_watched(7, customer=logs[0].customer))
        assert self.apologise([*logs, later]).done == [later.key]

    def test_goes_to_two_recipients_of_one_customer(self) -> None:
        alert = make_watched()
        logs = [make_errant(alert=alert, recipient=address) for address in ("a@example.net", "b@example.net")]
        assert len(self.apologise(logs).done) == 2


@pytest.mark.django_db
class TestWhatOthersDid:
    def test_is_told_from_a_mark_on(self) -> None:
        logs = [make_mail(State.HELD) for _ in range(4)]
        review(Verb.APPROVE, logs[0])
        mark = reviewing.last_noted()
        review(Verb.SUPPRESS, logs[1], logs[2], by=MEI)
        review(Verb.APPROVE, logs[3])
        ids = [log.pk for log in logs]
        assert reviewing.done_since(mark, ids) == [(MEI, "suppress", 2), (ASTRID, "approve", 1)]
        assert reviewing.done_since(mark, ids, but_by=MEI) == [(ASTRID, "approve", 1)]
        assert reviewing.done_since(mark, ids[:1]) == []


@real_commits
class TestTwoPeopleWhoApologise:
    def test_for_different_mails_of_one_recipient_send_one(self) -> None:
        customer = make_customer(balance=100)
        logs = [make_errant(alert=make_watched(number + 1, customer=customer)) for number in range(4)]
        answers = at_once(
            *(lambda log=log: reviewing.apologise([log.key], reason=REASON, by=ASTRID, one_each=True) for log in logs)
        )
        assert sum(len(answer.done) for answer in answers) == 1
