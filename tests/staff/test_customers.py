"""The page that tells all of a customer, and what may be changed there: with what follows told before."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing import corrections, episodes
from billing.acting import acting_as
from billing.models import BalanceAlert, Customer, Episode, Process
from ivy.consequences import consequences
from ivy.models import AuditEntry, CustomerNote
from notifications import reviewing
from notifications.models import NotificationLog, Outcome, State, Verb
from tests.factories import (
    make_alert,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_episode,
    make_free_call,
    make_identity,
    make_item,
    make_quarantined_call,
    make_recipient,
    make_reversal,
    make_switch,
)
from tests.notifications.stories import make_attempt, make_fallen, make_mail, owe, set_balance
from tests.staff.forms import browser_of, filled_in, member, shown_and_done, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_lockout(settings: Any) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def okafor() -> Customer:
    return make_customer(account="LD-1007", name="Okafor Bakery", balance=50, credit_limit=20)


@pytest.fixture
def billing() -> Client:
    return browser_of(member("billing", email="bill@ivy.example"))


@pytest.fixture
def support() -> Client:
    return browser_of(member("support"))


def page(customer: Customer) -> str:
    return reverse("admin:customer", args=[customer.account])


def act_page(name: str, customer: Customer, *more: int) -> str:
    return reverse(f"admin:customer_{name}", args=[customer.account, *more])


def preview(browser: Client, url: str, **said: Any) -> Any:
    return browser.post(url, filled_in(browser.get(url), **said))


def fill(customer: Customer, numbers: range) -> None:
    """So many of everything that a customer can have."""
    for number in numbers:
        alert = make_alert(customer=customer, threshold=number - 100)
        make_recipient(alert=alert)
        make_episode(alert=alert, closed_at=timezone.now(), closed_balance=0)
        make_item(customer=customer, starts_on=timezone.now().date())
        make_identity(customer=customer)
        make_call_charge(make_call(customer=customer))
        make_free_call(make_call(customer=customer, seconds=0, is_answered=False))
        make_quarantined_call(make_call(customer=customer))
        make_reversal(make_entry(customer=customer))
        make_attempt(make_attempt(make_mail(State.UNCERTAIN, alert=alert)).notification)
        CustomerNote.objects.create(customer=customer, by="ann@ivy.example", text=f"Note {number}")
        AuditEntry.objects.create(by="a", verb="v", noun="customer", name=customer.account, summary=f"Deed {number}")


class TestThePage:
    def test_tells_all(self, support: Client, okafor: Customer) -> None:
        fallen = make_alert(customer=okafor, threshold=60)
        make_recipient(alert=fallen, email="boss@okafor.example")
        make_episode(alert=fallen)
        make_item(customer=okafor, reference="trunk-7", amount=Decimal("9.99"), starts_on=timezone.now().date())
        make_identity(customer=okafor, value="442079460123")
        call = make_call(customer=okafor)
        make_call_charge(call, amount=Decimal("-0.0345"))
        make_quarantined_call(make_call(customer=okafor, call_id="odd"))
        make_reversal(make_entry(customer=okafor, amount=Decimal(3), description="Paid twice"))
        CustomerNote.objects.create(customer=okafor, by="ann@ivy.example", text="Call after nine.")
        told = text_of(support.get(page(okafor)))
        for said in (
            "LD-1007 · Okafor Bakery",
            "49.9655 GBP",
            "below 60.00 GBP",
            "boss@okafor.example",
            "trunk-7 SIP trunk",
            "9.99 GBP",
            "due now",
            "442079460123",
            "-0.0345 GBP",
            "call:pbx-north:odd : no rate",
            "Payment: Paid twice taken back",
            "Opening",
            "Call after nine.",
            "From 0.00 GBP on",
        ):
            assert said in told, said

    def test_of_a_new_customer_says_what_is_not_there_yet(self, support: Client) -> None:
        told = text_of(support.get(page(make_customer(email=""))))
        for said in (
            "none: mails can't reach this customer",
            "No item charges anything from now on.",
            "Nothing was posted yet.",
            "No payment came in yet.",
            "No call of this customer came in yet.",
            "No mail was owed to this customer yet.",
            "No notes yet.",
        ):
            assert said in told

    def test_asks_as_many_questions_whatever_there_is(self, billing: Client, okafor: Customer) -> None:
        fill(okafor, range(1))
        with CaptureQueriesContext(connection) as with_one:
            billing.get(page(okafor))
        fill(okafor, range(1, 13))
        with CaptureQueriesContext(connection) as with_many:
            billing.get(page(okafor))
        assert len(with_many) == len(with_one) <= 45

    def test_tells_that_a_mail_was_handed_over_twice_and_who_ordered_it(self, support: Client) -> None:
        mail = make_mail(State.UNCERTAIN)
        reviewing.review(Verb.RESEND, [mail.key], reason="They say that none came.", by="bob.evening@ivy.example")
        make_attempt(mail, outcome=Outcome.ACCEPTED)
        told = text_of(support.get(page(mail.customer)))
        mails, done = told.index("handed over 2 ×"), told.index("What staff did")
        assert " perhaps, " in told[mails:done]
        assert " taken" in told[mails:done]
        assert "resend by bob.evening@ivy.example" in told[mails:done]
        assert "sent again, perhaps a second time. Reason: They say that none came." in told[done:]
        assert done < told.index("The latest entries Posted"), "it stands before what is looked at by day"

    def test_tells_corrections_by_command_and_changes_with_who_and_why(self, support: Client, okafor: Customer) -> None:
        corrections.adjust(
            okafor.account, Decimal(-7), reference="t-9", reason="Charged too low", by="root (command line)",
            at=timezone.now(),
        )  # fmt: skip
        with acting_as("ann@ivy.example", path="/admin/"):
            Customer.objects.filter(pk=okafor.pk).update(name="Okafor & Sons")
        for address in (page(okafor), reverse("admin:customer_done", args=[okafor.account])):
            told = text_of(support.get(address))
            assert "root (command line)" in told
            assert "Adjustment, -7.00 GBP: Adjustment t-9." in told
            assert "Reason: Charged too low" in told
            assert "ann@ivy.example" in told
            assert "Okafor & Sons" in told

    def test_says_when_something_is_halted(self, support: Client, okafor: Customer) -> None:
        make_switch(process=Process.ITEMS, partner=okafor.partner, reason="Wrong prices.")
        assert "are halted since" in text_of(support.get(page(okafor)))

    def test_offers_only_what_a_person_may_do(self, support: Client, billing: Client, okafor: Customer) -> None:
        make_alert(customer=okafor)
        deeds = ["Take a payment", "Give credit", "Adjust", "Suspend", "Reverse", "Add an alert"]
        for_support, for_billing = text_of(support.get(page(okafor))), text_of(billing.get(page(okafor)))
        assert [deed for deed in deeds if deed in for_support] == []
        assert [deed for deed in deeds if deed not in for_billing] == []
        assert "Keep the note" in for_support

    def test_of_nobody_is_not_found(self, support: Client) -> None:
        assert support.get(reverse("admin:customer", args=["nobody"])).status_code == 404

    def test_is_where_the_list_of_customers_leads(self, support: Client, billing: Client, okafor: Customer) -> None:
        assert page(okafor) in support.get(reverse("admin:billing_customer_changelist")).content.decode()
        fields = support.get(reverse("admin:billing_customer_change", args=[okafor.pk])).content.decode()
        assert page(okafor) in fields
        assert act_page("status", okafor) not in fields, "they may not"
        fields = billing.get(reverse("admin:billing_customer_change", args=[okafor.pk])).content.decode()
        assert act_page("status", okafor) in fields


class TestANote:
    def test_is_taken_once_by_support(self, support: Client, okafor: Customer) -> None:
        form = filled_in(support.get(act_page("note", okafor)), text="Wants a call after nine.")
        assert support.post(act_page("note", okafor), form).url == f"{page(okafor)}#notes"
        support.post(act_page("note", okafor), form)
        assert CustomerNote.objects.get().text == "Wants a call after nine."
        assert AuditEntry.objects.get().verb == "note"


class TestChangingTheStatus:
    def test_tells_what_closing_ends_and_does_it(self, billing: Client, okafor: Customer) -> None:
        item = make_item(customer=okafor, reference="trunk-7", starts_on=timezone.now().date() - timedelta(days=40))
        url = act_page("status", okafor)
        shown = preview(billing, url, status="closed", reason="Moved away.")
        told = text_of(shown)
        assert "Calls that begin from now on are not charged" in told
        today = timezone.now().astimezone(ZoneInfo(okafor.timezone))
        assert f"1 item ends trunk-7, SIP trunk: ends on {today:%Y-%m-%d}" in told
        okafor.refresh_from_db()
        assert okafor.status == "active"
        assert billing.post(url, filled_in(shown)).status_code == 302
        okafor.refresh_from_db()
        item.refresh_from_db()
        assert (okafor.status, item.ends_on is not None) == ("closed", True)
        note = AuditEntry.objects.get()
        assert (note.before, note.after) == ({"status": "active"}, {"status": "closed"})

    def test_tells_which_mails_go_out_again_and_which_do_not(self, billing: Client, okafor: Customer) -> None:
        alert = make_fallen(customer=okafor)
        owe()
        suspended = preview(billing, act_page("status", okafor), status="suspended", reason="Unpaid.")
        assert "The mail “low_balance” to" in text_of(suspended)
        assert "does not go out any more" in text_of(suspended)
        billing.post(act_page("status", okafor), filled_in(suspended))
        lower = make_alert(customer=okafor, threshold=7)
        active = preview(billing, act_page("status", okafor), status="active", reason="Paid.")
        assert "A fall below 7.00 GBP begins." in text_of(active)
        assert NotificationLog.objects.filter(alert=lower).count() == 0
        assert NotificationLog.objects.get(alert=alert).state == State.PENDING

    def test_that_it_has_already_is_refused(self, billing: Client, okafor: Customer) -> None:
        shown = preview(billing, act_page("status", okafor), status="active", reason="x")
        assert "It is so already" in text_of(shown)

    def test_is_not_for_support(self, support: Client, okafor: Customer) -> None:
        url = act_page("status", okafor)
        assert support.get(url).status_code == 403
        assert support.post(url, {"status": "closed", "reason": "x"}).status_code == 403


class TestChangingThresholds:
    TERMS = {"remind_at_most": 3, "reason": "Asked for it."}

    def test_tells_that_a_fall_begins_and_whom_it_mails(self, billing: Client, okafor: Customer) -> None:
        url = act_page("alert_add", okafor)
        shown = preview(billing, url, threshold="60", recipients="boss@okafor.example", **self.TERMS)
        told = text_of(shown)
        assert "A fall below 60.00 GBP begins." in told
        assert "A mail “low_balance” goes to boss@okafor.example" in told
        assert not BalanceAlert.objects.filter(threshold=60).exists()
        billing.post(url, filled_in(shown))
        alert = BalanceAlert.objects.get(threshold=60)
        assert list(alert.recipients.values_list("email", flat=True)) == ["boss@okafor.example"]
        episodes.judge_here(okafor.pk, at=timezone.now())
        assert Episode.objects.get(closed_at__isnull=True).alert == alert

    def test_tells_that_a_fall_goes_on_without_a_mail_or_is_over(self, billing: Client, okafor: Customer) -> None:
        alert = make_alert(customer=okafor, threshold=60)
        set_balance(okafor, 49)
        url = act_page("alert", okafor, alert.pk)
        still = text_of(preview(billing, url, threshold="55", **self.TERMS))
        assert "The fall below 55.00 GBP goes on" in still
        assert "No mail goes out because of it." in still
        over = preview(billing, url, threshold="45", **self.TERMS)
        assert "is over; nobody was told of it" in text_of(over)
        billing.post(url, filled_in(over))
        alert.refresh_from_db()
        assert alert.threshold == 45
        assert AuditEntry.objects.get().before["threshold"] == "60"

    def test_waits_with_a_fall_until_everything_due_was_charged(self, billing: Client, okafor: Customer) -> None:
        make_item(customer=okafor, starts_on=timezone.now().date() - timedelta(days=3))
        shown = preview(billing, act_page("alert_add", okafor), threshold="60", **self.TERMS)
        assert "A fall may begin once everything that is due" in text_of(shown)

    def test_ends_an_alert_that_may_be_added_again(self, billing: Client, okafor: Customer) -> None:
        alert = make_alert(customer=okafor, threshold=60)
        url = act_page("alert_end", okafor, alert.pk)
        shown = preview(billing, url, reason="Too many mails.")
        assert "Nobody is mailed about this threshold any more." in text_of(shown)
        billing.post(url, filled_in(shown))
        alert.refresh_from_db()
        assert not alert.is_active
        assert "It is so already" in text_of(billing.get(url))
        shown_and_done(billing, act_page("alert_add", okafor), threshold="60", **self.TERMS)
        alert.refresh_from_db()
        assert alert.is_active

    def test_refuses_two_at_one_threshold_and_to_end_the_built_in_one(self, billing: Client, okafor: Customer) -> None:
        make_alert(customer=okafor, threshold=60)
        twice = preview(billing, act_page("alert_add", okafor), threshold="60", **self.TERMS)
        assert "has an alert at this threshold already" in text_of(twice)
        built_in = okafor.alerts.get(kind="exhausted")
        assert "stays" in text_of(billing.get(act_page("alert_end", okafor, built_in.pk)))
        other = make_customer()
        assert billing.get(act_page("alert", other, built_in.pk)).status_code == 404

    def test_follows_the_credit_limit_with_the_built_in_alert(self, billing: Client) -> None:
        owing_some = make_customer(account="A-2", balance=-15, credit_limit=20)
        url = act_page("credit_limit", owing_some)
        shown = preview(billing, url, limit="10", reason="Less trust.")
        assert "A fall below -10.00 GBP begins." in text_of(shown)
        billing.post(url, filled_in(shown))
        assert owing_some.alerts.get(kind="exhausted").threshold == -10

    def test_says_which_address_is_none(self, billing: Client, okafor: Customer) -> None:
        shown = preview(billing, act_page("alert_add", okafor), threshold="1", recipients="a b", **self.TERMS)
        assert "“a b” is no address." in text_of(shown)

    def test_is_not_for_support(self, support: Client, okafor: Customer) -> None:
        alert = make_alert(customer=okafor)
        for url in (
            act_page("alert_add", okafor),
            act_page("alert", okafor, alert.pk),
            act_page("alert_end", okafor, alert.pk),
            act_page("credit_limit", okafor),
        ):
            assert support.post(url, {"threshold": "1", "reason": "x"}).status_code == 403


class TestConsequences:
    def test_are_those_of_doing_it_and_leave_no_trace(self, okafor: Customer) -> None:
        make_alert(customer=okafor, threshold=40)

        def pay_back() -> None:
            make_entry(customer=okafor, amount=Decimal(-30), key="refund:x", kind="refund")

        for _ in range(2):
            found = consequences(okafor, pay_back, at=timezone.now())
            assert (found.balance_before, found.balance_after) == (50, 20)
            assert [fall.alert.threshold for fall in found.opens] == [40]
        assert not Episode.objects.exists()
        pay_back()
        episodes.judge_here(okafor.pk, at=timezone.now())
        assert Episode.objects.get().opened_threshold == 40

    def test_tell_of_a_halt_that_keeps_mails_back(self, okafor: Customer) -> None:
        make_switch(process=Process.NOTIFICATIONS, reason="Doubled mails.")
        found = consequences(okafor, lambda: make_alert(customer=okafor, threshold=60), at=timezone.now())
        assert (len(found.mails), found.halted) == (1, "Doubled mails.")
