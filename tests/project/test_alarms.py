"""Staff are alarmed once of a trouble, reminded after hours, and told once that it is over."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Min
from django.utils import timezone

from billing.models import Process
from ivy import alarms, pulses
from ivy.alarms import outbox
from ivy.alarms.own_connection import Lock, one_at_a_time
from ivy.models import Alarm, AlarmMessage, Pulse
from ivy.queue.ticking import Ticker
from notifications import instance
from notifications.models import NotificationLog
from tests.billing.at_once import at_once
from tests.factories import make_user
from tests.faults.mailserver import At, Fault, MailServer, mail_server
from tests.faults.processes import another_connection
from tests.notifications.mails import make_owed
from tests.project.alarming import find, make_staff, own, pass_time, real_commits, subjects, text_of, use, well, wrong

pytestmark = real_commits

ADA, BOB = "ada@ivy.example", "bob@ivy.example"


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    """Where staff get their mail."""
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd tells of every command
    with mail_server() as mails:
        use(mails, settings)
        make_staff(ADA)
        yield mails


def events() -> list[tuple[str, str, int]]:
    """Key, event and number of all mails that are owed or were sent."""
    return list(AlarmMessage.objects.filter(channel="mail").order_by("pk").values_list("alarm__key", "event", "number"))


class TestATrouble:
    def test_is_told_once_however_often_it_is_found(self, server: MailServer, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            find(wrong("cache"))
        assert subjects(server) == ["Ivy: ALARM: cache"]
        errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert errors == ["ALARM cache: It is broken. Nobody is billed. Mend it."]

    def test_is_told_with_what_whom_since_when_and_where_to_read_on(self, server: MailServer, settings: Any) -> None:
        settings.SITE_URL = "https://billing.example.com"
        with connection.cursor() as cursor:
            cursor.execute("SELECT now() - interval '3 hours'")
            (since,) = cursor.fetchone()
        find(wrong("source-quiet:pbx-1", "pbx-1 is quiet.", since=since))
        assert text_of(server) == (
            "ALARM: source-quiet:pbx-1\n\n"
            "What is wrong: pbx-1 is quiet.\n"
            f"Since: {since:%Y-%m-%d %H:%M:%S} UTC\n"
            "It affects: Nobody is billed.\n"
            "What to do: Mend it.\n"
            "More: https://billing.example.com/admin/runbook/#source-quiet\n\n"
            "All alarms: https://billing.example.com/admin/ivy/alarm/\n"
            "How Ivy is: manage.py status\n"
        )

    def test_has_its_words_brought_up_to_date_without_another_mail(self, server: MailServer) -> None:
        find(wrong("queue", "3 tasks wait."))
        find(wrong("queue", "5 tasks wait.", affects="More.", todo="Hurry."))
        alarm = Alarm.objects.get()
        assert (alarm.wrong, alarm.affects, alarm.todo) == ("5 tasks wait.", "More.", "Hurry.")
        assert len(server.accepted) == 1

    def test_keeps_the_earliest_moment_it_is_known_to_have_begun(self, server: MailServer) -> None:
        find(wrong("queue"))
        raised_at = Alarm.objects.get().since
        find(wrong("queue", since=raised_at - timedelta(hours=1)))
        find(wrong("queue", since=raised_at + timedelta(hours=1)))
        assert Alarm.objects.get().since == raised_at - timedelta(hours=1)

    def test_that_comes_back_tells_since_when_it_is_wrong_this_time(self, server: MailServer) -> None:
        find(wrong("mails-not-taken"))
        first = Alarm.objects.get().since
        pass_time(minutes=3)
        find(well("mails-not-taken"))
        well_since = Alarm.objects.get().well_since
        find(wrong("mails-not-taken", since=first))
        assert Alarm.objects.get().since == well_since
        assert alarms.clears_at(Alarm.objects.get(), now=timezone.now()) is None

    def test_is_known_to_clear_when_its_calm_time_is_over(self, server: MailServer) -> None:
        find(wrong("cache"))
        find(well("cache"))
        alarm = Alarm.objects.get()
        assert alarms.clears_at(alarm, now=timezone.now()) == alarm.well_since + timedelta(seconds=30)
        find(wrong("cache"))
        find(well("cache"))
        alarm = Alarm.objects.get()
        assert alarms.clears_at(alarm, now=timezone.now()) == alarm.well_since + timedelta(minutes=2)

    def test_is_reminded_of_after_four_and_twelve_hours_and_then_daily(self, server: MailServer) -> None:
        hours_of_reminders = []
        for hour in range(80):
            if find(wrong("disk")).reminded:
                hours_of_reminders.append(hour)
            pass_time(hours=1)
        assert hours_of_reminders == [4, 12, 36, 60]
        assert subjects(server) == ["Ivy: ALARM: disk", *["Ivy: STILL WRONG: disk"] * 4]

    def test_is_reminded_of_once_after_nobody_looked_for_days(self, server: MailServer) -> None:
        find(wrong("disk"))
        pass_time(days=9)
        for _ in range(3):
            find(wrong("disk"))
        assert events() == [("disk", "raised", 0), ("disk", "reminder", 1)]

    def test_is_over_once_it_was_well_for_half_a_minute_and_told_once(
        self, server: MailServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        find(wrong("cache"))
        find(well("cache"))
        pass_time(seconds=15)
        assert find(well("cache")).cleared == []
        pass_time(seconds=16)
        assert find(well("cache")).cleared == ["cache"]
        assert find(well("cache")).cleared == []
        assert subjects(server) == ["Ivy: ALARM: cache", "Ivy: ALL CLEAR: cache"]
        assert "It is well again, since" in text_of(server)
        assert ("ivy.alarms.looking", logging.INFO, "All clear: cache") in caplog.record_tuples
        assert alarms.standing() == []

    def test_is_over_when_it_is_listed_no_more(self, server: MailServer) -> None:
        find(wrong("source-quiet:pbx-1"), wrong("queue"))
        find(wrong("queue"))
        pass_time(seconds=31)
        assert find(wrong("queue")).cleared == ["source-quiet:pbx-1"]
        assert [alarm["key"] for alarm in alarms.standing()] == ["queue"]

    def test_stands_while_nobody_can_look_whether_it_does(self, server: MailServer) -> None:
        find(wrong("queue"))
        for _ in range(3):
            find(wrong("check-failed:billing"), wrong("check-failed:notifications"))
            pass_time(minutes=1)
        find(wrong("check-failed:billing"))
        pass_time(minutes=1)
        assert find(wrong("check-failed:billing")).cleared == ["check-failed:notifications"]
        assert {alarm["key"] for alarm in alarms.standing()} == {"queue", "check-failed:billing"}

    def test_found_twice_in_one_look_is_one(self, server: MailServer) -> None:
        find(wrong("queue", "first"), wrong("queue", "second"), well("queue"))
        assert Alarm.objects.get().wrong == "first"

    def test_may_be_told_in_any_letters(self, server: MailServer) -> None:
        find(wrong("mails-not-taken", "Der Server sagt: “nö” \x00 и всё"))
        find(wrong("mails-not-taken", "Der Server sagt: “nö” \x00 и всё"))
        assert "“nö”" in text_of(server)


class TestFlapping:
    def test_continues_the_same_alarm(self, server: MailServer) -> None:
        for _ in range(5):
            find(wrong("cache"))
            pass_time(seconds=10)
            find(well("cache"))
            pass_time(seconds=10)
        alarm = Alarm.objects.get()
        assert (alarm.flap_count, alarm.cleared_at) == (4, None)
        assert subjects(server) == ["Ivy: ALARM: cache"]

    @pytest.mark.parametrize("comes_back", ["while it stands", "after its all-clear"])
    def test_takes_longer_to_be_over_each_time_it_comes_back(self, server: MailServer, comes_back: str) -> None:
        for calm in (30, 2 * 60, 8 * 60, 30 * 60, 30 * 60):
            find(wrong("cache"))
            find(well("cache"))
            pass_time(seconds=calm - 15)
            assert find(well("cache")).cleared == []
            if comes_back == "after its all-clear":
                pass_time(seconds=16)
                assert find(well("cache")).cleared == ["cache"]

    def test_is_forgotten_after_an_hour(self, server: MailServer) -> None:
        for _ in range(3):
            find(wrong("cache"))
            find(well("cache"))
        find(wrong("cache"))
        pass_time(hours=1, seconds=1)
        find(well("cache"))
        pass_time(seconds=31)
        assert find(well("cache")).cleared == ["cache"]
        pass_time(hours=1, seconds=1)
        find(wrong("cache"))
        assert Alarm.objects.filter(cleared_at=None).get().flap_count == 0

    def test_every_second_for_ten_minutes_makes_one_mail_and_one_all_clear(self, server: MailServer) -> None:
        dice = Random(7)
        with own() as by:
            for second in range(600):
                find(wrong("cache") if dice.random() < 0.5 or second == 0 else well("cache"), by=by)
                pass_time(seconds=1)
        find(well("cache"))
        for _ in range(2):
            pass_time(minutes=30, seconds=1)
            find(well("cache"))
        assert subjects(server) == ["Ivy: ALARM: cache", "Ivy: ALL CLEAR: cache"]

    def test_of_ten_thousand_for_ten_minutes_makes_a_handful_of_mails(
        self, server: MailServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each look sees each of them at a moment of its own."""
        dice = Random(7)
        keys = [f"source-quiet:pbx-{number}" for number in range(10_000)]
        caplog.set_level(logging.CRITICAL, logger="ivy.alarms.looking")
        with own() as by:
            for minutes in (0.2, 0.2, 0.4, 4, 5):
                find(*(wrong(key) if dice.random() < 0.5 else well(key) for key in keys), by=by)
                pass_time(minutes=minutes)
            for minutes in (31, 31, 0):
                find(*map(well, keys), by=by)
                pass_time(minutes=minutes)
        assert Alarm.objects.count() == Alarm.objects.exclude(cleared_at=None).count() > 9_000
        assert len(server.accepted) <= 6, subjects(server)
        assert not AlarmMessage.objects.filter(sent_at=None).exists()
        assert max(len(mail.content) for mail in server.accepted) < 100_000


class TestAMail:
    def test_tells_everything_that_is_due(self, server: MailServer) -> None:
        find(wrong("cache"), wrong("disk"), wrong("queue"))
        assert subjects(server) == ["Ivy: ALARM: cache and 2 more"]
        assert all(f"ALARM: {key}" in text_of(server) for key in ("cache", "disk", "queue"))

    def test_goes_to_all_active_staff_and_to_nobody_else(self, server: MailServer) -> None:
        make_staff(BOB, "gone@ivy.example")
        make_user(email="partner@harbour.example", is_staff=False)
        with another_connection() as other:
            other.execute("UPDATE accounts_user SET is_active = false WHERE email LIKE 'gone%'")
            # as no form would let in, and no mail can be addressed
            other.execute(
                "INSERT INTO accounts_user (password, is_superuser, email, name, is_staff, is_active, date_joined)"
                " VALUES ('', false, 'nobody', '', true, true, now())"
            )
        find(wrong("cache"))
        assert [mail.recipients for mail in server.accepted] == [(ADA, BOB)]

    def test_reaches_the_others_when_one_address_is_refused(self, server: MailServer) -> None:
        make_staff(BOB)
        server.fail(At.RCPT, Fault.NEVER, to=ADA)
        find(wrong("cache"))
        assert len(server.accepted) == 1
        assert AlarmMessage.objects.get().sent_at is not None

    def test_is_not_sent_more_than_six_times_an_hour_but_then_every_ten_minutes(self, server: MailServer) -> None:
        for number in range(120):
            find(*(wrong(f"trouble-{n}") for n in range(number + 1)))
            pass_time(minutes=0.5)
        assert len(server.accepted) <= 6 + 6
        pass_time(minutes=10)
        find(*(wrong(f"trouble-{n}") for n in range(120)))
        assert not AlarmMessage.objects.filter(sent_at=None).exists()
        told = "".join(text_of(server, nth) for nth in range(len(server.accepted)))
        assert all(f"ALARM: trouble-{n}\n" in told or f"ALARM: trouble-{n}:" in told for n in range(120))

    def test_waits_for_a_server_that_is_away(self, server: MailServer) -> None:
        server.stop()
        find(wrong("cache"))
        find(wrong("cache"))
        message = AlarmMessage.objects.get()
        assert (message.sent_at, message.tries) == (None, 1)
        assert message.answer.startswith("Not taken: ConnectionRefusedError")
        server.start()
        find(wrong("cache"))
        assert server.accepted == []  # not before its time
        pass_time(seconds=31)
        find(wrong("cache"))
        find(wrong("cache"))
        assert subjects(server) == ["Ivy: ALARM: cache"]
        assert AlarmMessage.objects.get().answer == "Taken, for 1 of staff."

    def test_is_tried_with_growing_delays_and_never_given_up(self, server: MailServer) -> None:
        server.stop()
        tries = []
        for _ in range(240):
            find(wrong("cache"))
            tries.append(AlarmMessage.objects.aggregate(tries=Min("tries"))["tries"])
            pass_time(minutes=1)
            if tries[-1] == 3:
                break
        assert tries == [1, 2, 3]
        pass_time(days=30)
        server.start()
        find(wrong("cache"))
        assert subjects(server) == ["Ivy: ALARM: cache and 1 more"]

    def test_tells_only_the_all_clear_of_what_began_and_ended_meanwhile(self, server: MailServer) -> None:
        server.stop()
        find(wrong("cache"))
        find(well("cache"))
        pass_time(seconds=31)
        server.start()
        find(well("cache"))
        assert subjects(server) == ["Ivy: ALL CLEAR: cache"]
        assert not AlarmMessage.objects.filter(sent_at=None).exists()

    @pytest.mark.parametrize(
        ("at", "fault"),
        [(At.GREETING, Fault.HANG), (At.GREETING, Fault.DRIP), (At.RCPT, Fault.LATER), (At.DATA, Fault.DROP)],
    )
    def test_is_kept_from_a_server_that_fails(
        self, server: MailServer, monkeypatch: pytest.MonkeyPatch, at: At, fault: Fault
    ) -> None:
        if fault in {Fault.HANG, Fault.DRIP}:
            monkeypatch.setattr(outbox, "DELIVERY_SECONDS", 1.0)
        server.hang_seconds = 3
        server.fail(at, fault)
        find(wrong("cache"))
        assert AlarmMessage.objects.get().sent_at is None
        assert ADA not in AlarmMessage.objects.get().answer
        monkeypatch.setattr(outbox, "DELIVERY_SECONDS", 60.0)
        pass_time(seconds=31)
        find(wrong("cache"))
        assert AlarmMessage.objects.get().sent_at is not None

    def test_is_owed_until_there_is_staff(self, settings: Any) -> None:
        with mail_server() as server:
            use(server, settings)
            find(wrong("cache"))
            assert AlarmMessage.objects.get().answer == "No active member of staff has an e-mail address."
            make_staff(ADA)
            pass_time(minutes=1)
            find(wrong("cache"))
            assert subjects(server) == ["Ivy: ALARM: cache"]


class TestALook:
    @pytest.fixture
    def trouble(self, server: MailServer) -> NotificationLog:
        log = make_owed(state="failed")
        instance.confirm(by="test")
        return log

    def test_finds_what_is_wrong_and_what_is_over(self, trouble: NotificationLog, server: MailServer) -> None:
        assert alarms.look()
        assert alarms.look()
        assert [alarm["key"] for alarm in alarms.standing()] == ["failed-mails"]
        NotificationLog.objects.update(state="suppressed", because="staff")
        alarms.look()
        pass_time(seconds=31)
        alarms.look()
        assert subjects(server) == ["Ivy: ALARM: failed-mails", "Ivy: ALL CLEAR: failed-mails"]
        assert Pulse.objects.filter(name=pulses.ALARMS).exists()

    def test_alarms_whatever_becomes_of_the_caller_s_transaction(
        self, trouble: NotificationLog, server: MailServer
    ) -> None:
        with transaction.atomic():
            alarms.look()
            transaction.set_rollback(True)
        assert subjects(server) == ["Ivy: ALARM: failed-mails"]
        assert AlarmMessage.objects.get().sent_at is not None

    def test_of_several_at_once_alarms_once(self, trouble: NotificationLog, server: MailServer) -> None:
        assert at_once(*[alarms.look] * 4) == [True] * 4
        assert subjects(server) == ["Ivy: ALARM: failed-mails"]

    def test_leaves_looking_to_who_is_at_it(self, trouble: NotificationLog, server: MailServer) -> None:
        with own() as other, one_at_a_time(other, Lock.LOOKING):
            assert alarms.look()
            assert alarms.standing() == []
        with own() as other, one_at_a_time(other, Lock.MAILING):
            alarms.look()
            assert [alarm["key"] for alarm in alarms.standing()] == ["failed-mails"]
            assert server.accepted == []
        alarms.look()
        assert len(server.accepted) == 1

    def test_goes_on_when_a_check_fails(self, trouble: NotificationLog, server: MailServer) -> None:
        with another_connection() as other:
            other.execute("ALTER TABLE notifications_breakertrip RENAME TO elsewhere")
            try:
                alarms.look()
                alarms.look()
            finally:
                other.execute("ALTER TABLE elsewhere RENAME TO notifications_breakertrip")
        standing = {alarm["key"]: alarm for alarm in alarms.standing()}
        assert set(standing) == {"check-failed:breaker", "check-failed:held-mails", "failed-mails"}
        assert standing["check-failed:breaker"]["wrong"] == "Ivy can't look at “breaker”: ProgrammingError."
        assert standing["check-failed:breaker"]["page"] == "check-failed"
        alarms.look()
        pass_time(seconds=31)
        alarms.look()
        assert [alarm["key"] for alarm in alarms.standing()] == ["failed-mails"]

    def test_survives_a_connection_that_was_lost_before(self, trouble: NotificationLog, server: MailServer) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (backend,) = cursor.fetchone()
        with another_connection() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
        alarms.look()
        assert [alarm["key"] for alarm in alarms.standing()] == ["failed-mails"]

    def test_never_raises(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")  # nobody listens there
        assert not alarms.look()
        assert not alarms.look()
        assert "the next look tries again" in caplog.text

    def test_alarms_while_notifications_are_halted_and_redis_is_dead(
        self, trouble: NotificationLog, server: MailServer, settings: Any
    ) -> None:
        settings.CACHES = {
            **settings.CACHES,
            "redis": {**settings.CACHES["redis"], "LOCATION": "redis://127.0.0.1:1/0"},
        }
        call_command("halt", Process.NOTIFICATIONS.value, "--reason", "looking into it", "--json")
        alarms.look()
        assert "Ivy: ALARM: failed-mails" in subjects(server)[0]

    def test_is_taken_by_tick_in_each_round(self, trouble: NotificationLog, server: MailServer) -> None:
        ticker = Ticker()
        for _ in range(2):
            ticker.round()
            assert ticker.wait(seconds=60)
        assert subjects(server) == ["Ivy: ALARM: failed-mails"]


class TestStatus:
    def test_tells_the_alarms_that_stand(self, server: MailServer, capsys: pytest.CaptureFixture[str]) -> None:
        find(wrong("source-quiet:pbx-1", "pbx-1 is quiet."))
        call_command("status")
        told = capsys.readouterr().out
        assert "  source-quiet:pbx-1, since " in told
        assert "    pbx-1 is quiet.\n    Nobody is billed.\n    Mend it.\n" in told
        (alarm,) = alarms.standing()
        assert alarm["words"] == "pbx-1 is quiet. Nobody is billed. Mend it."
        assert (alarm["page"], alarm["well_since"]) == ("source-quiet", None)
