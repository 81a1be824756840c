"""The bad night, in a real browser: see what is wrong, stop it, start it again; also with Redis and the queue dead."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db.models.functions import Now
from playwright.sync_api import Page, expect

from billing import halting
from billing.models import BillingRun, ChunkState, HaltCause, Partner, Process, ProcessSwitch, RunState
from ivy import cache, pulses
from ivy.accounts.models import User
from ivy.models import Alarm, AuditEntry, Pulse
from notifications.models import BreakerTrip, State
from tests.browser.conftest import overflows, serious_findings
from tests.factories import (
    harbour,
    make_call,
    make_chunk,
    make_customer,
    make_quarantined_call,
    make_rate,
    make_run,
    make_worker,
    standard_deck,
)
from tests.faults.redis_server import RedisServer, redis_server
from tests.notifications.stories import make_mail

TWICE = "Calls of pbx-2 look doubled."
SEEN = "Both files were taken back."
PASSWORD = "a long enough secret"


def calls_wait() -> None:
    """Two calls at three pence, of one customer."""
    Partner.objects.filter(pk=harbour().pk).update(rate_deck=standard_deck())
    make_rate()
    customer = make_customer(account="10001")
    for _ in range(2):
        make_call(customer=customer)


def is_halted(process: Process = Process.CALLS) -> bool:
    return ProcessSwitch.objects.filter(process=process, is_halted=True).exists()


@pytest.fixture
def operator(log_in: Callable[..., User]) -> User:
    return log_in("operator")


@pytest.fixture
def first_page(page: Page, operator: User, live_server: Any) -> str:
    """Its address; somebody who may halt is logged in."""
    return f"{live_server.url}/admin/"


def halt_calls(page: Page) -> None:
    """Two clicks and a reason."""
    page.get_by_role("link", name="Halt calls …").click()
    page.get_by_label("Reason").fill(TWICE)
    page.get_by_role("button", name="Halt now").click()
    expect(page.get_by_text("Calls: halted; nothing is in flight.")).to_be_visible()


def resume_calls(page: Page) -> None:
    """Look at what would follow, and let it go on."""
    page.get_by_role("link", name="See what would follow, and resume").click()
    expect(page.get_by_role("row", name="call 2 0.06 GBP")).to_be_visible()
    page.get_by_label("Reason").fill(SEEN)
    page.get_by_role("button", name="Resume now").click()
    expect(page.get_by_text("Calls: working again.")).to_be_visible()


class TestTheBadNight:
    def test_is_seen_stopped_and_ended(self, page: Page, first_page: str) -> None:
        calls_wait()
        Alarm.objects.create(key="source-quiet:pbx-2", wrong="The source pbx-2 delivers everything twice.")
        page.goto(first_page)
        expect(page.get_by_role("heading", name="This needs a person")).to_be_visible()
        expect(page.get_by_text("The source pbx-2 delivers everything twice.")).to_be_visible()
        halt_calls(page)
        expect(page.get_by_text("Calls are halted", exact=True)).to_be_visible()
        expect(page.get_by_text("Calls are not billed, and no open incident tells of it")).to_be_visible()
        assert ProcessSwitch.objects.get().reason == TWICE
        resume_calls(page)
        assert not is_halted()
        assert [entry.verb for entry in AuditEntry.objects.order_by("pk")] == ["halt", "resume"]
        assert page.mistakes == []

    def test_is_stopped_by_the_keyboard_alone(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip the menu")).to_be_focused()
        page.keyboard.press("Enter")
        button = page.get_by_role("link", name="Halt calls …")
        for _ in range(20):
            page.keyboard.press("Tab")
            if button.evaluate("element => element === document.activeElement"):
                break
        expect(button).to_be_focused()
        page.evaluate("document.querySelector('#live-now').dataset.version = 'older'")
        with page.expect_response("**/control/now/**"):
            page.evaluate("htmx.trigger('#live-now', 'look')")
        expect(button).to_be_focused()  # also when the part around it is told anew
        page.keyboard.press("Enter")
        expect(page.get_by_label("Reason")).to_be_focused()
        page.keyboard.type(TWICE)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Calls: halted; nothing is in flight.")).to_be_visible()

    def test_asks_again_when_the_world_moved(self, page: Page, first_page: str) -> None:
        calls_wait()
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        page.goto(f"{first_page}control/resume/calls/")
        expect(page.get_by_role("row", name="call 2 0.06 GBP")).to_be_visible()
        make_call(customer=make_customer(account="10002"))
        page.get_by_label("Reason").fill(SEEN)
        page.get_by_role("button", name="Resume now").click()
        expect(page.get_by_text("what would follow has changed since you looked")).to_be_visible()
        expect(page.get_by_role("row", name="call 3 0.09 GBP")).to_be_visible()
        assert is_halted()
        page.get_by_role("button", name="Resume now").click()
        expect(page.get_by_text("Calls: working again.")).to_be_visible()


@pytest.fixture
def redis(settings: Any) -> Iterator[RedisServer]:
    """A Redis of this test's own, which the pages work with."""
    with redis_server() as server:
        settings.CACHES = {**settings.CACHES, "redis": {**settings.CACHES["redis"], "LOCATION": server.url}}
        yield server
    cache._forget()


class TestWithRedisStoppedAndTheQueueDead:
    def test_all_is_seen_stopped_and_ended_all_the_same(self, page: Page, first_page: str, redis: RedisServer) -> None:
        calls_wait()
        make_run(amount={"GBP": "12.34"})
        page.goto(first_page)
        expect(page.get_by_text("12.34 GBP").first).to_be_visible()
        redis.kill()
        pulses.beat(pulses.QUEUE_CANARY)
        Pulse.objects.filter(name=pulses.QUEUE_CANARY).update(beaten_at=Now() - timedelta(minutes=20))
        page.goto(first_page)
        expect(page.get_by_text("The queue does nothing")).to_be_visible()
        failing = page.get_by_role("listitem").filter(has_text="cache it failed a moment ago")
        expect(failing).to_be_visible()  # told with the next look
        expect(page.get_by_text("12.34 GBP").first).to_be_visible()
        halt_calls(page)
        resume_calls(page)
        assert not is_halted()
        assert page.mistakes == []


class TestALivePart:
    def test_tells_what_others_do_without_being_loaded_again(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        page.evaluate("window.isTheSame = true")
        halting.halt(Process.ITEMS, reason="Wrong prices.", by="ben@ivy.example")
        expect(page.get_by_text("Items are halted", exact=True)).to_be_visible()
        assert page.evaluate("window.isTheSame")

    def test_tells_the_mails_of_both_halves_of_one_moment(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        row = page.get_by_role("row", name=re.compile("^owed"))
        expect(row).to_contain_text("0")
        make_mail(State.PENDING)
        page.evaluate("htmx.trigger('#live-now', 'look')")
        expect(page.locator("#live-now dd", has_text="the oldest since")).to_contain_text("1")
        expect(row).to_contain_text("1", timeout=45_000)  # of itself it would be told anew after a minute

    def test_asks_nothing_while_nobody_looks(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        asked_count = page.evaluate("""() => {  // in one go, so that the part does not ask of itself meanwhile
            let count = 0;
            document.addEventListener("htmx:beforeSend", () => count++);
            Object.defineProperty(document, "hidden", {value: true, configurable: true});
            htmx.trigger("#live-now", "look");
            delete document.hidden;
            return count;
        }""")
        assert asked_count == 0
        with page.expect_response("**/control/now/**"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def test_says_since_when_it_was_not_told_anew_and_comes_back(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        page.route("**/control/now/**", lambda route: route.abort())
        page.evaluate("htmx.trigger('#live-now', 'look')")
        state = page.locator("[data-live-state=now]")
        expect(state).to_contain_text(re.compile(r"Not updated since \d\d:\d\d:\d\d UTC: no answer came"))
        page.unroute("**/control/now/**")
        page.evaluate("htmx.trigger('#live-now', 'look')")
        expect(state).not_to_contain_text("Not updated since")

    def test_says_that_somebody_is_logged_out(self, page: Page, first_page: str) -> None:
        page.goto(first_page)
        page.context.clear_cookies()
        page.evaluate("htmx.trigger('#live-now', 'look')")
        expect(page.locator("[data-live-state=now]")).to_contain_text("you are logged out. Log in again")
        expect(page.get_by_role("heading", name="Switches")).to_be_visible()


class TestWhoeverActsInAHurry:
    def test_and_clicks_twice_halts_once_and_does_not_halt_again_by_going_back(
        self, page: Page, first_page: str
    ) -> None:
        page.goto(f"{first_page}control/halt/calls/")
        page.get_by_label("Reason").fill(TWICE)
        page.get_by_role("button", name="Halt now").dblclick()
        expect(page.get_by_role("heading", name="Switches")).to_be_visible()
        assert AuditEntry.objects.count() == 1
        halting.resume(Process.CALLS, reason=SEEN, by="ben@ivy.example")
        page.go_back()
        expect(page.get_by_role("button", name="Halt now")).to_be_visible()
        assert not is_halted()

    def test_and_is_logged_out_meanwhile_is_told_that_nothing_was_done(
        self, page: Page, first_page: str, operator: User, settings: Any
    ) -> None:
        page.goto(f"{first_page}control/halt/calls/")
        page.get_by_label("Reason").fill(TWICE)
        page.context.clear_cookies(name=django_settings.SESSION_COOKIE_NAME)
        page.get_by_role("button", name="Halt now").click()
        page.get_by_label("Email").fill(operator.email)
        page.get_by_label("Password:").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("you had been logged out when you sent this form")).to_be_visible()
        assert not is_halted()
        page.get_by_label("Reason").fill(TWICE)
        page.get_by_role("button", name="Halt now").click()
        expect(page.get_by_text("Calls: halted; nothing is in flight.")).to_be_visible()

    def test_and_may_not_reads_what_they_lack(self, page: Page, log_in: Callable[..., User], live_server: Any) -> None:
        log_in("support")
        page.goto(f"{live_server.url}/admin/")
        expect(page.get_by_text("Halting needs the role operator.")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile("Halt"))).to_have_count(0)
        page.goto(f"{live_server.url}/admin/control/halt/calls/")
        expect(page.get_by_text("Nothing was changed. An admin can give you a role that has it.")).to_be_visible()


class TestThePages:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_can_be_read_by_everybody_and_on_a_telephone(self, page: Page, first_page: str, scheme: Any) -> None:
        calls_wait()
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example", partner=harbour())
        make_mail(State.UNCERTAIN)
        make_quarantined_call()
        BreakerTrip.objects.create(limit="mails_an_hour", reason="612 mails went out within an hour")
        ProcessSwitch.objects.create(
            process=Process.NOTIFICATIONS, cause=HaltCause.BREAKER, is_halted=True, reason="612", changed_by="breaker"
        )
        done = make_run(amount={"GBP": "12.34"}, errors=[{"kind": "item", "key": "trunk-7", "error": "It is odd."}])
        run = make_run(state=RunState.RUNNING, calls_billed=300)
        BillingRun.objects.filter(pk=run.pk).update(planned_at=Now() - timedelta(seconds=30))
        make_worker(run=run)
        for state in (ChunkState.DONE, ChunkState.OPEN):
            make_chunk(run=run, state=state)
        page.emulate_media(color_scheme=scheme)
        for path, sign in {
            "": "Mails of the last 24 hours",
            "control/halt/billing/": "Halt now",
            "control/resume/calls/?partner=harbour": "Resume now",
            "control/reset-breaker/": "Reset the breaker now",
            f"control/run/{run.pk}/": "Workers",
            f"control/run/{done.pk}/": "It is odd.",
        }.items():
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(first_page + path)
            expect(page.get_by_text(sign, exact=True).first).to_be_visible()
            assert serious_findings(page) == [], path
            page.set_viewport_size({"width": 400, "height": 800})
            assert not overflows(page), path
        assert page.mistakes == []
