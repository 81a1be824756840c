"""Passes of notifications that stay away are told, whatever keeps them."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from billing.checking import Check
from ivy import pulses, tasks, watch
from ivy.models import Pulse
from notifications.models import DeliveryAttempt
from tests.billing.at_once import real_commits
from tests.notifications.mails import make_owed


def found() -> Check:
    (check,) = [check for check in watch.everything() if check.key == "notification-runs"]
    return check


def last_ended(gap: timedelta) -> None:
    pulses.beat(pulses.NOTIFICATIONS_DONE)
    Pulse.objects.update(beaten_at=Now() - gap)


@pytest.mark.django_db
class TestPassesOfNotifications:
    def test_are_not_missed_before_there_was_one(self) -> None:
        assert found().is_well

    def test_are_missed_after_five_minutes(self) -> None:
        last_ended(timedelta(minutes=4))
        assert found().is_well
        last_ended(timedelta(minutes=6))
        assert found().wrong.startswith("No pass of notifications has ended well since ")
        assert found().since is not None

    def test_may_take_long_while_mails_are_handed_over(self) -> None:
        last_ended(timedelta(minutes=20))
        attempt = DeliveryAttempt.objects.create(
            notification=make_owed(), number=1, token=1, pid=1, phase="connect", outcome="open"
        )
        assert found().is_well
        DeliveryAttempt.objects.filter(pk=attempt.pk).update(began_at=Now() - timedelta(minutes=3))
        assert not found().is_well


@real_commits
class TestARealPass:
    def test_is_told_no_more_of_once_one_has_ended(self) -> None:
        last_ended(timedelta(minutes=6))
        assert not found().is_well
        tasks.notifications_pass()
        assert found().is_well
        tasks.notifications_pass()
        assert found().is_well
