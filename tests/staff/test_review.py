"""The review of mails: queues by cause, one mail with all that is known of it, and orders of one or of thousands."""

import html
import re
import uuid
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from ivy.accounts.models import User
from ivy.models import AuditEntry
from ivy.staff.review.meanings import legend
from ivy.staff.review.selection import Damaged, pack, unpack
from notifications import queues, reviewing
from notifications.models import (
    Because,
    BreakerTrip,
    DeliveryAttempt,
    NotificationContent,
    NotificationHistory,
    NotificationLog,
    StaffOrder,
    State,
    Verb,
)
from notifications.queues import Queue, Which
from tests import factories
from tests.billing.at_once import at_once
from tests.factories import make_entry, make_partner, make_switch
from tests.notifications.conftest import Server
from tests.notifications.stories import (
    make_attempt,
    make_fallen,
    make_mail,
    make_watched,
    move_balance,
    send_twice,
    standing,
)
from tests.staff.many_mails import make_many

ANN, BEN = "ann@ivy.example", "ben@ivy.example"
REASON = "The price list was wrong."


def log_in(*names: str, email: str = ANN) -> Client:
    user = User.objects.create_user(email, is_staff=True)
    user.groups.set([factories.role(name) for name in names])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(db: None) -> Client:
    return log_in("operator")


def queue(client: Client, name: str, **query: Any) -> HttpResponse:
    return client.get(reverse("admin:review"), {"queue": name, **query})


def listed(answer: HttpResponse) -> list[int]:
    return [row["log"].pk for row in answer.context["rows"]]


def opened(client: Client, verb: str, **query: Any) -> HttpResponse:
    """The page that asks, with the preview."""
    return client.get(reverse(f"admin:review_{verb}"), query)


def form_of(answer: HttpResponse, **fields: Any) -> dict[str, Any]:
    """What a browser would send of the form that was shown."""
    form = answer.context["form"]
    sent = {name: form[name].value() for name in form.fields}
    return {name: "" if value is None else str(value) for name, value in sent.items()} | {"reason": REASON} | fields


def send(client: Client, verb: str, form: dict[str, Any], **query: Any) -> HttpResponse:
    address = reverse(f"admin:review_{verb}")
    return client.post(f"{address}?{'&'.join(f'{name}={value}' for name, value in query.items())}", form, follow=True)


def told(answer: HttpResponse) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def words(answer: HttpResponse) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split()))


class TestAQueue:
    @pytest.mark.parametrize("name", list(Queue))
    def test_that_is_empty_says_what_that_means_and_where_to_go(self, operator: Client, name: Queue) -> None:
        page = words(queue(operator, name))
        assert "who got two or more mails" in page
        assert "notification log" in page

    def test_shows_what_mails_have_in_common(self, operator: Client) -> None:
        for number, address in enumerate(["a.b@example.net", "c.d@example.net", "e@example.net"]):
            make_mail(State.FAILED, detail=f"rcpt: 550 5.1.1 <{address}>: no such user, id 4AX9B{number}C7D1")
        make_mail(State.FAILED, because=Because.NO_ADDRESS, detail="the customer has no address")
        answer = queue(operator, "failed")
        assert [(one["cause"].count, one["cause"].words) for one in answer.context["groups"]] == [
            (3, "rcpt: 550 5.1.1 … no such user, id …"),
            (1, "the customer has no address"),
        ]
        assert answer.context["total"] == "4"

    def test_leads_to_the_mails_of_one_cause(self, operator: Client) -> None:
        mine = make_mail(State.FAILED, detail="rcpt: 550 no such user")
        make_mail(State.FAILED, detail="rcpt: 552 mailbox full")
        group = next(one for one in queue(operator, "failed").context["groups"] if "no such" in one["cause"].words)
        assert listed(operator.get(reverse("admin:review") + group["address"])) == [mine.pk]

    def test_tells_hours_apart(self, operator: Client) -> None:
        now = timezone.now()
        make_mail(State.UNCERTAIN, sending_at=now)
        make_mail(State.UNCERTAIN, sending_at=now - timedelta(hours=5))
        assert len(queue(operator, "uncertain").context["groups"]) == 2

    def test_is_narrowed_by_kind_partner_alert_account_reason_and_age(self, operator: Client) -> None:
        quayside = make_partner(slug="quayside")
        old = make_mail(
            State.UNCERTAIN,
            because=Because.LEASE_EXPIRED,
            sending_at=timezone.now() - timedelta(days=9),
            alert=make_watched(customer=factories.make_customer(partner=quayside, balance=100)),
        )
        new = make_mail(State.UNCERTAIN)
        for narrowed in (
            {"partner": "quayside"},
            {"because": "lease_expired"},
            {"age": "older-than-week"},
            {"alert": old.alert_id},
            {"account": old.customer.account},
        ):
            assert listed(queue(operator, "uncertain", **narrowed)) == [old.pk], narrowed
        assert listed(queue(operator, "uncertain", age="day")) == [new.pk]
        assert listed(queue(operator, "uncertain", kind="exhausted")) == []
        assert listed(queue(operator, "uncertain", kind="low_balance")) == [old.pk, new.pk]

    def test_leaves_out_of_its_address_what_makes_no_sense(self, operator: Client) -> None:
        log = make_mail(State.UNCERTAIN)
        nonsense = {"alert": "9" * 30, "hour": "yesterday", "kind": "x", "age": "x", "after": "x"}
        assert listed(queue(operator, "nowhere", **nonsense)) == [log.pk]

    def test_goes_on_page_by_page(self, operator: Client) -> None:
        make_many(120, "held", because="breaker")
        first = queue(operator, "held")
        second = operator.get(reverse("admin:review") + first.context["next_address"])
        third = operator.get(reverse("admin:review") + second.context["next_address"])
        assert [len(listed(page)) for page in (first, second, third)] == [50, 50, 20]
        assert len({*listed(first), *listed(second), *listed(third)}) == 120
        assert third.context["next_address"] == ""

    def test_asks_as_many_questions_for_a_thousand_mails_as_for_one(self, operator: Client) -> None:
        def questions() -> int:
            with CaptureQueriesContext(
                connection,
            ) as asked:
                queue(operator, "held")
            return len(asked)

        make_mail(State.HELD)
        few = questions()
        make_many(1_000, "held", because="breaker")
        assert questions() == few <= 20

    def test_says_that_nothing_goes_out_while_notifications_are_halted(self, operator: Client) -> None:
        make_switch(process="notifications", reason="Too many mails.")
        BreakerTrip.objects.create(limit="mails_an_hour", reason="501 mails within an hour")
        page = words(queue(operator, "held"))
        assert "Notifications are halted" in page
        assert "501 mails within an hour" in page


@pytest.mark.django_db
class TestWhatStatesAreCalled:
    """By the same words on every page; what they mean is told once."""

    @pytest.mark.parametrize("state", list(State))
    def test_is_the_same_everywhere(self, state: State) -> None:
        anybody = log_in("admin")
        log = make_mail(state, covered_by=None)
        account = log.customer.account
        for address, query in (
            ("control_lately", {}),
            ("notifications_notificationlog_changelist", {}),
            ("search", {"q": log.key}),
        ):
            assert state.label in words(anybody.get(reverse(f"admin:{address}"), query, follow=True)), address
        for page in (reverse("admin:review_mail", args=[log.pk]), reverse("admin:customer", args=[account])):
            assert state.label in words(anybody.get(page)), page

    def test_is_told_with_what_it_means_above_the_queues(self, operator: Client) -> None:
        for name in ("review", "review_twice"):
            page = words(operator.get(reverse(f"admin:{name}")))
            for meaning in legend():
                assert f"{meaning.words[0].upper()}{meaning.words[1:]} {meaning.name} {meaning.means}" in page
        assert {meaning.name for meaning in legend()} == set(State.values)

    def test_names_the_queues_too(self, operator: Client) -> None:
        tabs = [tab.label for tab in queue(operator, "held").context["tabs"]]
        assert tabs == [
            "Perhaps delivered",
            "Held back",
            "Failed for good",
            "Errant",
            "Owed",
            "Sent lately",
            "Got two or more",
        ]


@pytest.mark.django_db
class TestAMailsPage:
    def show(self, client: Client, log: NotificationLog, **query: Any) -> HttpResponse:
        return client.get(reverse("admin:review_mail", args=[log.pk]), query)

    def test_shows_what_was_frozen_where_no_script_of_it_can_run(self, operator: Client) -> None:
        log = make_mail(State.UNCERTAIN)
        NotificationContent.objects.filter(pk=log.pk).update(
            subject="Low balance",
            html='<p>Hello</p><script>alert("x")</script>',
            text="Hello",
            frozen_at=timezone.now(),
        )
        page = self.show(operator, log).content.decode()
        assert "As it went out" in page
        assert 'sandbox=""' in page
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(&quot;x&quot;)" in page

    def test_shows_what_would_go_now_and_says_so(self, operator: Client) -> None:
        log = make_mail(State.HELD)
        before = NotificationContent.objects.values().get(pk=log.pk)
        page = words(self.show(operator, log))
        assert "As it would go now" in page
        assert f"on account {log.customer.account}" in page
        assert NotificationContent.objects.values().get(pk=log.pk) == before

    def test_says_why_a_mail_cannot_be_written(self, operator: Client) -> None:
        log = make_mail(State.HELD)
        type(log.partner).objects.filter(pk=log.partner_id).update(sender="billing")
        assert "“billing” is no address" in words(self.show(operator, log))

    def test_shows_erased_content_as_such(self, operator: Client) -> None:
        log = make_mail(State.SENT)
        NotificationContent.objects.filter(pk=log.pk).update(recipient="", erased_at=timezone.now())
        assert "Erased at" in words(self.show(operator, log))

    def test_tells_the_attempts_phase_by_phase_with_the_servers_words(self, operator: Client) -> None:
        log = make_mail(State.FAILED)
        make_attempt(log, phase="rcpt", outcome="refused", code=550, words="5.1.1 no such user")
        page = words(self.show(operator, log))
        assert "rcpt ended here" in page
        assert "mail came through" in page
        assert "body not reached" in page
        assert "refused at rcpt (550 5.1.1 no such user): not delivered" in page

    def test_tells_the_balance_then_and_now_and_the_threshold(self, operator: Client) -> None:
        log = make_mail(State.UNCERTAIN)
        make_entry(customer=log.customer, amount=Decimal(45))
        answer = self.show(operator, log)
        assert (answer.context["balance_then"], answer.context["balance_now"]) == ("5.00 GBP", "50.00 GBP")
        assert answer.context["balance_moved"] == "up by 45.00 GBP since"
        assert "to 9.99 GBP, below 10.00 GBP" in words(answer)

    def test_tells_other_mails_to_the_customer_and_who_did_what(self, operator: Client) -> None:
        log = make_mail(State.HELD)
        other = make_mail(State.SENT, alert=make_watched(20, customer=log.customer))
        reviewing.review(Verb.APPROVE, [log.key], reason="They asked for it.", by=BEN)
        answer = self.show(operator, log)
        assert [one.pk for one in answer.context["others"]] == [other.pk]
        assert f"let go by {BEN} (held back → owed)" in words(answer)
        assert "They asked for it." in words(answer)

    def test_leads_to_the_next_and_the_previous_of_what_was_asked_for(self, operator: Client) -> None:
        first, second, third = (make_mail(State.HELD) for _ in range(3))
        make_mail(State.FAILED)
        answer = self.show(operator, second, queue="held")
        assert f"/mail/{first.pk}/" in answer.context["previous"]
        assert f"/mail/{third.pk}/" in answer.context["following"]
        assert self.show(operator, third, queue="held").context["following"] == ""

    def test_that_there_is_none_is_told(self, operator: Client) -> None:
        assert operator.get(reverse("admin:review_mail", args=[4711])).status_code == 404

    @pytest.mark.parametrize(
        ("state", "quiet"),
        [(State.PENDING, [True]), (State.HELD, [False, True]), (State.UNCERTAIN, [False, True, True])],
    )
    def test_lets_no_button_stand_out_that_cannot_be_undone(
        self, operator: Client, state: State, quiet: list[bool]
    ) -> None:
        answer = self.show(operator, make_mail(state))
        assert [button.is_quiet for button in answer.context["buttons"]] == quiet

    def test_offers_what_fits_its_state(self, operator: Client) -> None:
        offered = {
            state: [button.page.verb.value for button in self.show(operator, make_mail(state)).context["buttons"]]
            for state in State
        }
        assert offered == {
            "pending": ["suppress"],
            "claimed": [],
            "sending": [],
            "sent": ["errant"],
            "failed": ["retry", "suppress"],
            "uncertain": ["delivered", "resend", "suppress"],
            "held": ["approve", "suppress"],
            "suppressed": [],
        }


@pytest.mark.django_db
class TestTheWayBack:
    """A mail's page leads back to where it was opened from; to no other site, and never in a circle."""

    def opened_from(self, client: Client, log: NotificationLog, referer: str, **query: Any) -> HttpResponse:
        return client.get(reverse("admin:review_mail", args=[log.pk]), query, headers={"Referer": referer})

    @pytest.mark.parametrize(
        ("place", "called"),
        [
            ("/admin/", "Back to the first page"),
            ("/admin/customers/AC-1/", "Back to the customer"),
            ("/admin/search/?q=AC-1", "Back to what was found"),
            ("/admin/changes/?by=ann@ivy.example", "Back to what somebody did"),
            ("/admin/review/twice/?days=7&kind=&partner=", "Back to who got two or more"),
            ("/admin/notifications/notificationlog/?state=held", "Back to the log"),
            ("/admin/billing/ledgerentry/", "Back to where you came from"),
        ],
    )
    def test_leads_to_the_page_on_which_the_link_was(self, operator: Client, place: str, called: str) -> None:
        answer = self.opened_from(operator, make_mail(State.HELD), f"http://testserver{place}")
        assert answer.context["back"] == place
        assert called in words(answer)

    @pytest.mark.parametrize(
        "place",
        [
            "",
            "https://evil.example/admin/",
            "http://testserver.evil.example/admin/",
            "http://testserver/portal/",
            "http://testserver/admin/login/?next=/admin/",
            "http://testserver/admin/review/mail/1/",
            "http://testserver/admin/review/suppress/?ids=1",
            "http://testserver/admin/review/?queue=held",
            "http://[broken",
        ],
    )
    def test_leads_to_the_queue_from_anywhere_else(self, operator: Client, place: str) -> None:
        answer = self.opened_from(operator, make_mail(State.HELD), place)
        assert answer.context["back"] == "/admin/review/?queue=held"
        assert "Back to held back" in words(answer)

    @pytest.mark.parametrize(
        "address",
        ["https://evil.example/", "//evil.example/admin/", "/\\evil.example", "javascript:alert(1)", "/portal/",
         "/admin/login/", "/admin/\0", "/" + "a" * 3000],
    )  # fmt: skip
    def test_never_leads_off_the_staffs_pages(self, operator: Client, address: str) -> None:
        log = make_mail(State.HELD)
        answer = operator.get(reverse("admin:review_mail", args=[log.pk]), {"back": address})
        assert answer.context["back"] == "/admin/review/?queue=held"
        assert operator.get(reverse("admin:review_suppress"), {"ids": log.pk, "back": address}).context["back"] == (
            "/admin/review/?queue=uncertain"
        )

    def test_is_kept_from_mail_to_mail_of_the_queue_and_through_an_order(self, operator: Client) -> None:
        place = "/admin/customers/AC-1/"
        first, second = make_mail(State.HELD), make_mail(State.HELD)
        page = self.opened_from(operator, first, f"http://testserver{place}")
        following = operator.get(
            page.context["following"], headers={"Referer": "http://testserver/admin/review/mail/1/"}
        )
        assert (following.context["log"].pk, following.context["back"]) == (second.pk, place)
        suppress = next(one for one in following.context["buttons"] if one.page.verb == Verb.SUPPRESS)
        asked = operator.get(suppress.address)
        assert asked.context["back"] == place
        done = operator.post(suppress.address, form_of(asked))
        assert done.headers["Location"] == place
        assert standing(second)[0] == "suppressed"

    def test_from_a_queue_stays_in_it(self, operator: Client) -> None:
        page = self.opened_from(
            operator, make_mail(State.HELD), "http://testserver/admin/", queue="held", kind="low_balance"
        )
        assert page.context["back"] == "/admin/review/?queue=held&kind=low_balance"


@pytest.mark.django_db
class TestAnOrder:
    def test_of_one_mail_is_done_once_and_noted(self, operator: Client) -> None:
        log = make_mail(State.UNCERTAIN)
        asked = opened(operator, "delivered", ids=log.pk)
        assert "1 mail would be changed" in words(asked)
        answer = send(operator, "delivered", form_of(asked), ids=log.pk)
        assert standing(log)[0] == "sent"
        assert "1 mail marked as delivered." in told(answer)
        entry = AuditEntry.objects.get()
        assert (entry.by, entry.verb, entry.noun, entry.name, entry.reason) == (
            ANN, "delivered", "mail", log.key, REASON,
        )  # fmt: skip
        assert (entry.before, entry.after) == ({"uncertain": 1}, {"sent": 1})
        assert StaffOrder.objects.get().by == ANN

    def test_looks_at_nothing_but_what_was_asked_and_writes_nothing_before(self, operator: Client) -> None:
        make_mail(State.HELD)
        before = list(NotificationLog.objects.values())
        opened(operator, "approve", queue="held")
        assert list(NotificationLog.objects.values()) == before
        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize("reason", ["", "  "])
    def test_needs_a_reason(self, operator: Client, reason: str) -> None:
        log = make_mail(State.HELD)
        asked = opened(operator, "suppress", queue="held")
        answer = send(operator, "suppress", form_of(asked, reason=reason), queue="held")
        assert "This field is required." in words(answer)
        assert "1 mail would be changed" in words(answer)
        assert standing(log)[0] == "held"

    def test_sent_twice_is_done_once(self, operator: Client) -> None:
        log = make_mail(State.HELD)
        form = form_of(opened(operator, "approve", queue="held"))
        send(operator, "approve", form, queue="held")
        answer = send(operator, "approve", form, queue="held")
        assert "This was done already" in told(answer)
        assert log.history.count() == AuditEntry.objects.count() == 1

    def test_that_is_stale_says_who_did_what_and_does_nothing(self, operator: Client) -> None:
        logs = [make_mail(State.HELD) for _ in range(5)]
        form = form_of(opened(operator, "approve", queue="held"))
        reviewing.review(Verb.SUPPRESS, [log.key for log in logs[:3]], reason="No.", by=BEN)
        answer = send(operator, "approve", form, queue="held")
        page = words(answer)
        assert "Nothing was done yet" in page
        assert f"Meanwhile, {BEN} suppressed 3 of these mails." in page
        assert "3 would be left alone" in page
        assert [standing(log)[0] for log in logs] == ["suppressed"] * 3 + ["held"] * 2
        answer = send(operator, "approve", form_of(answer), queue="held")
        assert "2 mails approved" in told(answer)
        assert f"Meanwhile, {BEN} suppressed 3" in told(answer)
        assert [standing(log)[0] for log in logs] == ["suppressed"] * 3 + ["pending"] * 2

    def test_from_a_list_that_is_stale_says_so_before_anything_is_asked(self, operator: Client) -> None:
        logs = [make_mail(State.HELD) for _ in range(3)]
        address = queue(operator, "held").context["buttons"][0].address
        reviewing.review(Verb.SUPPRESS, [logs[0].key], reason="No.", by=BEN)
        assert f"Meanwhile, {BEN} suppressed 1 of this queue's mails." in words(operator.get(address))

    def test_offers_to_show_all_of_its_mails(self, operator: Client, monkeypatch: Any) -> None:
        logs = [make_mail(State.HELD) for _ in range(9)]
        page = words(opened(operator, "approve", queue="held"))
        assert "All 9" in page
        assert all(log.customer.account in page for log in logs)
        monkeypatch.setattr("ivy.staff.review.orders.MOST_SHOWN", 7)
        page = words(opened(operator, "approve", queue="held"))
        assert "The first 7 of 9" in page
        assert logs[7].customer.account not in page

    def test_of_which_nothing_is_left_is_refused_with_who_did_it(self, operator: Client) -> None:
        log = make_mail(State.HELD)
        form = form_of(opened(operator, "approve", ids=log.pk))
        reviewing.review(Verb.SUPPRESS, [log.key], reason="No.", by=BEN)
        page = words(send(operator, "approve", form, ids=log.pk))
        assert "There is nothing left to do." in page
        assert f"{BEN} suppressed 1 of these mails" in page

    def test_is_about_the_mails_that_were_shown_and_no_others(self, operator: Client) -> None:
        seen = make_mail(State.HELD)
        form = form_of(opened(operator, "suppress", queue="held"))
        come_since = make_mail(State.HELD)
        send(operator, "suppress", form, queue="held")
        assert (standing(seen)[0], standing(come_since)[0]) == ("suppressed", "held")

    def test_says_in_numbers_what_was_left_alone_and_why(self, operator: Client) -> None:
        held, sent, failed = (make_mail(state) for state in (State.HELD, State.SENT, State.FAILED))
        chosen = [held.pk, sent.pk, failed.pk]
        asked = opened(operator, "approve", ids=chosen, queue="held")
        answer = send(operator, "approve", form_of(asked), queue="held")
        assert "1 mail approved" in told(answer)
        assert "2 mails left alone (1: already so; 1: it is failed: approve is for mails that are held)" in told(answer)

    def test_tells_how_many_would_not_go_out_after_all(self, operator: Client) -> None:
        true, over = make_mail(State.HELD), make_mail(State.HELD)
        move_balance(over.customer, 50)
        assert "Of these, 1 would go out; 1 is not true any more" in words(opened(operator, "approve", queue="held"))
        assert true.state == "held"

    @pytest.mark.parametrize("which", ["%%%", "AAAA", "eJw=", pack([2**62, 2**63 - 1])[:-4]])
    def test_that_comes_back_damaged_does_nothing(self, operator: Client, which: str) -> None:
        log = make_mail(State.HELD)
        form = form_of(opened(operator, "suppress", queue="held"))
        answer = send(operator, "suppress", form | {"which": which}, queue="held")
        assert answer.status_code == 200
        assert "came back damaged" in words(answer)
        assert standing(log)[0] == "held"

    def test_of_nothing_is_refused(self, operator: Client) -> None:
        assert "No mails are chosen" in words(opened(operator, "suppress"))

    def test_sent_without_a_session_comes_back_with_all_that_were_chosen(self, operator: Client) -> None:
        chosen = [make_mail(State.HELD).pk for _ in range(3)]
        form = form_of(opened(operator, "approve", ids=chosen, queue="held"))
        address = f"{reverse('admin:review_approve')}?queue=held&{'&'.join(f'ids={pk}' for pk in chosen)}"
        answer = Client().post(address, form)
        back = parse_qs(urlsplit(answer.headers["Location"]).query)["next"][0]
        assert "3 mails would be changed" in words(operator.get(back))
        assert not AuditEntry.objects.exists()

    def test_goes_on_to_the_next_mail_of_the_queue(self, operator: Client) -> None:
        first, second = make_mail(State.HELD), make_mail(State.HELD)
        asked = opened(operator, "approve", ids=first.pk, queue="held")
        answer = send(operator, "approve", form_of(asked), ids=first.pk, queue="held")
        assert answer.redirect_chain[0][0].startswith(reverse("admin:review_mail", args=[second.pk]))
        asked = opened(operator, "approve", ids=second.pk, queue="held")
        answer = send(operator, "approve", form_of(asked), ids=second.pk, queue="held")
        assert answer.redirect_chain[0][0].startswith(reverse("admin:review"))


@pytest.mark.django_db
class TestAnOrderOfThousands:
    @pytest.mark.parametrize(
        ("verb", "state", "count", "after"),
        [
            ("suppress", "held", 5_000, "suppressed"),
            ("resend", "uncertain", 600, "pending"),
            ("delivered", "uncertain", 600, "sent"),
            ("errant", "sent", 600, "sent"),
        ],
    )
    def test_is_done_whole_with_as_few_questions_as_one_of_a_few(
        self, operator: Client, verb: str, state: str, count: int, after: str
    ) -> None:
        make_many(count, state)
        asked = opened(operator, verb, queue=state)
        assert f"{count:,} mails would be changed" in words(asked)
        form = form_of(asked)
        assert len(form["which"]) < 1_000
        with CaptureQueriesContext(connection) as asked_of_the_database:
            answer = send(operator, verb, form, queue=state)
        assert len(asked_of_the_database) < 90
        assert f"{count:,} mails" in told(answer)
        assert Counter(NotificationLog.objects.values_list("state", flat=True)) == {after: count}
        assert NotificationHistory.objects.count() == StaffOrder.objects.get().count == count
        assert AuditEntry.objects.get().name == f"{count} mails"

    def test_says_when_there_are_more_than_one_order_can_have(self, operator: Client, monkeypatch: Any) -> None:
        monkeypatch.setattr(queues, "MOST_AT_ONCE", 100)
        make_many(150, "held")
        asked = opened(operator, "suppress", queue="held")
        assert "There are more than" in words(asked)
        assert "100 mails suppressed" in told(send(operator, "suppress", form_of(asked), queue="held"))
        assert "50 mails suppressed" in told(
            send(operator, "suppress", form_of(opened(operator, "suppress", queue="held")), queue="held")
        )


@pytest.mark.django_db
class TestCustomersWhoGotTwo:
    def show(self, client: Client, **query: Any) -> HttpResponse:
        return client.get(reverse("admin:review_twice"), query)

    def test_are_listed_with_how_often(self, operator: Client) -> None:
        make_many(35, "sent", customers=10)
        make_mail(State.SENT)
        found = self.show(operator).context["found"]
        assert (found.customers, found.recipients, found.mails) == (10, 10, 35)
        assert [one.times for one in found.shown] == [4] * 5 + [3] * 5
        assert found.shown[0].falls == 1

    def test_are_none_where_each_recipient_got_one(self, operator: Client) -> None:
        alert = make_watched()
        for address in ("desk@example.net", "boss@example.net"):
            make_mail(State.SENT, alert=alert, recipient=address)
        assert "Nobody got two mails" in words(self.show(operator))

    def test_count_a_mail_that_was_handed_over_twice_by_order(self, operator: Client) -> None:
        log = make_mail(State.UNCERTAIN)
        reviewing.review(Verb.RESEND, [log.key], reason="They say they got nothing.", by=BEN)
        make_attempt(log, outcome="accepted")
        NotificationLog.objects.filter(pk=log.pk).update(state="claimed", token=1, lease_until=timezone.now())
        NotificationLog.objects.filter(pk=log.pk).update(state="sending", sending_at=timezone.now())
        NotificationLog.objects.filter(pk=log.pk).update(state="sent", sent_at=timezone.now())
        (one,) = self.show(operator).context["found"].shown
        assert (one.ids, one.times) == ([log.pk], 2)

    def test_are_shown_with_the_first_and_the_last_time_to_the_second(
        self, operator: Client, mail_server: Server
    ) -> None:
        (log,) = send_twice(mail_server, make_fallen())
        assert "sent again by " in words(self.show(operator))  # how it came about
        first, second = log.attempts.order_by("number")
        DeliveryAttempt.objects.filter(pk=first.pk).update(began_at=second.began_at - timedelta(seconds=105))
        (one,) = self.show(operator).context["found"].shown
        assert (one.last_at, one.last_at - one.first_at) == (second.began_at, timedelta(seconds=105))
        assert f"{one.first_at:%Y-%m-%d %H:%M:%S} to " in words(self.show(operator))

    def test_are_shown_with_the_halts_that_keep_apologies_back(self, operator: Client) -> None:
        make_switch(process="notifications", reason="Customers call.")
        assert "Notifications are halted" in words(self.show(operator))

    def test_are_not_sent_to_an_empty_list_for_an_apology(self, operator: Client, mail_server: Server) -> None:
        (log,) = send_twice(mail_server, make_fallen())
        assert "Apologise for those marked" not in words(self.show(operator))
        reviewing.review(Verb.ERRANT, [log.key], reason=REASON, by=BEN)
        assert "Apologise for those marked" in words(self.show(operator))
        reviewing.review(Verb.APOLOGISE, [log.key], reason=REASON, by=BEN)
        page = words(self.show(operator))
        assert "Apologise for those marked" not in page
        assert "Nothing is left to mark or to apologise for." in page

    def test_are_apologised_to_once_each(self, operator: Client) -> None:
        make_many(35, "sent", customers=10)
        address = self.show(operator).context["buttons"][0].address
        asked = operator.get(address)
        assert "25 mails would be changed" in words(asked)
        send(operator, "errant", form_of(asked), twice="yes", days=1)
        firsts = NotificationLog.objects.filter(is_errant=False, kind="low_balance")
        assert firsts.count() == firsts.values("customer").distinct().count() == 10
        asked = opened(operator, "apologise", queue="errant")
        assert "10 mails would be changed" in words(asked)
        assert "15 its recipient gets one apology, for a later mail" in words(asked)
        send(operator, "apologise", form_of(asked, one_each="on"), queue="errant")
        apologies = NotificationLog.objects.filter(kind="apology")
        assert apologies.count() == apologies.values("customer").distinct().count() == 10
        assert queue(operator, "errant").context["total"] == "0"
        assert "There is nothing left to do" in words(opened(operator, "apologise", queue="errant", apologised="yes"))
        assert {one.apology for one in self.show(operator).context["found"].shown} == {"pending"}

    def test_can_be_apologised_to_for_each_mail_where_staff_want_that(self, operator: Client) -> None:
        make_many(4, "sent", customers=2)
        send(operator, "errant", form_of(opened(operator, "errant", queue="sent")), queue="sent")
        asked = opened(operator, "apologise", queue="errant")
        again = send(operator, "apologise", form_of(asked, one_each=""), queue="errant")
        assert "Nothing was done yet" in words(again)
        assert "4 mails would be changed" in words(again)
        send(operator, "apologise", form_of(again, one_each=""), queue="errant")
        assert NotificationLog.objects.filter(kind="apology").count() == 4

    def test_asks_as_many_questions_for_many_as_for_few(self, operator: Client) -> None:
        def questions() -> int:
            with CaptureQueriesContext(connection) as asked:
                self.show(operator)
            return len(asked)

        make_many(20, "sent", customers=5, tag="a")
        few = questions()
        make_many(500, "sent", customers=50, tag="b")
        assert questions() == few <= 20


@pytest.mark.django_db
class TestWhoseOrderItWas:
    def test_is_the_cause_of_mails_that_were_sent_again_and_marked(self, operator: Client, mail_server: Server) -> None:
        logs = send_twice(mail_server, make_fallen(), make_fallen(), by=BEN)
        alone = make_mail(State.SENT)
        groups = queue(operator, "sent").context["groups"]
        resent = f"sent again by {BEN}: They say that nothing came."
        assert [(one["cause"].count, one["cause"].words) for one in groups] == [(2, resent), (1, "went out by itself")]
        assert listed(operator.get(reverse("admin:review") + groups[1]["address"])) == [alone.pk]
        asked = operator.get(groups[0]["buttons"][0].address)
        assert "2 mails would be changed" in words(asked)
        assert f"S{resent[1:]}" in words(asked)
        send(operator, "errant", form_of(asked), ids=logs[0].pk)
        reviewing.review(Verb.ERRANT, [alone.key], reason="Not theirs.", by=BEN)
        groups = queue(operator, "errant").context["groups"]
        assert [(one["cause"].count, one["cause"].words) for one in groups] == [
            (2, f"{resent[:-1]}; then marked as errant by {ANN}: {REASON}"),
            (1, f"marked as errant by {BEN}: Not theirs."),
        ]
        shown = operator.get(reverse("admin:review") + groups[0]["address"])
        assert set(listed(shown)) == {log.pk for log in logs}
        assert f"order {groups[0]['cause'].order} of staff" in words(shown)
        assert "Nothing was noted" not in words(shown)
        assert listed(queue(operator, "errant", order=0)) == []

    def test_is_told_on_the_page_of_the_apology(self, operator: Client) -> None:
        log = make_mail(State.SENT, is_errant=True)
        reviewing.review(Verb.APOLOGISE, [log.key], reason=REASON, by=BEN)
        apology = NotificationLog.objects.get(errant=log)
        page = words(operator.get(reverse("admin:review_mail", args=[apology.pk])))
        assert f"ordered by {BEN}" in page
        assert REASON in page
        assert "Nothing but what Ivy does by itself" not in page

    def test_is_left_out_of_the_address_where_it_makes_no_sense(self, operator: Client) -> None:
        log = make_mail(State.SENT)
        assert listed(queue(operator, "sent", order="x")) == [log.pk]


@pytest.mark.django_db
class TestApologising:
    def test_shows_what_each_of_the_mails_would_say_before_the_button(
        self, operator: Client, mail_server: Server
    ) -> None:
        twice, wrong = send_twice(mail_server, make_fallen(), make_fallen())[0], make_mail(State.SENT)
        reviewing.review(Verb.ERRANT, [twice.key, wrong.key], reason=REASON, by=BEN)
        page = words(opened(operator, "apologise", queue="errant"))
        assert "What the apology (1 of 2 texts) would say" in page
        assert f"Sorry: we told you the same thing more than once, account {twice.customer.account}" in page
        assert "By mistake we sent you the same mail twice. What it says is right" in page
        assert f"Sorry: we wrote to you in error about account {wrong.customer.account}" in page

    def test_is_offered_no_more_once_it_was_done(self, operator: Client) -> None:
        log = make_mail(State.SENT, is_errant=True)
        address = reverse("admin:review_mail", args=[log.pk])
        assert [one.page.verb for one in operator.get(address).context["buttons"]] == [Verb.APOLOGISE]
        reviewing.review(Verb.APOLOGISE, [log.key], reason=REASON, by=BEN)
        assert operator.get(address).context["buttons"] == []
        assert "its recipient was apologised to since" in words(operator.get(address))

    def test_leaves_nothing_to_decide_and_says_so(self, operator: Client) -> None:
        log = make_mail(State.SENT, is_errant=True)
        reviewing.review(Verb.APOLOGISE, [log.key], reason=REASON, by=BEN)
        answer = queue(operator, "errant", apologised="yes")
        assert listed(answer) == [log.pk]
        page = words(answer)
        assert "nothing is left to decide about these" in page
        assert "needs the role" not in page
        assert "got no apology since" not in page
        assert "Errant 0" not in page

    @pytest.mark.parametrize(
        ("halted", "when"),
        [
            (None, "The apologies go out within a minute or two."),
            ({}, "The apologies go out as soon as notifications are resumed; they are halted now."),
            ({"partner": True}, "those of Quayside as soon as that partner's notifications are resumed."),
        ],
    )
    def test_says_when_the_apologies_go_out(self, operator: Client, halted: dict[str, Any] | None, when: str) -> None:
        log = make_mail(State.SENT, is_errant=True)
        if halted is not None:
            partner = make_partner(slug="quayside", name="Quayside") if halted else None
            make_switch(process="notifications", reason="Too many.", partner=partner)
        answer = send(operator, "apologise", form_of(opened(operator, "apologise", ids=log.pk)), ids=log.pk)
        assert when in told(answer)

    def test_says_why_the_apology_cannot_be_written(self, operator: Client) -> None:
        log = make_mail(State.SENT, is_errant=True)
        type(log.partner).objects.filter(pk=log.partner_id).update(sender="billing")
        assert "It can't be written as things stand." in words(opened(operator, "apologise", ids=log.pk))

    def test_asks_as_many_questions_for_many_as_for_few(self, operator: Client) -> None:
        def questions() -> int:
            with CaptureQueriesContext(connection) as asked:
                opened(operator, "apologise", queue="errant")
            return len(asked)

        make_many(2, "sent", customers=2, tag="a")
        NotificationLog.objects.update(is_errant=True)
        few = questions()
        make_many(400, "sent", customers=400, tag="b")
        NotificationLog.objects.update(is_errant=True)
        assert questions() == few <= 25


@pytest.mark.django_db
class TestTheFence:
    def test_lets_support_look_and_mark_errant_and_no_more(self) -> None:
        support = log_in("support")
        sent, held = make_mail(State.SENT), make_mail(State.HELD)
        assert "needs the role operator" in words(queue(support, "held"))
        assert queue(support, "held").context["buttons"] == []
        form = form_of(opened(support, "errant", ids=sent.pk))
        send(support, "errant", form, ids=sent.pk)
        assert NotificationLog.objects.get(pk=sent.pk).is_errant
        for verb in ("approve", "retry", "resend", "delivered", "suppress", "apologise"):
            answer = support.post(reverse(f"admin:review_{verb}"), form)
            assert answer.status_code == 403
            assert "Nothing was changed" in words(answer)
        assert standing(held)[0] == "held"

    def test_lets_nobody_look_who_may_not_see_the_log(self) -> None:
        nobody = log_in()
        for name in ("review", "review_twice"):
            assert nobody.get(reverse(f"admin:{name}")).status_code == 403


@pytest.mark.django_db(transaction=True)
class TestTwoPeopleAtOnce:
    def test_do_each_mail_once(self) -> None:
        ann, ben = log_in("operator"), log_in("operator", email=BEN)
        make_many(60, "held")
        forms = [form_of(opened(client, verb, queue="held")) for client, verb in ((ann, "approve"), (ben, "suppress"))]
        answers = at_once(
            lambda: words(send(ann, "approve", forms[0], queue="held")),
            lambda: words(send(ben, "suppress", forms[1], queue="held")),
        )
        # Either suppressed all that the other had approved, or was there first; nothing is done twice or half.
        lines = Counter(NotificationHistory.objects.values_list("by", "verb"))
        assert set(lines.values()) == {60}
        assert len(set(NotificationLog.objects.values_list("state", flat=True))) == 1
        assert NotificationLog.objects.first().state == "suppressed"
        assert len(answers) == 2

    def test_send_the_same_form_once(self) -> None:
        ann = log_in("operator")
        make_many(20, "held")
        form = form_of(opened(ann, "approve", queue="held"), once=str(uuid.uuid4()))
        again = Client()
        again.force_login(User.objects.get(email=ANN))
        at_once(
            lambda: send(ann, "approve", form, queue="held").status_code,
            lambda: send(again, "approve", form, queue="held").status_code,
        )
        assert NotificationHistory.objects.count() == 20
        assert AuditEntry.objects.count() == StaffOrder.objects.count() == 1


class TestASelection:
    @pytest.mark.parametrize("ids", [[], [1], [5, 3, 3], [1, 127, 128, 129, 16_384, 2**31, 2**62], list(range(50_000))])
    def test_comes_back_as_it_was_packed(self, ids: list[int]) -> None:
        assert unpack(pack(ids)) == sorted(set(ids))

    def test_of_neighbours_is_short(self) -> None:
        assert len(pack(range(10**9, 10**9 + 50_000))) < 200

    def test_of_more_than_one_order_can_have_is_refused(self) -> None:
        with pytest.raises(Damaged):
            unpack(pack(range(50_001)))


@pytest.mark.django_db
class TestNeighbours:
    def test_follow_the_queues_order_whether_the_mail_is_there_or_not(self) -> None:
        first, second, third = (make_mail(State.SENT, is_errant=True) for _ in range(3))
        assert queues.neighbours(Which(Queue.ERRANT), second.pk) == (third.pk, first.pk)
        assert queues.neighbours(Which(Queue.HELD), second.pk) == (None, None)

    @pytest.mark.parametrize(("name", "state"), [(Queue.WAITING, State.PENDING), (Queue.SENT, State.SENT)])
    def test_go_by_time_where_the_queue_does(self, name: Queue, state: State) -> None:
        now = timezone.now()
        logs = [
            make_mail(state, next_try_at=at, sending_at=at if state == State.SENT else None)
            for at in (now - timedelta(minutes=minutes) for minutes in (1, 3, 2))
        ]
        order = [logs[0], logs[2], logs[1]] if name == Queue.SENT else [logs[1], logs[2], logs[0]]
        assert [log.pk for log in queues.page(Which(name), size=9)] == [log.pk for log in order]
        assert queues.neighbours(Which(name), order[1].pk) == (order[0].pk, order[2].pk)
        assert [log.pk for log in queues.page(Which(name), after=order[0].pk, size=9)] == [log.pk for log in order[1:]]
