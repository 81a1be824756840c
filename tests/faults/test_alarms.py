"""An alarm outlives whoever tells it: a process killed between the mail server's answer and its own note of it."""

import os
import signal
from collections.abc import Iterator

import pytest

from ivy import alarms
from ivy.models import AlarmMessage
from notifications import instance
from tests.faults.mailserver import At, MailServer, mail_server
from tests.faults.processes import start_cold, wait_until
from tests.notifications.mails import make_owed
from tests.project.alarming import make_staff, pass_time, real_commits, subjects, use

pytestmark = real_commits


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, settings: object) -> Iterator[MailServer]:
    with mail_server() as mails:
        monkeypatch.setenv("EMAIL_URL", mails.url)
        use(mails, settings)
        make_staff("ada@ivy.example")
        make_owed(state="failed")
        instance.confirm(by="test")
        yield mails


class TestALookerThatIsKilled:
    @pytest.mark.parametrize(("at", "mails_before"), [(At.DATA, 0), (At.AFTER, 1)])
    def test_loses_no_alarm_and_makes_at_most_one_mail_more(
        self, server: MailServer, at: At, mails_before: int
    ) -> None:
        hold = server.hold(At.REPLY if at == At.AFTER else At.MAIL)
        looker = start_cold("shell", "-c", "from ivy import alarms; alarms.look()")
        assert hold.reached.wait(60)
        # Nobody tells beside it, and the alarm stands all the same.
        alarms.look()
        assert [alarm["key"] for alarm in alarms.standing()] == ["failed-mails"]
        assert len(server.accepted) == mails_before
        os.kill(looker.pid, signal.SIGKILL)
        looker.communicate()
        server.forget(hold)
        assert AlarmMessage.objects.get().tries == 1

        def is_told() -> bool:
            pass_time(seconds=31)
            alarms.look()  # the server may take a moment to see that the other is gone
            return AlarmMessage.objects.get().sent_at is not None

        wait_until(is_told)
        alarms.look()
        assert subjects(server) == ["Ivy: ALARM: failed-mails"] * (mails_before + 1)
        assert len({mail.message_id for mail in server.accepted}) == 1
