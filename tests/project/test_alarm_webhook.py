"""Alarms are posted to a chat or a pager: signed, tried again for a day, and never followed elsewhere."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from ivy import environment
from ivy.alarms import looking, outbox, webhook
from ivy.models import Alarm, AlarmMessage
from tests.billing.at_once import at_once
from tests.plans import naive_plans
from tests.project.alarming import find, own, pass_time, real_commits, well, wrong
from tests.project.receiver import Posted, Receiver, receiver

pytestmark = real_commits

SECRET = "a long walk along the quay at night"


@pytest.fixture
def pager(settings: Any) -> Iterator[Receiver]:
    """Where alarms are posted."""
    with receiver() as here:
        settings.ALARM_WEBHOOK_URL = here.url
        settings.ALARM_WEBHOOK_SECRET = environment.alarm_webhook_secret(SECRET, url=here.url)
        yield here


def is_signed(posted: Posted, secret: bytes) -> bool:
    """As docs/alarms.md tells receivers to do it."""
    timestamp = posted.headers["webhook-timestamp"]
    signed = f"{posted.headers['webhook-id']}.{timestamp}.".encode() + posted.body
    expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    is_fresh = abs(time.time() - int(timestamp)) < 300
    return is_fresh and hmac.compare_digest(expected, posted.headers["webhook-signature"])


def message() -> AlarmMessage:
    return AlarmMessage.objects.get(channel="webhook")


class TestAPost:
    def test_tells_each_event_once_in_full(self, pager: Receiver, settings: Any) -> None:
        settings.SITE_URL = "https://billing.example.com"
        for _ in range(2):
            find(wrong("source-quiet:pbx-1", "pbx-1 is quiet."))
        pass_time(hours=4)
        find(wrong("source-quiet:pbx-1", "pbx-1 is quiet."))
        find(well("source-quiet:pbx-1"))
        pass_time(seconds=31)
        for _ in range(2):
            find(well("source-quiet:pbx-1"))
        assert pager.told() == [(event, "source-quiet:pbx-1") for event in ("raised", "reminder", "cleared")]
        told = pager.posted[0].json
        alarm = Alarm.objects.get()
        assert told["text"].startswith("ALARM source-quiet:pbx-1: pbx-1 is quiet. Nobody is billed. Mend it. (since ")
        assert datetime.fromisoformat(told["since"]).tzinfo is not None
        assert {name: told[name] for name in ("wrong", "affects", "todo", "link", "cleared_at", "number")} == {
            "wrong": "pbx-1 is quiet.",
            "affects": "Nobody is billed.",
            "todo": "Mend it.",
            "link": "https://billing.example.com/admin/runbook/#source-quiet",
            "cleared_at": None,
            "number": 0,
        }
        over = pager.posted[2].json
        assert over["text"].startswith("ALL CLEAR source-quiet:pbx-1: It is well again. It was: pbx-1 is quiet.")
        assert datetime.fromisoformat(over["cleared_at"]) == alarm.cleared_at

    @pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(bytes(range(32))).decode()])
    def test_is_signed(self, pager: Receiver, settings: Any, secret: str) -> None:
        key = settings.ALARM_WEBHOOK_SECRET = environment.alarm_webhook_secret(secret, url=pager.url)
        find(wrong("cache", "Kaputt: “ü”"))
        (posted,) = pager.posted
        assert is_signed(posted, key)
        assert not is_signed(posted, b"another secret of the same length")
        tampered = Posted(posted.path, posted.headers, posted.body.replace(b"cache", b"queue"))
        assert not is_signed(tampered, key)
        older = {**posted.headers, "webhook-timestamp": str(int(posted.headers["webhook-timestamp"]) - 1)}
        assert not is_signed(Posted(posted.path, older, posted.body), key)

    def test_keeps_the_answer(self, pager: Receiver) -> None:
        pager.answers = [(202, {}, b"queued \x00 as 17" + b"x" * 5000)]
        find(wrong("cache"))
        assert message().answer.startswith("202 Accepted queued as 17")
        assert len(message().answer) < 400

    def test_carries_the_same_id_at_each_try_and_another_for_each_message(self, pager: Receiver) -> None:
        pager.answers = [(503, {}, b""), (503, {}, b"")]
        for _ in range(3):
            find(wrong("cache"))
            pass_time(minutes=5)
        find(wrong("cache"), wrong("disk"))
        ids = [posted.headers["webhook-id"] for posted in pager.posted]
        assert len(ids) == 4
        assert ids[0] == ids[1] == ids[2] != ids[3]

    def test_is_not_made_where_no_address_is_set(self) -> None:
        find(wrong("cache"))
        assert not AlarmMessage.objects.filter(channel="webhook").exists()

    def test_of_many_at_one_moment_is_one(self, pager: Receiver) -> None:
        find(*(wrong(f"source-quiet:pbx-{number}") for number in range(10)))
        assert len(pager.posted) == 10
        find(*(wrong(f"source-quiet:pbx-{number}") for number in range(60)))
        several = pager.posted[10].json
        assert len(pager.posted) == 11
        assert (several["event"], several["count"], len(several["alarms"])) == ("several", 50, 50)
        assert several["alarms"][0]["key"] == "source-quiet:pbx-10"
        assert is_signed(pager.posted[10], SECRET.encode())
        assert not AlarmMessage.objects.filter(channel="webhook", sent_at=None).exists()

    def test_tells_one_event_whatever_the_plan_of_the_claim(self, pager: Receiver) -> None:
        """A table whose rows were all gone when it was last looked at: the planner expects one and looks row by row."""
        with own() as by, naive_plans(by.execute):
            find(wrong("cache"), by=by)
            by.execute("DELETE FROM ivy_alarmmessage")
            by.execute("ANALYZE ivy_alarmmessage")
            find(*(wrong(f"pbx-{number}") for number in range(10)), by=by)
        assert [posted.json["key"] for posted in pager.posted] == ["cache", *(f"pbx-{number}" for number in range(10))]

    def test_is_made_once_by_several_who_look_at_once(self, pager: Receiver) -> None:
        with own() as by:
            looking.note(by, [wrong("cache"), wrong("disk")])

        def deliver() -> int:
            with own() as by:
                return webhook.deliver(by)

        assert sum(at_once(*[deliver] * 4)) == 2
        assert sorted(pager.told()) == [("raised", "cache"), ("raised", "disk")]


class TestAReceiverThatFails:
    @pytest.mark.parametrize(
        ("status", "said"), [(500, "500 Internal Server Error no"), (404, "404 Not Found no"), (429, "429 Too Many")]
    )
    def test_is_tried_again_later(self, pager: Receiver, status: int, said: str) -> None:
        pager.answers = [(status, {}, b"no")]
        find(wrong("cache"))
        find(wrong("cache"))
        assert (message().sent_at, message().tries) == (None, 1)
        assert message().answer.startswith(f"Not taken: {said}")
        pass_time(seconds=31)
        find(wrong("cache"))
        find(wrong("cache"))
        assert (message().sent_at is not None, message().tries, message().answer) == (True, 2, "200 OK ok")

    def test_is_not_followed_elsewhere(self, pager: Receiver) -> None:
        with receiver() as elsewhere:
            pager.answers = [(status, {"Location": elsewhere.url}, b"") for status in (301, 302, 307, 308)]
            for _ in range(4):
                find(wrong("cache"))
                pass_time(minutes=10)
            assert elsewhere.posted == []
        assert message().answer == "Not taken: 308 Permanent Redirect"
        assert message().sent_at is None

    @pytest.mark.parametrize("how", ["hangs", "drips"])
    def test_does_not_hold_up_a_look(self, pager: Receiver, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        monkeypatch.setattr(outbox, "DELIVERY_SECONDS", 1.0)
        if how == "hangs":
            pager.hangs = threading.Event()
        else:
            pager.drips = True
        began = time.monotonic()
        find(*(wrong(f"trouble-{number}") for number in range(5)))
        assert time.monotonic() - began < 30
        assert len(pager.posted) == 1  # what hangs for one would hang for all
        first, *others = AlarmMessage.objects.filter(channel="webhook").order_by("pk")
        assert first.answer == "Not taken: no answer within 1 s"
        assert all(other.tries == 0 for other in others)
        pager.is_over.set()
        if pager.hangs:
            pager.hangs.set()
        pager.hangs, pager.drips = None, False
        monkeypatch.setattr(outbox, "DELIVERY_SECONDS", 60.0)
        pass_time(seconds=31)
        find(*(wrong(f"trouble-{number}") for number in range(5)))
        assert not AlarmMessage.objects.filter(channel="webhook", sent_at=None).exists()

    def test_is_given_up_after_a_day_of_growing_delays(self, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
        with receiver() as gone:
            settings.ALARM_WEBHOOK_URL = gone.url
        settings.ALARM_WEBHOOK_SECRET = b"x" * 24
        hours = 0.0
        with own() as by:
            find(wrong("cache"), by=by)
            while message().next_try_at is not None:
                assert hours < 30
                pass_time(minutes=15)
                hours += 0.25
                webhook.deliver(by)
        assert 24 <= hours < 25
        assert 30 < message().tries < 60
        assert message().answer == "Not taken: ConnectionError (NewConnectionError)"
        assert "open-sesame" not in caplog.text
        tries = message().tries
        pass_time(days=1)
        find(wrong("cache"))
        assert AlarmMessage.objects.filter(channel="webhook").first().tries == tries  # type: ignore[union-attr]
        assert Alarm.objects.get().cleared_at is None

    def test_keeps_nobody_else_from_being_told(self, pager: Receiver) -> None:
        """One message that the receiver never takes waits by itself."""
        pager.answers = [(400, {}, b""), (200, {}, b"ok"), (400, {}, b"")]
        find(wrong("poison"), wrong("disk"))
        for _ in range(3):
            pass_time(seconds=31)
            find(wrong("poison"), wrong("disk"))
        told = AlarmMessage.objects.filter(channel="webhook", sent_at__isnull=False)
        assert "disk" in set(told.values_list("alarm__key", flat=True))
