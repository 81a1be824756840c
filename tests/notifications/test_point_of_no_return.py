"""The point of no return, at its own door: one statement that reads what was committed while it waited."""

from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from billing import halting, prepared
from billing.models import HaltCause, Process, ProcessSwitch
from notifications import claiming, sending
from notifications.models import DeliveryAttempt, NotificationLog, Phase, State
from notifications.transports import Taken
from tests.billing.at_once import meanwhile, real_commits
from tests.factories import harbour
from tests.faults.processes import another_connection, wait_until
from tests.notifications.stories import make_mail
from tests.plans import naive_plans

pytestmark = real_commits

BARRIER = halting.LOCKS[Process.NOTIFICATIONS]
# Like `sending._BEGIN`, for nobody's mail, and with all the patience that a slow machine may need.
NOBODYS_MAIL = """
SELECT verdict FROM notifications_begin_hand_over(
    -1, 1, NULL, %(partner)s, NULL, true, true, false, %(barrier)s, '60s', 60, 'host', 1, '', 'server', false,
    true, '', '', '', '', '', now()
)
"""


class Nowhere:
    """A way for mails on which nothing happens but what a test looks at."""

    name = "nowhere"
    longest_seconds = 1.0
    has_journal = False

    def offer(self, log: NotificationLog) -> None: ...

    def abandon(self) -> None: ...

    def hand_over(self, log: NotificationLog) -> Taken:
        with another_connection() as other:
            found = other.execute("SELECT state FROM notifications_notificationlog WHERE id = %s", [log.pk]).fetchone()
        assert found == (State.SENDING,), "committed, seen by everybody, and in no transaction of ours"
        return Taken(250, "2.0.0 Taken")

    def close(self) -> None: ...


def begin(partner: int = 0) -> Any:
    ((verdict,),) = prepared.commit(NOBODYS_MAIL, {"partner": partner, "barrier": BARRIER})
    return verdict


@pytest.mark.parametrize("is_for_everyone", [True, False])
def test_reads_a_switch_that_was_committed_while_it_waited_at_the_barrier(is_for_everyone: bool) -> None:
    partner = harbour()
    assert begin(partner.pk) == "not mine"
    with another_connection() as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", [BARRIER, 0 if is_for_everyone else partner.pk])
        with meanwhile(lambda: begin(partner.pk)) as verdict:
            waits = (
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            wait_until(lambda: other.execute(waits, [BARRIER]).fetchone(), what="waiting at the barrier")
            ProcessSwitch.objects.create(
                process=Process.NOTIFICATIONS, partner=None if is_for_everyone else partner, cause=HaltCause.STAFF,
                is_halted=True, reason="Wrong mails.", changed_by="Astrid Holm",
            )  # fmt: skip
            other.execute("SELECT pg_advisory_unlock_all()")
    assert verdict.result() == "halted"


def test_refuses_to_read_a_switch_that_may_be_stale() -> None:
    with another_connection() as other:
        other.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(psycopg.errors.RaiseException, match="READ COMMITTED"):
            other.execute(NOBODYS_MAIL, {"partner": 0, "barrier": BARRIER})


def test_is_no_part_of_another_transaction() -> None:
    with transaction.atomic(), pytest.raises(TransactionManagementError):
        begin()


def test_leaves_no_lock_and_no_setting_behind() -> None:
    begin()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.parametrize("another_follows", [True, False])
def test_is_committed_before_the_body_and_the_answer_after_it(another_follows: bool) -> None:
    mail = make_mail()
    (claim,) = claiming.claim()
    assert sending.send(claim, Nowhere(), another_follows=another_follows).state == State.SENT
    with another_connection() as other:
        found = other.execute("SELECT state FROM notifications_notificationlog WHERE id = %s", [mail.pk]).fetchone()
    assert found == (State.SENT,)
    assert DeliveryAttempt.objects.get().phase == Phase.REPLY
    with pytest.raises(sending.NotMine):
        sending.send(claim, Nowhere())


def test_no_more_are_claimed_than_asked_for_whatever_the_plan() -> None:
    for _ in range(5):
        make_mail()
    with connection.cursor() as cursor, naive_plans(cursor.execute):
        assert len(claiming.claim(limit=2)) == 2
    assert NotificationLog.objects.filter(state=State.PENDING).count() == 3
