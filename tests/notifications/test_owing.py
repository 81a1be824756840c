"""Who is owed a mail, and who is not: falls, several at once, reminders, recoveries; each once, whatever happens."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.mail import EmailMultiAlternatives
from django.db import OperationalError, connection
from django.utils import timezone

from billing import episodes
from billing.models import BalanceAlert, Customer, CustomerStatus, Episode, Process, ProcessSwitch
from notifications import owing
from notifications.models import NotificationContent, NotificationLog, State
from notifications.owing import Owing
from tests.billing.at_once import at_once, meanwhile
from tests.factories import make_customer, make_partner, make_switch
from tests.faults.processes import another_connection, wait_until
from tests.notifications.conftest import Server
from tests.notifications.stories import (
    DAY,
    days_pass,
    log_of,
    make_fallen,
    make_mail,
    make_watched,
    move_balance,
    owe,
    real_commits,
    recipients,
    run_pass,
    set_balance,
    set_limits,
    standing,
    states,
    tell_whom,
)

Outbox = list[EmailMultiAlternatives]


def refuse(address: str) -> str:
    return f"550 5.1.1 nobody called {address} here"


@pytest.mark.django_db
class TestACustomerWhoFalls:
    def test_is_owed_one_mail_and_gets_it(self, mail_server: Server) -> None:
        alert = make_fallen()
        done = run_pass()
        assert (done.created, done.sent, done.pending, done.trouble) == (1, 1, 0, [])
        assert mail_server.recipients == [alert.customer.email]
        log = log_of(alert)
        assert (log.state, log.kind, log.partner_id) == ("sent", "low_balance", alert.customer.partner_id)
        assert mail_server.mails[0]["Message-ID"] == log.message_id
        assert Episode.objects.get().told_at is not None

    def test_is_owed_nothing_more_however_often_it_is_asked(self) -> None:
        alert = make_fallen()
        assert owe().created == 1
        assert owe() == Owing()
        run_pass()
        assert owe() == Owing()
        # Even where nobody remembers that the fall was taken up, its key does.
        Episode.objects.update(taken_up_at=None)
        assert owe() == Owing()
        assert states(alert=alert) == ["sent"]

    def test_is_owed_the_mail_while_notifications_are_halted(self, mailoutbox: Outbox) -> None:
        make_fallen()
        make_switch(process=Process.NOTIFICATIONS)
        done = run_pass()
        assert (done.created, done.sent, done.pending, done.is_halted) == (1, 0, 1, True)
        ProcessSwitch.objects.update(is_halted=False)
        assert run_pass().sent == 1
        assert len(mailoutbox) == 1

    def test_hears_from_the_partner_whose_it_is_by_now(self, mail_server: Server) -> None:
        """It went to another partner while notifications of the former were halted."""
        alert = make_fallen()
        former = alert.customer.partner
        make_switch(process=Process.NOTIFICATIONS, partner=former)
        assert run_pass().pending == 1
        present = make_partner(sender="billing@lakeside.example", name="Lakeside Dial")
        Customer.objects.filter(pk=alert.customer_id).update(partner=present)
        assert run_pass().sent == 1
        assert mail_server.mails[0]["From"] == "Lakeside Dial <billing@lakeside.example>"
        assert log_of(alert).partner == present

    def test_hears_that_everything_is_used_up_when_it_is(self, mailoutbox: Outbox) -> None:
        lindqvist = make_customer(balance=Decimal(1))
        set_balance(lindqvist, "-0.01")
        run_pass()
        assert [log.kind for log in NotificationLog.objects.all()] == ["exhausted"]
        assert mailoutbox[0].subject.startswith("Balance used up")

    def test_hears_once_while_hovering_about_the_threshold(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        for balance in (5, "10.99", "9.99", 10, "9.5"):  # heard of: over from 11 on, one unit above
            set_balance(alert.customer, balance)
            run_pass()
        assert (len(mailoutbox), Episode.objects.count()) == (1, 1)

    def test_hears_of_the_next_fall(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        for balance in (5, 11, 5):
            set_balance(alert.customer, balance)
            run_pass()
        assert (len(mailoutbox), Episode.objects.count()) == (2, 2)
        assert len({str(mail.message()["Message-ID"]) for mail in mailoutbox}) == 2

    def test_hears_nothing_more_when_the_threshold_is_changed(self, mailoutbox: Outbox) -> None:
        alert = make_fallen(balance=5)
        run_pass()
        for threshold in (20, 50, 6):
            BalanceAlert.objects.filter(pk=alert.pk).update(threshold=threshold)
            episodes.judge(at=timezone.now())
            assert run_pass().created == 0
        assert (len(mailoutbox), Episode.objects.count()) == (1, 1)

    def test_is_not_owed_a_mail_once_the_alert_is_switched_off(self) -> None:
        alert = make_fallen()
        BalanceAlert.objects.filter(pk=alert.pk).update(is_active=False)
        assert owe() == Owing()
        BalanceAlert.objects.filter(pk=alert.pk).update(is_active=True)
        assert owe().created == 1


@pytest.mark.django_db
class TestACustomerWhoToppedUpInTime:
    def test_hears_nothing_where_nothing_was_owed_yet(self) -> None:
        alert = make_fallen()
        move_balance(alert.customer, 10)
        assert owe() == Owing()
        episodes.judge(at=timezone.now())
        assert owe() == Owing()
        assert Episode.objects.get().closed_at is not None

    def test_hears_nothing_where_the_mail_was_owed(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        set_balance(alert.customer, 10)
        done = run_pass()
        assert (done.suppressed, done.sent) == (1, 0)
        assert standing(log_of(alert)) == ("suppressed", "recovered")
        assert mailoutbox == []

    def test_hears_nothing_where_billing_has_not_judged_yet(self, mail_server: Server) -> None:
        alert = make_fallen()
        owe()
        move_balance(alert.customer, 10)
        assert run_pass().suppressed == 1
        assert standing(log_of(alert)) == ("suppressed", "recovered")
        assert mail_server.mails == []
        assert Episode.objects.get().closed_at is not None

    @pytest.mark.parametrize("is_judged", [True, False], ids=["judged between", "found out by the sender"])
    def test_hears_of_the_fall_after_that(self, mailoutbox: Outbox, *, is_judged: bool) -> None:
        alert = make_fallen()
        owe()
        (set_balance if is_judged else move_balance)(alert.customer, 10)
        run_pass()
        set_balance(alert.customer, 5)
        run_pass()
        assert (states(), len(mailoutbox)) == (["suppressed", "sent"], 1)
        assert Episode.objects.count() == 2

    def test_hears_once_where_nobody_saw_the_top_up(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        move_balance(alert.customer, 10)
        move_balance(alert.customer, 5)
        run_pass()
        assert (states(), len(mailoutbox)) == (["sent"], 1)

    def test_keeps_a_second_recipient_waiting_where_a_first_was_told(self, mail_server: Server) -> None:
        """The fall is not over: nobody is told what is not so, and nobody hangs about asking."""
        alert = make_fallen()
        tell_whom(alert, "first@example.net", "second@example.net")
        mail_server.on_recipient = lambda address: "451 later" if address == "second@example.net" else "250 OK"
        assert run_pass().sent == 1
        mail_server.on_recipient = lambda _address: "250 OK"
        set_balance(alert.customer, "10.5")  # above the threshold, and not above it by the margin
        NotificationLog.objects.update(next_try_at=timezone.now())

        began = timezone.now()
        assert run_pass().sent == 0
        assert timezone.now() - began < timedelta(seconds=30)
        assert sorted(states()) == ["pending", "sent"]

        set_balance(alert.customer, "9")
        NotificationLog.objects.update(next_try_at=timezone.now())
        assert run_pass().sent == 1
        assert mail_server.recipients == ["first@example.net", "second@example.net"]


@pytest.mark.django_db
class TestSeveralAlertsCrossedAtOnce:
    def make_three(self, balance: str | int = 1) -> tuple[BalanceAlert, BalanceAlert, BalanceAlert]:
        """Alerts at 5, 10 and 20, all crossed by one call."""
        five = make_watched(5)
        ten, twenty = make_watched(10, customer=five.customer), make_watched(20, customer=five.customer)
        set_balance(five.customer, balance)
        return five, ten, twenty

    def test_make_one_mail_about_the_lowest(self, mailoutbox: Outbox) -> None:
        five, ten, twenty = self.make_three()
        done = run_pass()
        assert (done.created, done.sent, done.suppressed) == (3, 1, 2)
        tells = log_of(five)
        assert tells.state == "sent"
        for covered in (log_of(ten), log_of(twenty)):
            assert standing(covered) == ("suppressed", "covered")
            assert covered.covered_by == tells
            assert tells.key in covered.detail
        assert len(mailoutbox) == 1
        assert Episode.objects.filter(told_at__isnull=True).count() == 0

    def test_make_the_graver_mail_of_two_at_one_threshold(self, mailoutbox: Outbox) -> None:
        lindqvist = make_customer(balance=Decimal(100))
        zero = make_watched(0, customer=lindqvist)
        set_balance(lindqvist, -1)
        run_pass()
        assert standing(log_of(zero)) == ("suppressed", "covered")
        assert mailoutbox[0].subject.startswith("Balance used up")

    def test_make_one_mail_for_each_recipient_about_the_lowest_that_this_one_is_on(self, mailoutbox: Outbox) -> None:
        five, ten, twenty = self.make_three()
        tell_whom(five, "owner@example.net")
        tell_whom(ten, "desk@example.net", "owner@example.net")
        tell_whom(twenty, "desk@example.net", "night@example.net")
        run_pass()
        assert sorted((mail.to[0], mail.body.split("below £")[1].split(".")[0]) for mail in mailoutbox) == [
            ("desk@example.net", "10"),
            ("night@example.net", "20"),
            ("owner@example.net", "5"),
        ]
        assert sorted(states()) == ["sent", "sent", "sent", "suppressed", "suppressed"]

    def test_cover_nothing_that_goes_to_somebody_else(self) -> None:
        five, ten, _ = self.make_three()
        tell_whom(five, "owner@example.net")
        tell_whom(ten, "desk@example.net")
        owe()
        assert log_of(five).state == log_of(ten).state == "pending"

    def test_are_told_by_the_next_lowest_where_the_lowest_can_reach_nobody(self) -> None:
        five, ten, twenty = self.make_three()
        tell_whom(five, "not an address")
        owe()
        assert log_of(five).state == "failed"
        assert log_of(ten).state == "pending"
        assert log_of(twenty).covered_by == log_of(ten)

    def test_are_owed_again_where_the_telling_mail_fails(self, mail_server: Server) -> None:
        five, ten, _ = self.make_three()
        mail_server.on_body = lambda _message: "554 5.7.1 looks like spam"
        run_pass()
        assert log_of(five).state == "failed"
        assert not Episode.objects.filter(told_at__isnull=False).exists()
        mail_server.on_body = lambda _message: "250 taken"
        run_pass()
        assert log_of(ten).state == "sent"
        assert [str(mail["Subject"]) for mail in mail_server.mails] == [log_of(ten).content.subject]

    def test_are_still_one_mail_when_they_are_owed_again(self, mail_server: Server) -> None:
        _, ten, twenty = self.make_three()
        mail_server.on_recipient = refuse
        run_pass()
        mail_server.on_recipient = lambda _address: "250 OK"
        for _ in range(3):
            run_pass()
        assert len(mail_server.mails) == 1
        assert log_of(twenty).covered_by == log_of(ten)
        assert not Episode.objects.filter(told_at=None, alert__in=[ten, twenty]).exists()

    def test_are_told_of_one_after_the_other_where_each_mail_fails(self, mail_server: Server) -> None:
        five, ten, twenty = self.make_three()
        mail_server.on_recipient = refuse
        for _ in range(4):
            run_pass()
        assert [standing(log_of(alert)) for alert in (five, ten, twenty)] == [("failed", "refused")] * 3

    def test_are_owed_again_where_the_fall_that_was_told_of_is_over(self, mailoutbox: Outbox) -> None:
        five, ten, twenty = self.make_three()
        owe()
        set_balance(five.customer, 7)
        run_pass()
        assert [standing(log_of(alert))[0] for alert in (five, ten, twenty)] == ["suppressed", "sent", "suppressed"]
        assert len(mailoutbox) == 1

    def test_are_owed_again_to_one_recipient_where_another_was_told(self, mail_server: Server) -> None:
        """A fall is told of as soon as one recipient was. The other's news of it was within a mail that never went."""
        ten = make_watched(10, customer=make_customer(balance=Decimal(100)))
        used_up = BalanceAlert.objects.get(customer=ten.customer, kind="exhausted")
        tell_whom(ten, "owner@example.net", "books@example.net")
        tell_whom(used_up, "owner@example.net")
        mail_server.on_recipient = lambda address: "451 later" if address == "owner@example.net" else "250 OK"
        set_balance(ten.customer, -3)
        assert run_pass().sent == 1
        set_balance(ten.customer, "10.5")  # above the threshold, and not above it by the margin
        run_pass()
        mail_server.on_recipient = lambda _address: "250 OK"

        set_balance(ten.customer, "9")
        NotificationLog.objects.update(next_try_at=timezone.now())
        for _ in range(2):
            run_pass()
        assert mail_server.recipients == ["books@example.net", "owner@example.net"]
        assert str(mail_server.mails[-1]["Subject"]).startswith("Low balance: £9.00")

    def test_are_not_owed_again_where_their_own_fall_is_over(self, mailoutbox: Outbox) -> None:
        five, ten, twenty = self.make_three()
        owe()
        set_balance(five.customer, 15)
        run_pass()
        assert [standing(log_of(alert))[0] for alert in (five, ten, twenty)] == ["suppressed", "suppressed", "sent"]
        assert len(mailoutbox) == 1

    def test_are_not_owed_again_once_told(self, mailoutbox: Outbox) -> None:
        five, _, _ = self.make_three()
        run_pass()
        set_balance(five.customer, 7)
        for _ in range(2):
            assert run_pass().created == 0
        assert len(mailoutbox) == 1

    def test_are_not_owed_again_where_staff_said_no(self) -> None:
        five, ten, _ = self.make_three()
        owe()
        NotificationLog.objects.filter(pk=log_of(five).pk).update(state=State.SUPPRESSED, because="staff")
        assert owe() == Owing()
        assert standing(log_of(ten)) == ("suppressed", "covered")

    def test_cover_an_older_mail_that_still_waits(self, mailoutbox: Outbox) -> None:
        five = make_watched(5)
        ten, twenty = make_watched(10, customer=five.customer), make_watched(20, customer=five.customer)
        for balance, created in [(15, 1), (8, 1), (3, 1)]:
            set_balance(five.customer, balance)
            assert owe().created == created
        assert [standing(log_of(alert)) for alert in (five, ten, twenty)] == [
            ("pending", ""),
            ("suppressed", "covered"),
            ("suppressed", "covered"),
        ]
        assert {log_of(ten).covered_by, log_of(twenty).covered_by} == {log_of(five)}
        assert run_pass().sent == 1
        assert len(mailoutbox) == 1
        assert not Episode.objects.filter(told_at=None).exists()

    def test_cover_no_older_mail_about_a_lower_threshold(self, mailoutbox: Outbox) -> None:
        five = make_fallen(5, 3)
        owe()
        make_watched(10, customer=five.customer)
        episodes.judge(at=timezone.now())
        run_pass()
        assert len(mailoutbox) == 2  # nothing tells of the new one: the older mail may be gone at any moment
        assert states() == ["sent", "sent"]

    def test_leave_alone_what_a_worker_has_already(self) -> None:
        five = make_watched(5)
        ten = make_watched(10, customer=five.customer)
        claimed = make_mail(State.CLAIMED, alert=ten)
        set_balance(five.customer, 3)
        owe()
        assert standing(claimed)[0] == "claimed"
        assert log_of(five).state == "pending"

    def test_cover_the_mails_of_one_customer_only(self) -> None:
        low = make_fallen(5, 3)
        high = make_fallen(50, 40)
        Customer.objects.update(email="shared@example.net")
        owe()
        assert log_of(low).state == log_of(high).state == "pending"


@pytest.mark.django_db
class TestRecipients:
    def test_are_the_alerts_own_in_place_of_the_customer(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        tell_whom(alert, "desk@example.net", "owner@example.net")
        run_pass()
        assert sorted(mail.to for mail in mailoutbox) == [["desk@example.net"], ["owner@example.net"]]

    def test_are_the_customer_where_the_alert_names_nobody(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        run_pass()
        assert [mail.to for mail in mailoutbox] == [[alert.customer.email]]

    def test_are_trimmed_and_in_lower_case_and_hear_once(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        tell_whom(alert, "Desk@Example.NET", " desk@example.net ", "desk@example.net\n")
        run_pass()
        assert recipients() == ["desk@example.net"]
        assert [mail.to for mail in mailoutbox] == [["desk@example.net"]]

    def test_are_told_the_same_way_whatever_the_customers_address_looks_like(self) -> None:
        alert = make_fallen()
        Customer.objects.filter(pk=alert.customer_id).update(email="  Accounts@Example.Net ")
        owe()
        assert recipients() == ["accounts@example.net"]
        Episode.objects.update(taken_up_at=None)
        Customer.objects.filter(pk=alert.customer_id).update(email="accounts@example.net")
        assert owe().created == 0

    def test_are_settled_when_a_fall_is_taken_up(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        tell_whom(alert, "desk@example.net")
        owe()
        tell_whom(alert, "late@example.net")
        Customer.objects.filter(pk=alert.customer_id).update(email="other@example.net")
        run_pass()
        assert [mail.to for mail in mailoutbox] == [["desk@example.net"]]

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("", "the customer has no address"),
            ("   ", "the customer has no address"),
            ("lindqvist", "“lindqvist” is no address"),
            ("a@b@example.net", "“a@b@example.net” is no address"),
            ("eve@example.net\nbcc: all@example.net", "it holds a line break or control character"),
        ],
    )
    def test_without_a_usable_address_are_told_to_staff_and_the_others_hear(
        self, mailoutbox: Outbox, address: str, words: str
    ) -> None:
        without, other = make_fallen(), make_fallen()
        Customer.objects.filter(pk=without.customer_id).update(email=address)
        done = run_pass()
        assert (done.created, done.failed, done.sent) == (2, 1, 1)
        log = log_of(without)
        assert standing(log) == ("failed", "no_address")
        assert words in log.detail
        assert [mail.to for mail in mailoutbox] == [[other.customer.email]]
        assert run_pass().created == 0

    def test_with_and_without_a_usable_address_may_be_one_alerts(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        tell_whom(alert, "desk", "owner@example.net")
        run_pass()
        assert sorted(states()) == ["failed", "sent"]
        assert [mail.to for mail in mailoutbox] == [["owner@example.net"]]

    def test_stand_beside_the_log_and_not_in_its_key(self) -> None:
        alert = make_fallen()
        owe()
        log = log_of(alert)
        assert alert.customer.email not in f"{log.key} {log.message_id} {log.detail} {log.recipient_hash}"
        assert NotificationContent.objects.get(notification=log).recipient == alert.customer.email


@pytest.mark.django_db
class TestTheKey:
    def test_is_made_of_what_never_changes(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        key = log_of(alert).key
        begin = Episode.objects.get().opened_at.isoformat(timespec="microseconds")
        assert key.startswith(f"low_balance:{alert.pk}:{begin}:0:")
        Episode.objects.update(taken_up_at=None)
        move_balance(alert.customer, 3)
        BalanceAlert.objects.filter(pk=alert.pk).update(threshold=20)
        Customer.objects.filter(pk=alert.customer_id).update(name="Renamed", account="renumbered")
        assert owe().created == 0
        assert log_of(alert).key == key


@pytest.mark.django_db
class TestACustomerWhoIsNotActive:
    def test_hears_nothing_while_suspended_and_then_does(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        Customer.objects.update(status=CustomerStatus.SUSPENDED)
        assert run_pass().created == 0
        Customer.objects.update(status=CustomerStatus.ACTIVE)
        assert run_pass().sent == 1
        assert [mail.to for mail in mailoutbox] == [[alert.customer.email]]

    def test_is_not_handed_what_was_owed_before_it_was_suspended(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        Customer.objects.update(status=CustomerStatus.SUSPENDED)
        done = run_pass()
        assert (done.sent, done.pending, log_of(alert).state) == (0, 1, "pending")
        Customer.objects.update(status=CustomerStatus.ACTIVE)
        assert run_pass().sent == 1
        assert len(mailoutbox) == 1

    def test_hears_nothing_after_all_where_it_topped_up_while_suspended(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        Customer.objects.update(status=CustomerStatus.SUSPENDED)
        set_balance(alert.customer, 50)
        Customer.objects.update(status=CustomerStatus.ACTIVE)
        run_pass()
        assert (states(), mailoutbox) == (["suppressed"], [])

    def test_does_not_keep_others_waiting(self, mailoutbox: Outbox) -> None:
        suspended = make_fallen()
        owe()
        Customer.objects.filter(pk=suspended.customer_id).update(status=CustomerStatus.SUSPENDED)
        other = make_fallen()
        run_pass()
        assert [mail.to for mail in mailoutbox] == [[other.customer.email]]

    def test_hears_nothing_more_once_closed(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        owe()
        Customer.objects.filter(pk=alert.customer_id).update(status=CustomerStatus.CLOSED)
        done = run_pass()
        assert (done.suppressed, standing(log_of(alert))) == (1, ("suppressed", "inactive"))
        assert mailoutbox == []

    def test_is_owed_nothing_where_it_was_closed_first(self) -> None:
        make_fallen()
        Customer.objects.update(status=CustomerStatus.CLOSED)
        assert owe() == Owing()

    def test_hears_nothing_who_came_into_ivy_below_the_threshold(self, mailoutbox: Outbox) -> None:
        alert = make_watched(remind_every_days=1, tells_restored=True)
        move_balance(alert.customer, 5)
        episodes.open_silently([alert.customer_id])
        episodes.judge(at=timezone.now())
        for days in (0, 1, 40):
            assert run_pass(timezone.now() + days * DAY).created == 0
        set_balance(alert.customer, 50)
        assert run_pass().created == 0
        set_balance(alert.customer, 5)
        assert run_pass().sent == 1
        assert len(mailoutbox) == 1


@pytest.mark.django_db
class TestReminders:
    def told(self, every: int = 7, at_most: int = 3) -> BalanceAlert:
        """An alert whose fall was told of just now."""
        alert = make_fallen(remind_every_days=every, remind_at_most=at_most)
        run_pass()
        assert states() == ["sent"]
        return alert

    def numbers(self) -> list[int]:
        mails = NotificationLog.objects.filter(kind="reminder").order_by("pk")
        return list(mails.values_list("reminder_number", flat=True))

    def test_are_not_sent_unless_agreed(self) -> None:
        make_fallen()
        run_pass()
        days_pass(100)
        assert run_pass().created == 0

    def test_come_every_so_many_days_and_no_more_than_agreed(self, mailoutbox: Outbox) -> None:
        self.told(every=7, at_most=3)
        sent = {}
        for day in range(1, 40):
            days_pass(1)
            if run_pass().sent:
                sent[day] = mailoutbox[-1].subject.split(":")[0]
        assert sent == {7: "Reminder 1", 14: "Reminder 2", 21: "Reminder 3"}

    @pytest.mark.parametrize(("seconds", "created"), [(-5, 0), (5, 1)], ids=["just before", "just after"])
    def test_count_whole_days_since_the_first_mail(self, seconds: int, created: int) -> None:
        self.told(every=7)
        told_at = Episode.objects.get().told_at
        assert told_at is not None
        assert owe(told_at + 7 * DAY + timedelta(seconds=seconds)).created == created

    def test_once_missed_are_not_made_up_for(self) -> None:
        self.told(every=7, at_most=5)
        days_pass(25)
        assert [run_pass().sent, run_pass().sent] == [1, 0]
        assert self.numbers() == [3]
        days_pass(3)
        assert run_pass().sent == 1
        assert self.numbers() == [3, 4]

    def test_missed_to_the_last_are_one(self) -> None:
        self.told(every=1, at_most=3)
        days_pass(300)
        assert [run_pass().sent, run_pass().sent] == [1, 0]
        assert self.numbers() == [3]

    def test_of_which_none_are_agreed_do_not_come(self) -> None:
        self.told(every=1, at_most=0)
        days_pass(10)
        assert run_pass().created == 0

    def test_are_not_owed_while_the_balance_is_not_below(self) -> None:
        alert = self.told()
        set_balance(alert.customer, "10.5")
        days_pass(7)
        assert Episode.objects.get().closed_at is None
        assert run_pass().created == 0
        set_balance(alert.customer, "9.5")
        assert run_pass().sent == 1

    def test_are_not_handed_over_where_the_balance_rose_meanwhile(self, mail_server: Server) -> None:
        alert = self.told()
        days_pass(7)
        owe()
        set_balance(alert.customer, "10.5")
        run_pass()
        assert standing(log_of(alert, kind="reminder")) == ("suppressed", "recovered")
        assert len(mail_server.mails) == 1

    def test_end_with_the_fall(self) -> None:
        alert = self.told()
        days_pass(7)
        owe()
        set_balance(alert.customer, 50)
        run_pass()
        days_pass(7)
        run_pass()
        assert states(kind="reminder") == ["suppressed"]

    def test_do_not_come_while_nobody_was_told(self) -> None:
        make_fallen(remind_every_days=1)
        make_switch(process=Process.NOTIFICATIONS)
        run_pass()
        assert run_pass(timezone.now() + 30 * DAY).created == 0

    def test_wait_for_a_suspended_customer(self) -> None:
        self.told()
        days_pass(7)
        Customer.objects.update(status=CustomerStatus.SUSPENDED)
        assert run_pass().created == 0
        Customer.objects.update(status=CustomerStatus.ACTIVE)
        assert run_pass().sent == 1

    def test_that_came_to_wait_during_a_long_halt_are_one(self, mailoutbox: Outbox) -> None:
        self.told(every=1, at_most=5)
        halt = make_switch(process=Process.NOTIFICATIONS)
        for _ in range(3):
            days_pass(1)
            assert run_pass().created == 1
        ProcessSwitch.objects.filter(pk=halt.pk).update(is_halted=False)
        run_pass()
        assert [mail.subject.split(":")[0] for mail in mailoutbox] == ["Low balance", "Reminder 3"]
        assert states(kind="reminder") == ["suppressed", "suppressed", "sent"]

    def test_that_came_to_wait_are_not_made_up_for_where_the_last_fails(self, mail_server: Server) -> None:
        self.told(every=1, at_most=5)
        for _ in range(2):
            days_pass(1)
            owe()
        mail_server.on_recipient = refuse
        run_pass()
        run_pass()
        assert states(kind="reminder") == ["suppressed", "failed"]

    def test_of_several_falls_told_of_by_one_mail_are_one(self, mailoutbox: Outbox) -> None:
        higher = make_watched(20, remind_every_days=3)
        lower = make_watched(10, customer=higher.customer, remind_every_days=3)
        set_balance(higher.customer, 5)
        run_pass()
        days_pass(3)
        run_pass()
        assert [mail.subject.split(":")[0] for mail in mailoutbox] == ["Low balance", "Reminder 1"]
        assert log_of(higher, kind="reminder").covered_by == log_of(lower, kind="reminder")
        set_balance(higher.customer, 15)
        days_pass(3)
        run_pass()
        assert log_of(higher, kind="reminder", reminder_number=2).state == "sent"

    def test_begin_anew_with_the_next_fall(self) -> None:
        alert = self.told(every=1, at_most=1)
        days_pass(2)
        run_pass()
        set_balance(alert.customer, 50)
        set_balance(alert.customer, 5)
        run_pass()
        days_pass(2)
        run_pass()
        assert self.numbers() == [1, 1]
        assert len(set(NotificationLog.objects.values_list("key", flat=True))) == 4


@pytest.mark.django_db
class TestARecovery:
    def test_is_not_told_of_unless_agreed(self, mailoutbox: Outbox) -> None:
        alert = make_fallen()
        run_pass()
        set_balance(alert.customer, 50)
        assert run_pass().created == 0
        assert len(mailoutbox) == 1

    def test_is_told_of_once_where_it_is_agreed(self, mailoutbox: Outbox) -> None:
        alert = make_fallen(tells_restored=True)
        run_pass()
        set_balance(alert.customer, 50)
        assert [run_pass().sent, run_pass().created] == [1, 0]
        assert [mail.subject.split(":")[0] for mail in mailoutbox] == ["Low balance", "Balance restored"]

    def test_is_not_told_of_where_the_fall_was_not(self) -> None:
        alert = make_fallen(tells_restored=True)
        owe()
        set_balance(alert.customer, 50)
        run_pass()
        assert states() == ["suppressed"]

    def test_is_not_told_of_while_the_fall_goes_on(self) -> None:
        alert = make_fallen(tells_restored=True)
        run_pass()
        set_balance(alert.customer, "10.5")
        assert run_pass().created == 0

    def test_is_no_news_after_days(self) -> None:
        alert = make_fallen(tells_restored=True)
        run_pass()
        set_balance(alert.customer, 50)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE billing_episode SET closed_at = closed_at - interval '3 days'")
        assert run_pass().created == 0

    def test_is_told_of_to_a_second_recipient_only_where_the_alert_names_one(self, mailoutbox: Outbox) -> None:
        alert = make_fallen(tells_restored=True)
        tell_whom(alert, "desk@example.net", "owner@example.net")
        run_pass()
        set_balance(alert.customer, 50)
        run_pass()
        assert sorted(mail.to[0] for mail in mailoutbox) == ["desk@example.net"] * 2 + ["owner@example.net"] * 2

    def test_is_not_told_of_where_the_balance_fell_again_meanwhile(self, mailoutbox: Outbox) -> None:
        """The mail waited for days: notifications were halted."""
        alert = make_fallen(tells_restored=True)
        run_pass()
        halt = make_switch(process=Process.NOTIFICATIONS)
        set_balance(alert.customer, 50)
        run_pass()
        set_balance(alert.customer, 5)
        run_pass()
        ProcessSwitch.objects.filter(pk=halt.pk).update(is_halted=False)
        run_pass()
        assert [mail.subject.split(":")[0] for mail in mailoutbox] == ["Low balance", "Low balance"]
        assert log_of(alert, kind="restored").detail == "the balance fell again before it went out"

    def test_from_several_falls_is_told_of_once(self, mailoutbox: Outbox) -> None:
        higher = make_watched(20, tells_restored=True)
        make_watched(10, customer=higher.customer, tells_restored=True)
        set_balance(higher.customer, 5)
        run_pass()
        set_balance(higher.customer, 50)
        run_pass()
        assert [mail.subject.split(":")[0] for mail in mailoutbox] == ["Low balance", "Balance restored"]

    def test_waits_where_the_customer_is_suspended(self) -> None:
        alert = make_fallen(tells_restored=True)
        run_pass()
        Customer.objects.update(status=CustomerStatus.SUSPENDED)
        set_balance(alert.customer, 50)
        assert run_pass().created == 0
        Customer.objects.update(status=CustomerStatus.ACTIVE)
        assert run_pass().sent == 1


@pytest.mark.django_db
def test_a_pass_reads_what_waits_and_not_all_that_was_ever_sent() -> None:
    make_mail(State.SENT)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO notifications_notificationlog (key, kind, customer_id, partner_id, reminder_number,
                recipient_hash, message_id, state, because, detail, is_errant, try_count, sent_at)
            SELECT 'sent:' || i, kind, customer_id, partner_id, 0, '', '<sent-' || i || '>', state, '', '', false,
                0, now()
            FROM notifications_notificationlog, generate_series(1, 5000) i
            """
        )
        cursor.execute("ANALYZE notifications_notificationlog")

        def rows_read_one_by_one() -> int:
            cursor.execute(
                "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'notifications_notificationlog'"
            )
            return int(cursor.fetchone()[0])

        before = rows_read_one_by_one()  # of earlier transactions, too, until the server takes over what they counted
        owe()
        assert rows_read_one_by_one() - before < 100


@real_commits
class TestSeveralPassesAtOnce:
    def test_owe_each_mail_once(self) -> None:
        alerts = [make_watched() for _ in range(12)]
        for alert in alerts:
            tell_whom(alert, "desk@example.net", "owner@example.net")
            set_balance(alert.customer, 5)
        done = at_once(owe, owe, owe, owe)
        assert sum(one.created for one in done) == len(states()) == 24
        assert owe() == Owing()

    def test_leave_the_work_to_the_one_that_began(self) -> None:
        make_fallen()
        with another_connection() as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s, 0)", [owing.LOCK])
            assert owe() == Owing()
        assert owe().created == 1

    def test_owe_later_what_another_transaction_has_in_hand(self) -> None:
        busy, free = make_fallen(), make_fallen()
        with another_connection() as other, other.transaction():
            other.execute("SELECT FROM billing_episode WHERE alert_id = %s FOR UPDATE", [busy.pk])
            assert owe().created == 1
            assert log_of(free).state == "pending"
        assert owe().created == 1
        assert log_of(busy).state == "pending"

    def test_hand_each_mail_over_once(self, mail_server: Server) -> None:
        set_limits()
        alerts = [make_fallen() for _ in range(30)]
        done = at_once(run_pass, run_pass, run_pass)
        assert sum(one.sent for one in done) == 30
        assert sorted(mail_server.recipients) == sorted(alert.customer.email for alert in alerts)

    def test_lose_nothing_where_one_is_killed_in_the_middle(self) -> None:
        """What is owed, and the note that the fall was taken up, are one transaction."""
        alert = make_fallen()

        def be_killed() -> bool:
            with pytest.raises(OperationalError):
                owe()
            return True

        with another_connection() as other, other.transaction():
            other.execute("LOCK TABLE notifications_notificationcontent IN SHARE MODE")
            with meanwhile(be_killed) as killed:
                wait_until(lambda: other.execute(WAITING).fetchone(), what="waiting for the table")
                other.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) waiting")
                assert killed.result(timeout=60)
        assert states() == []
        assert owe().created == 1
        assert log_of(alert).state == "pending"


WAITING = """
SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'notifications_notificationcontent'::regclass
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
