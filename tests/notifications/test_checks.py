"""What the notification side alarms about the mail server: its newest trouble, and only what is true just now."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from billing import halting
from billing.checking import Check
from billing.models import Process
from notifications import checks
from notifications.models import DeliveryAttempt, NotificationLog, Outcome, Phase, State
from tests.notifications.stories import make_attempt, make_mail

pytestmark = pytest.mark.django_db

REFUSED = {"outcome": Outcome.DEFERRED, "phase": Phase.CONNECT, "words": "connection refused"}


def the_mail_server() -> Check:
    return next(check for check in checks.checks() if check.key == "mails-not-taken")


def tried(log: NotificationLog, minutes_ago: int, **what: object) -> DeliveryAttempt:
    return make_attempt(log, began_at=timezone.now() - timedelta(minutes=minutes_ago), **what)


class TestAMailServerThatTakesNothing:
    def test_is_told_since_its_newest_trouble_began_and_not_since_another_one_before(self) -> None:
        mail = make_mail(State.PENDING)
        tried(mail, 12, outcome=Outcome.UNKNOWN, words="broke off after the body")
        first = tried(mail, 8, **REFUSED)
        tried(mail, 4, **REFUSED)
        told = the_mail_server()
        assert told.since == first.began_at
        assert f"has taken nothing since {first.began_at:%Y-%m-%d %H:%M:%S} UTC" in told.wrong
        assert "connect: connection refused" in told.wrong
        assert re.fullmatch(
            r"1 mail for customers, counted at [0-9:]{8} UTC; they are tried again by themselves\.", told.affects
        )

    def test_is_told_anew_after_it_took_one_between(self) -> None:
        mail = make_mail(State.PENDING)
        tried(mail, 9, **REFUSED)
        tried(mail, 6, outcome=Outcome.ACCEPTED)
        assert the_mail_server().is_well
        again = tried(mail, 3, **REFUSED)
        assert the_mail_server().since == again.began_at

    def test_is_told_as_it_was_while_a_halt_keeps_anybody_from_trying(self) -> None:
        tried(make_mail(State.PENDING), 3, **REFUSED)
        halting.halt(Process.NOTIFICATIONS, reason="Two mails each", by="nina@ivy.example")
        told = the_mail_server()
        assert told.wrong.startswith("When it was last tried, at ")
        assert "once notifications are not halted" in told.affects

    def test_is_no_trouble_while_nothing_waits(self) -> None:
        tried(make_mail(State.FAILED), 3, **REFUSED)
        assert the_mail_server().is_well
