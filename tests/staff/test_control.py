"""The control room: what it tells and what it costs; halting, resuming and resetting the breaker, each done once."""

import html
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing import halting
from billing.models import (
    BillingRun,
    CallRecord,
    ChunkState,
    Customer,
    EntryKind,
    HaltCause,
    Partner,
    Process,
    ProcessSwitch,
    RunState,
    SwitchHistory,
)
from ivy import cache, charged, pulses
from ivy.accounts.models import User
from ivy.models import Alarm, AuditEntry, Incident, Probe, Pulse
from ivy.staff import roles
from notifications import breaker, reviewing
from notifications.breaker import Reached
from notifications.models import BreakerTrip, NotificationLog, Outcome, StaffOrder, State, Verb
from tests.billing.at_once import at_once, meanwhile
from tests.billing.test_halting import in_flight
from tests.factories import (
    harbour,
    key_of,
    make_alert,
    make_call,
    make_call_charge,
    make_chunk,
    make_customer,
    make_entry,
    make_item,
    make_partner,
    make_quarantined_call,
    make_rate,
    make_run,
    make_switch,
    make_worker,
    standard_deck,
)
from tests.faults.processes import wait_until
from tests.notifications.mails import make_owed
from tests.notifications.stories import make_attempt, make_mail

real_commits = pytest.mark.django_db(transaction=True)

LogIn = Callable[..., Client]

TWICE = "Calls of pbx-2 look doubled."
SEEN = "Both files were taken back."
FIRST_PAGE = "/admin/"
LATELY = "/admin/control/lately/"  # which the first page asks for once it stands
HALT_CALLS = "/admin/control/halt/calls/"
RESUME_CALLS = "/admin/control/resume/calls/"
RESET = "/admin/control/reset-breaker/"


@pytest.fixture
def log_in(settings: Any) -> LogIn:
    """A client of somebody with these roles."""
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here

    def log_in(*names: str, email: str = "night.shift@ivy.example") -> Client:
        if not Group.objects.exists():  # after a test with real commits
            roles.install()
        user = User.objects.filter(email=email).first() or User.objects.create_user(email, is_staff=True)
        user.groups.set(Group.objects.filter(name__in=names))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def operator(log_in: LogIn) -> Client:
    return log_in("operator")


def words(answer: Any) -> str:
    """What a page says, without its mark-up."""
    text = answer.content.decode() if hasattr(answer, "content") else answer
    text = re.sub(r"<(script|style|title)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text)))


def hidden(answer: Any, name: str) -> str:
    """The value of a hidden field of the page."""
    (value,) = re.findall(rf'<input type="hidden" name="{name}"[^>]* value="([^"]*)"', answer.content.decode()) or [""]
    return html.unescape(value)


def form(**fields: Any) -> dict[str, Any]:
    return {"once": str(uuid.uuid4()), "reason": TWICE, **fields}


def a_call_to_charge(account: str = "10001", partner: Partner | None = None) -> CallRecord:
    """A minute to a British mobile, at three pence; its customer belongs to Harbour."""
    partner = partner or harbour()
    Partner.objects.filter(pk=partner.pk).update(rate_deck=standard_deck())
    if not standard_deck().rates.exists():
        make_rate()
    customer = Customer.objects.filter(account=account).first() or make_customer(account=account, partner=partner)
    return make_call(customer=customer)


def mailed_twice() -> NotificationLog:
    """A mail that was perhaps delivered, and sent again by order of staff."""
    mail = make_mail(State.UNCERTAIN)
    order = StaffOrder.objects.create(verb=Verb.RESEND, by="bob@ivy.example", reason="No mail came.", count=1)
    NotificationLog.objects.filter(pk=mail.pk).update(
        state=State.PENDING, because="", order=order, token=None, lease_until=None
    )
    NotificationLog.objects.filter(pk=mail.pk).update(state=State.CLAIMED, token=1, lease_until=Now() + timedelta(1))
    NotificationLog.objects.filter(pk=mail.pk).update(state=State.SENDING, sending_at=Now())
    NotificationLog.objects.filter(pk=mail.pk).update(state=State.SENT, sent_at=Now(), lease_until=None)
    make_attempt(mail, outcome=Outcome.ACCEPTED)
    return mail


def is_halted(process: Process = Process.CALLS, partner: Partner | None = None) -> bool:
    return ProcessSwitch.objects.filter(process=process, partner=partner, is_halted=True).exists()


def all_beats() -> None:
    """What beats when all is well."""
    for name in (pulses.QUEUE_CANARY, pulses.BILLING_CYCLE, pulses.NOTIFICATIONS_DONE, pulses.TICK):
        pulses.beat(name)


@pytest.mark.django_db
class TestTheFirstPage:
    def test_says_so_when_all_is_well(self, operator: Client) -> None:
        cache.note_success()  # a test before may have been about a cache that fails
        all_beats()
        make_run()
        text = words(operator.get(FIRST_PAGE))
        assert "This needs a person" not in text, text.partition("This needs a person")[2][:500]
        assert "All is well: nothing needs a person." in text

    @pytest.mark.parametrize(
        ("trouble", "told", "link"),
        [
            (lambda: make_switch(reason=TWICE), f"Calls are halted since .* {TWICE}", RESUME_CALLS),
            (
                lambda: make_switch(partner=harbour()),
                "Calls of Harbour are halted",
                f"{RESUME_CALLS}?partner=harbour",
            ),
            (
                lambda: make_switch(since=datetime(2026, 3, 1, tzinfo=UTC)),
                "Calls are halted and perhaps forgotten since 2026-03-01 00:00 UTC",
                RESUME_CALLS,
            ),
            (
                lambda: BreakerTrip.objects.create(limit="mails_an_hour", reason="612 mails went out"),
                "The breaker has tripped: no customer is mailed .* 612 mails went out",
                RESET,
            ),
            (lambda: make_mail(State.UNCERTAIN), "1 mail is perhaps delivered", "/admin/review/?queue=uncertain"),
            (lambda: make_mail(State.FAILED), "1 mail is failed for good", "/admin/review/?queue=failed"),
            (lambda: make_mail(State.HELD), "1 mail is held back", "/admin/review/?queue=held"),
            (make_quarantined_call, "1 call waits in quarantine .* 1 no rate", "/admin/work/quarantine/"),
            (
                lambda: Pulse.objects.filter(name=pulses.QUEUE_CANARY).update(beaten_at=Now() - timedelta(minutes=9)),
                "The queue does nothing",
                "/admin/runbook/#queue",
            ),
            (
                lambda: Alarm.objects.create(key="disk", wrong="A disk is nearly full."),
                "Alarm disk .* A disk is nearly full",
                "/admin/ivy/probe/",
            ),
            (
                lambda: Alarm.objects.create(key="mails-not-taken", wrong="It takes nothing."),
                "Alarm mails-not-taken .* It takes nothing",
                "/admin/review/?queue=waiting",
            ),
            (
                mailed_twice,
                "1 recipient was handed two or more mails of one kind within 24 hours",
                "/admin/review/twice/",
            ),
            (
                lambda: Incident.objects.create(title="Mails late", affects=["notifications"], opened_by="ann"),
                "Open incident: Mails late",
                "/admin/ivy/incident/",
            ),
            (make_owed, "No customer is mailed from this database before somebody confirms it", RESET),
        ],
        ids=["halted", "a partner", "forgotten", "tripped", "uncertain", "failed", "held", "quarantine", "queue",
             "alarm", "mail server", "mailed twice", "incident", "copied"],
    )  # fmt: skip
    def test_tells_what_needs_a_person_and_where_it_is_done(
        self, operator: Client, trouble: Callable[[], object], told: str, link: str
    ) -> None:
        all_beats()
        trouble()
        answer = operator.get(FIRST_PAGE)
        assert re.search(told, words(answer))
        assert f'href="{link}' in answer.content.decode()

    def test_says_of_an_alarm_that_is_well_again_when_it_clears_and_that_it_is_over(self, operator: Client) -> None:
        cache.note_success()
        all_beats()
        make_run()
        well_since = datetime.now(UTC)
        Alarm.objects.create(
            key="mails-not-taken", wrong="It has taken nothing since 19:31.", affects="48 mails, tried again.",
            well_since=well_since, came_back_at=well_since, flap_count=2,
        )  # fmt: skip
        text = words(operator.get(FIRST_PAGE))
        assert "All is well: nothing needs a person." in text
        assert f"clears at {well_since + timedelta(minutes=8):%H:%M:%S} UTC if it stays well" in text
        assert "What was wrong, in the words of then: It has taken nothing since 19:31." in text
        assert "tried again" not in text

    def test_tells_of_a_switch_by_whom_and_why_it_was_halted_last(self, operator: Client) -> None:
        halting.halt(Process.NOTIFICATIONS, reason="Two mails each.", by="nina@ivy.example")
        text = words(operator.get(FIRST_PAGE))
        assert "By nina@ivy.example: Two mails each. No customer is mailed; what is owed waits." in text
        halting.resume(Process.NOTIFICATIONS, reason="Repaired", by="nina@ivy.example")
        text = words(operator.get(FIRST_PAGE))
        assert re.search(
            r"notifications everyone working halted \S+ \d\d:\d\d UTC to \d\d:\d\d UTC by nina@ivy.example: Two",
            text,
        )
        assert "calls everyone working not halted within 24 hours" in text

    def test_asks_for_the_mails_of_the_day_again_when_mails_have_moved(self, operator: Client) -> None:
        def mark() -> str:
            return re.search(r'data-mails="([^"]*)"', operator.get(FIRST_PAGE).content.decode()).group(1)

        before = mark()
        mail = make_mail(State.PENDING)
        owed = mark()
        assert owed != before
        NotificationLog.objects.filter(pk=mail.pk).update(state=State.SUPPRESSED, because="staff")
        assert mark() == before

    def test_says_what_the_counts_of_mails_leave_out(self, operator: Client) -> None:
        mail = mailed_twice()
        text = words(operator.get(LATELY))
        assert "Mails handed over within the last hour: 0 of 500 allowed" in text
        assert "Not counted, since staff ordered them (sent again, tried again, apologies): 1." in text
        reviewing.mark_errant([mail.key], reason="Twice", by="nina@ivy.example")
        text = words(operator.get(LATELY))
        assert "the mail server took it 1 1 of them marked as errant" in text
        assert "more than a quarter (25 %) of those charged" in text
        assert "two or more mails of one kind" not in words(operator.get(FIRST_PAGE)), "somebody has seen to it"

    def test_tells_of_errant_mails_until_they_are_apologised_for_and_of_apologies_until_they_went_out(
        self, operator: Client
    ) -> None:
        def need(key: str) -> str:
            """What the page says of it: title and words."""
            text = words(operator.get(FIRST_PAGE))
            return (re.findall(rf"(?:trouble|waits|to know) ([^.]*{key}.*?) Look at", text) or [""])[0].strip()

        mail = make_mail(State.SENT)
        assert "marked as errant" not in words(operator.get(FIRST_PAGE))
        reviewing.mark_errant([mail.key], reason="Twice", by="nina@ivy.example")
        text = operator.get(FIRST_PAGE)
        assert "1 mail is marked as errant, and nobody apologised" in words(text)
        assert 'href="/admin/review/?queue=errant"' in text.content.decode()

        reviewing.apologise([mail.key], reason="Twice", by="nina@ivy.example", one_each=True)
        assert "marked as errant" not in words(operator.get(FIRST_PAGE))
        assert need("apology") == (
            "1 apology waits 1 with the next look for owed mails, or at the next try: nothing keeps mails back."
        )
        assert 'href="/admin/review/?queue=waiting&amp;kind=apology"' in operator.get(FIRST_PAGE).content.decode()

        make_switch(process=Process.NOTIFICATIONS, partner=mail.partner)
        assert f"1 because notifications of {mail.partner.name} are halted" in need("apology")
        make_switch(process=Process.NOTIFICATIONS)
        assert need("apology") == "1 apology waits 1 because notifications are halted."

        apology = NotificationLog.objects.filter(errant=mail)
        apology.update(state=State.HELD, because="breaker")
        assert need("apology") == "1 apology waits 1 held back until somebody approves or suppresses it."
        apology.update(state=State.SUPPRESSED, because="staff")
        assert "apology" not in words(operator.get(FIRST_PAGE))

    def test_offers_an_incident_for_what_is_halted(self, operator: Client) -> None:
        make_switch(process=Process.NOTIFICATIONS)
        text = operator.get(FIRST_PAGE).content.decode()
        assert "Customers are not mailed, and no open incident tells of it" in text
        assert "/admin/ivy/incident/add/?title=Customers+are+not+mailed" in text

    def test_tells_staffs_halt_from_the_breakers(self, operator: Client) -> None:
        make_switch(process=Process.NOTIFICATIONS, reason="Wrong texts.")
        make_switch(process=Process.NOTIFICATIONS, cause=HaltCause.BREAKER, reason="Too many.", changed_by="breaker")
        text = operator.get(FIRST_PAGE).content.decode()
        assert "halted by staff" in text
        assert "halted by breaker" in text
        assert '/admin/control/resume/notifications/"' in text
        assert f'{RESET}"' in text

    def test_shows_buttons_to_those_who_may_press_them(self, log_in: LogIn) -> None:
        make_switch(process=Process.ITEMS)
        text = log_in("support").get(FIRST_PAGE).content.decode()
        assert "/admin/control/halt/" not in text
        assert "/admin/control/resume/" not in text
        assert "Halting needs the role operator." in text
        text = log_in("operator", email="ben@ivy.example").get(FIRST_PAGE).content.decode()
        assert f'href="{HALT_CALLS}"' in text
        assert "/admin/control/resume/items/" in text

    def test_tells_a_run_under_way_and_the_last_that_did_anything(self, operator: Client) -> None:
        busy = make_run(calls_billed=8_744, item_charges=3, one_off_charges=4)
        for _ in range(3):
            make_run()
        run = make_run(state=RunState.RUNNING, calls_billed=30_000)
        BillingRun.objects.filter(pk=run.pk).update(planned_at=Now() - timedelta(seconds=3_000))
        for state in (ChunkState.DONE, ChunkState.OPEN, ChunkState.OPEN, ChunkState.TAKEN):
            make_chunk(run=run, state=state)
        answer = operator.get(FIRST_PAGE)
        text = words(answer)
        assert f"Run {run.pk} is under way" in text
        assert "25 %: 1 of 4 pieces of work, 30,000 calls and items, 10 a second; 2 hours left." in text
        assert f'href="/admin/control/run/{busy.pk}/"' in answer.content.decode()
        assert re.search(rf"Run {busy.pk} .* 8,744 7 0", text)

    def test_shows_money_as_a_picture_with_a_table(self, operator: Client) -> None:
        make_run(amount={"GBP": "12.345"})
        cache.set(charged.KEY, [], seconds=0.001)  # what another test has left there
        wait_until(lambda: cache.get(charged.KEY) is None)
        answer = operator.get(LATELY)
        assert 'role="img" aria-label="GBP charged a day, for thirty days; most on' in answer.content.decode()
        assert answer.content.decode().count("<rect ") == 30
        assert "12.345 GBP" in words(answer)

    def test_keeps_money_from_those_who_may_not_see_runs(self, log_in: LogIn) -> None:
        make_run(amount={"GBP": "12.345"})
        assert "12.345 GBP" not in words(log_in().get(LATELY))

    def test_asks_as_many_questions_however_much_there_is(self, operator: Client) -> None:
        def much() -> None:
            for process in Process:
                make_switch(process=process, partner=make_partner())
            make_run(amount={"GBP": "1"}, calls_billed=1)
            make_mail(State.UNCERTAIN)
            make_mail(State.HELD)
            make_quarantined_call()
            make_call()
            make_item()
            Alarm.objects.create(key=f"source-quiet:{uuid.uuid4()}", wrong="Quiet.")
            Incident.objects.create(title=f"{uuid.uuid4()}", affects=["calls"], opened_by="ann")

        much()
        for page, most in ((FIRST_PAGE, 50), (LATELY, 20)):
            operator.get(page)
            with CaptureQueriesContext(connection) as few:
                operator.get(page)
            for _ in range(4):
                much()
            with CaptureQueriesContext(connection) as many:
                operator.get(page)
            assert len(many) <= len(few), [query["sql"][:80] for query in many]
            assert len(many) < most


@pytest.mark.django_db
class TestALivePart:
    NOW = "/admin/control/now/"

    def test_is_not_sent_again_while_nothing_changes(self, operator: Client) -> None:
        all_beats()
        make_run()
        first = operator.get(self.NOW)
        again = operator.get(self.NOW, {"shown": first["X-Version"]})
        assert (again.status_code, again.content) == (204, b"")
        assert again["X-As-Of"]
        make_switch()
        assert operator.get(self.NOW, {"shown": first["X-Version"]}).status_code == 200

    def test_tells_a_script_without_a_session_so_and_leads_others_to_the_log_in(self) -> None:
        assert Client().get(self.NOW, headers={"HX-Request": "true"}).status_code == 401
        assert "/login/" in Client().get(self.NOW)["Location"]

    def test_is_read_by_staff_without_a_role_but_not_by_strangers(self, log_in: LogIn) -> None:
        assert log_in().get(self.NOW).status_code == 200
        client = Client()
        client.force_login(User.objects.create_user("eve@example.com"))
        assert client.get(self.NOW, headers={"HX-Request": "true"}).status_code == 401


@pytest.mark.django_db
class TestHalting:
    def test_takes_a_reason_and_says_when_the_last_chunk_had_ended(self, operator: Client) -> None:
        page = operator.get(HALT_CALLS)
        assert "Calls will stand still at once." in words(page)
        answer = operator.post(HALT_CALLS, form(), follow=True)
        assert re.search(
            r"Calls: halted; nothing is in flight\. The last piece of work in flight had ended by \d\d:\d\d:\d\d UTC\.",
            words(answer),
        )
        switch = ProcessSwitch.objects.get()
        assert (switch.reason, switch.changed_by, switch.cause) == (TWICE, "night.shift@ivy.example", "staff")
        entry = AuditEntry.objects.get()
        assert (entry.verb, entry.noun, entry.name, entry.reason) == ("halt", "process", "calls", TWICE)
        assert entry.before == {"calls": "working"}
        assert entry.after["calls"][0]["by"] == "night.shift@ivy.example"

    def test_stops_both_of_billing_or_those_of_one_partner(self, operator: Client) -> None:
        partner = make_partner(slug="lighthouse", name="Lighthouse")
        operator.post("/admin/control/halt/billing/?partner=lighthouse", form(partner="lighthouse"))
        assert is_halted(Process.CALLS, partner)
        assert is_halted(Process.ITEMS, partner)
        assert not is_halted(Process.CALLS)
        assert AuditEntry.objects.get().name == "billing of Lighthouse"

    def test_needs_a_reason(self, operator: Client) -> None:
        answer = operator.post(HALT_CALLS, form(reason=" "))
        assert "This field is required." in words(answer)
        assert not is_halted()

    def test_says_that_somebody_else_was_first(self, operator: Client) -> None:
        operator.get(HALT_CALLS)
        halting.halt(Process.CALLS, reason="Me first.", by="ben@ivy.example")
        answer = operator.post(HALT_CALLS, form(), follow=True)
        assert "Calls: halted already." in words(answer)
        assert ProcessSwitch.objects.get().reason == "Me first."
        assert "are halted already, since" in words(operator.get(HALT_CALLS))

    @pytest.mark.parametrize("address", ["/admin/control/halt/everything/", f"{HALT_CALLS}?partner=nobody"])
    def test_of_nothing_that_there_is_has_no_page(self, operator: Client, address: str) -> None:
        assert operator.get(address).status_code == 404

    def test_is_for_those_who_may(self, log_in: LogIn) -> None:
        client = log_in("billing")
        for answer in (client.get(HALT_CALLS), client.post(HALT_CALLS, form())):
            assert answer.status_code == 403
            assert "needs the permission billing.halt_process, which your roles do not give you" in words(answer)
        assert not is_halted()

    def test_after_a_lost_session_was_not_done_and_the_page_says_so(self, operator: Client, log_in: LogIn) -> None:
        operator.cookies.pop("sessionid")
        answer = operator.post(f"{HALT_CALLS}?partner=harbour", form())
        there = urlsplit(answer["Location"])
        assert "/login/" in there.path
        assert not is_halted()
        harbour()
        back = log_in("operator").get(f"{HALT_CALLS}?partner=harbour&session-ended=1")
        assert "Nothing was done: you had been logged out" in words(back)
        assert "session-ended%253D1" in there.query or "session-ended%3D1" in there.query


@real_commits
class TestResuming:
    def seen(self, client: Client, address: str = RESUME_CALLS) -> str:
        """What the preview, asked for as the page asks for it, would have the form carry."""
        return hidden(client.get(address, {"preview": "1"}), "seen")

    def test_opens_at_once_and_shows_what_would_follow_when_it_is_worked_out(self, operator: Client) -> None:
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        a_call_to_charge("10001")
        a_call_to_charge("10001")
        a_call_to_charge("10002")
        make_entry(customer=make_customer(), amount=Decimal(50), key="payment:bank:since")
        page = operator.get(RESUME_CALLS)
        assert "being worked out" in words(page)
        assert TWICE in words(page)
        assert "Resume now" not in words(page)
        text = words(operator.get(RESUME_CALLS, {"preview": "1"}))
        assert "call 3 0.09 GBP" in text
        assert "10001 0.06 GBP 10002 0.03 GBP" in text
        assert "3 new call records" in text
        assert "1 × payment: 50.00 GBP" in text
        assert "Resume now" in text

    def test_does_nothing_that_was_not_seen_and_what_was_once(self, operator: Client) -> None:
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        a_call_to_charge()
        for invented in ("", "nonsense", "eyJhIjoxfQ:1abc:xyz"):
            shown = operator.post(RESUME_CALLS, form(reason=SEEN, seen=invented))
            assert "call 1 0.03 GBP" in words(shown)
            assert is_halted()
        sent = form(reason=SEEN, seen=hidden(shown, "seen"))
        answer = operator.post(RESUME_CALLS, sent, follow=True)
        assert "Calls: working again. The next run begins within a minute." in words(answer)
        assert not is_halted()
        entry = AuditEntry.objects.get()
        assert (entry.verb, entry.reason, entry.after) == ("resume", SEEN, {"calls": "working"})
        assert entry.before["calls"][0]["reason"] == TWICE
        halting.halt(Process.CALLS, reason="Again.", by="ben@ivy.example")
        assert "This was done already" in words(operator.post(RESUME_CALLS, sent, follow=True))
        assert is_halted()

    def test_asks_again_when_the_world_moved_and_then_goes_on(self, operator: Client) -> None:
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        a_call_to_charge()
        seen = self.seen(operator)
        a_call_to_charge()
        shown = operator.post(RESUME_CALLS, form(reason=SEEN, seen=seen))
        assert "what would follow has changed since you looked" in words(shown)
        assert "call 2 0.06 GBP" in words(shown)
        assert is_halted()
        operator.post(RESUME_CALLS, form(reason=SEEN, seen=hidden(shown, "seen")))
        assert not is_halted()

    def test_minds_a_switch_that_was_moved_but_no_call_that_comes_in_while_somebody_reads(
        self, operator: Client
    ) -> None:
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        for _ in range(20):
            a_call_to_charge()
        seen = self.seen(operator)
        a_call_to_charge()
        halting.resume(Process.CALLS, reason=SEEN, by="ben@ivy.example")
        halting.halt(Process.CALLS, reason="It was not over.", by="ben@ivy.example")
        shown = operator.post(RESUME_CALLS, form(reason=SEEN, seen=seen))
        assert "It was not over." in words(shown)
        assert is_halted()
        a_call_to_charge()
        operator.post(RESUME_CALLS, form(reason=SEEN, seen=hidden(shown, "seen")))
        assert not is_halted()

    def test_of_one_partner_leaves_the_others_and_says_what_stays_halted(self, operator: Client) -> None:
        lighthouse = make_partner(slug="lighthouse", name="Lighthouse")
        for partner in (harbour(), lighthouse):
            halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example", partner=partner)
        a_call_to_charge()
        address = f"{RESUME_CALLS}?partner=harbour"
        preview = operator.get(f"{address}&preview=1")
        assert "call 1 0.03 GBP" in words(preview)
        assert "What stays halted" in words(preview)
        assert "calls of Lighthouse" in words(preview)
        operator.post(address, form(reason=SEEN, seen=hidden(preview, "seen")))
        assert not is_halted(partner=harbour())
        assert is_halted(partner=lighthouse)

    def test_of_calls_counts_the_mails_of_falls_to_come(self, operator: Client) -> None:
        halting.halt(Process.CALLS, reason=TWICE, by="ann@ivy.example")
        call = a_call_to_charge()
        make_alert(customer=call.customer, threshold=call.customer.balance_row.balance)
        text = words(operator.get(RESUME_CALLS, {"preview": "1"}))
        assert "2 falls below an alert would be opened" in text  # hers, and that of an exhausted balance
        assert "1 mail would go within a minute or two: 1 exhausted" in text
        halting.halt(Process.NOTIFICATIONS, reason=TWICE, by="ann@ivy.example")
        text = words(operator.get(RESUME_CALLS, {"preview": "1"}))
        assert "Mails are held back all the same" in text

    def test_of_notifications_tells_which_mails_would_go_and_warns_of_the_breaker(self, operator: Client) -> None:
        halting.halt(Process.NOTIFICATIONS, reason=TWICE, by="ann@ivy.example")
        bounds = breaker.limits()
        bounds.mails_an_hour = 1
        bounds.save()
        make_mail(State.PENDING)
        make_mail(State.PENDING)
        text = words(operator.get("/admin/control/resume/notifications/", {"preview": "1"}))
        assert "2 mails would go: 2 low balance" in text
        assert "The breaker lets 1 more through within this hour: it would trip" in text

    def test_of_notifications_names_who_would_be_mailed_and_says_how_the_mail_server_is(self, operator: Client) -> None:
        halting.halt(Process.NOTIFICATIONS, reason=TWICE, by="ann@ivy.example")
        log, told = make_mail(State.PENDING), make_mail(State.SENT)
        probe = Probe.objects.create(
            part="mail-server", role="machine", host="alpha", pid=0, is_well=False,
            words="mail.example:25: nothing listens there",
        )  # fmt: skip
        text = words(operator.get("/admin/control/resume/notifications/", {"preview": "1"}))
        assert f"{log.customer.account} : low balance to {log.content.recipient}" in text
        assert f"1: was told at {told.sent_at:%Y-%m-%d %H:%M} UTC" in text
        assert "The mail server is not well: mail.example:25: nothing listens there" in text
        Probe.objects.filter(pk=probe.pk).update(is_well=True, words="mail.example:25 lets Ivy in", last_good_at=Now())
        text = words(operator.get("/admin/control/resume/notifications/", {"preview": "1"}))
        assert "The mail server is well: mail.example:25 lets Ivy in" in text


@pytest.mark.django_db
class TestNothingToResume:
    @pytest.mark.parametrize(
        ("halted", "why"),
        [
            (lambda: None, "are not halted by staff any more"),
            (
                lambda: halting.halt(Process.CALLS, reason="x", by="breaker", cause=HaltCause.BREAKER),
                "are halted by the breaker, not by staff: reset the breaker instead",
            ),
        ],
        ids=["not halted", "by the breaker"],
    )
    def test_is_said(self, operator: Client, halted: Callable[[], object], why: str) -> None:
        halted()
        assert why in words(operator.get(RESUME_CALLS, {"preview": "1"}))
        assert why in words(operator.post(RESUME_CALLS, form(reason=SEEN)))
        assert not AuditEntry.objects.exists()


@pytest.mark.django_db
class TestResettingTheBreaker:
    def trip(self) -> None:
        make_mail(State.PENDING)
        breaker.trip(Reached("mails_an_hour", "612 mails went out within an hour"))

    def test_shows_what_goes_out_and_leaves_staffs_halt_alone(self, operator: Client) -> None:
        self.trip()
        halting.halt(Process.NOTIFICATIONS, reason="Wrong texts.", by="ann@ivy.example")
        preview = operator.get(RESET, {"preview": "1"})
        assert "612 mails went out within an hour" in words(preview)
        assert "1 held mail would go out, 60 a minute" in words(preview)
        assert "Wrong texts." in words(operator.get(RESET))
        sent = form(reason=SEEN, seen=hidden(preview, "seen"))
        answer = operator.post(RESET, sent, follow=True)
        assert "The breaker was reset: 1 held mails go out" in words(answer)
        assert "Notifications stay halted by staff: resume them." in words(answer)
        assert breaker.open_trip() is None
        assert [halt.cause for halt in halting.active_halts()] == ["staff"]
        assert AuditEntry.objects.get().verb == "reset"
        assert "This was done already" in words(operator.post(RESET, sent, follow=True))

    def test_is_asked_again_when_more_is_held_than_was_seen(self, operator: Client) -> None:
        self.trip()
        seen = hidden(operator.get(RESET, {"preview": "1"}), "seen")
        make_mail(State.PENDING)
        breaker.hold_what_waits()
        assert "has changed since you looked" in words(operator.post(RESET, form(reason=SEEN, seen=seen)))
        assert breaker.open_trip() is not None

    def test_says_when_there_is_nothing_to_reset(self, operator: Client) -> None:
        assert "there is nothing to reset" in words(operator.get(RESET, {"preview": "1"}))

    def test_is_for_those_who_may(self, log_in: LogIn) -> None:
        self.trip()
        assert log_in("billing").post(RESET, form()).status_code == 403
        assert breaker.open_trip() is not None


@pytest.mark.django_db
class TestARun:
    def test_is_told_with_its_stages_workers_chunks_and_errors(self, operator: Client) -> None:
        call, item = make_call(), make_item(reference="trunk-7")
        run = make_run(
            state=RunState.PARTIAL,
            ended_because="errors",
            calls_billed=2,
            amount={"GBP": "0.06"},
            halted=[{"process": "items", "partner": "harbour"}],
            errors=[
                {"kind": "call", "key": key_of(call), "error": "It is <odd>."},
                {"kind": "item", "key": "trunk-7", "error": "It has no amount."},
                {"kind": "calls", "key": "calls of customers 1 to 500", "error": "busy elsewhere"},
            ],
        )
        make_worker(run=run)
        make_chunk(run=run, state=ChunkState.LEFT)
        answer = operator.get(reverse("admin:control_run", args=[run.pk]))
        text, source = words(answer), answer.content.decode()
        for told in ("done in part", "0.06 GBP", "worker-a.example.net:4711", "1 of calls: left undone",
                     "items of harbour", "It is <odd>.", "busy elsewhere"):  # fmt: skip
            assert told in text
        assert f'href="/admin/billing/billingitem/{item.pk}/change/"' in source
        assert "/admin/explain/?key=call%3A" in source
        assert 'hx-trigger="every' not in source, "a run that has ended is not asked for again"

    def test_links_what_it_charged_by_kind_to_the_ledger(self, operator: Client) -> None:
        run, other = make_run(), make_run()
        BillingRun.objects.filter(pk=run.pk).update(started_at=Now() - timedelta(seconds=5), ended_at=Now())
        first, second = make_call(), make_call()
        for call in (first, second):
            make_call_charge(call, run_id=run.pk)
        make_entry(run_id=run.pk, kind=EntryKind.RECURRING, amount=Decimal(-10), key="item:trunk-7:2026-03-01")
        make_call_charge(make_call(), run_id=other.pk)
        address = reverse("admin:control_run_charges", args=[run.pk])
        text = words(operator.get(address))
        assert "call 2 0.06 GBP recurring 1 10.00 GBP" in text
        assert text.count("call:pbx-north:") == 2
        only = operator.get(address, {"kind": "recurring"})
        assert "item:trunk-7:2026-03-01" in words(only)
        assert "call:pbx-north:" not in words(only)
        assert "key=item%3Atrunk-7%3A2026-03-01" in only.content.decode()

    def test_asks_for_itself_again_while_it_is_under_way(self, operator: Client) -> None:
        run = make_run(state=RunState.RUNNING)
        make_chunk(run=run)
        answer = operator.get(reverse("admin:control_run", args=[run.pk]))
        assert 'hx-trigger="every 3s, look"' in answer.content.decode()
        assert "0 %: 0 of 1 pieces of work" in words(answer)

    def test_is_led_to_from_the_lists(self, operator: Client) -> None:
        run = make_run()
        link = f'href="/admin/control/run/{run.pk}/"'
        assert link in operator.get(reverse("admin:billing_billingrun_changelist")).content.decode()
        assert link in operator.get(reverse("admin:billing_billingrun_change", args=[run.pk])).content.decode()

    def test_asks_as_many_questions_however_much_it_did(self, operator: Client) -> None:
        run = make_run()
        address = reverse("admin:control_run", args=[run.pk])

        def more() -> None:
            make_worker(run=run)
            make_chunk(run=run, state=ChunkState.LEFT)
            item = make_item()
            errors = [*BillingRun.objects.get(pk=run.pk).errors, {"kind": "item", "key": item.reference, "error": "x"}]
            BillingRun.objects.filter(pk=run.pk).update(errors=errors)

        more()
        operator.get(address)
        with CaptureQueriesContext(connection) as few:
            operator.get(address)
        for _ in range(5):
            more()
        with CaptureQueriesContext(connection) as many:
            operator.get(address)
        assert len(many) == len(few) < 25


@real_commits
class TestHaltingForReal:
    def test_waits_for_what_is_in_flight_and_tells_what_hung(self, operator: Client) -> None:
        with in_flight(Process.CALLS, hangs=True) as (chunk, came_to):
            answer = operator.post(HALT_CALLS, form(), follow=True)
            chunk.leave()
        assert came_to.result(timeout=60) == "ended"
        assert "1 hung and had to be ended" in words(answer)

    def test_is_done_once_for_a_double_click(self, operator: Client) -> None:
        sent = form()
        other = Client()
        other.cookies = operator.cookies
        answers = at_once(
            lambda: words(operator.post(HALT_CALLS, sent, follow=True)),
            lambda: words(other.post(HALT_CALLS, sent, follow=True)),
        )
        assert sum("This was done already" in answer for answer in answers) == 1
        assert AuditEntry.objects.count() == SwitchHistory.objects.count() == 1
        operator.post("/admin/control/resume/calls/", form(reason=SEEN))
        halting.resume(Process.CALLS, reason=SEEN, by="ben@ivy.example")
        assert "This was done already" in words(operator.post(HALT_CALLS, sent, follow=True))
        assert not is_halted(), "a page from the browser's history halted again"

    def test_keeps_nobody_from_looking(self, operator: Client) -> None:
        """The first page is told while somebody halts and waits for a worker that hangs."""
        other = Client()
        other.cookies = operator.cookies
        with in_flight(Process.CALLS, hangs=True) as (chunk, _), meanwhile(lambda: other.post(HALT_CALLS, form())):
            wait_until(is_halted)
            assert "Calls are halted" in words(operator.get(FIRST_PAGE))
            chunk.leave()
