"""What a partner's managers change of alerts, and what they ask for of items."""

from datetime import date
from decimal import Decimal

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import BalanceAlert, BillingItem, PartnerAlert
from ivy.portal import alerting, requests, testing
from ivy.portal.models import ItemRequest, PortalUser
from notifications.models import NotificationLog
from tests import factories

pytestmark = pytest.mark.django_db
NEW_YEAR = date(2027, 1, 1)


@pytest.fixture(autouse=True)
def _log_ins_come_from_nowhere(settings) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def manager() -> PortalUser:
    found = factories.make_portal_user(role="manager", user=factories.make_user(email="marcus@harbour.example"))
    type(found.partner).objects.filter(pk=found.partner.pk).update(sender="billing@harbour.example")
    return found


@pytest.fixture
def at(manager: PortalUser) -> Client:
    client = Client()
    client.force_login(manager.user)
    return client


@pytest.fixture
def customer(manager: PortalUser):
    return factories.make_customer(partner=manager.partner, account="A-1", email="till@corner.example", balance=50)


def said(answer) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


class TestAlertsOfACustomer:
    def test_are_added_changed_and_ended_once(self, at: Client, customer) -> None:
        url = reverse("portal:change_alert", args=["A-1"])
        new = {"threshold": "20", "remind_every_days": "7", "remind_at_most": "2", "recipients": "Boss@corner.example"}
        assert "is set" in said(at.post(url, new, follow=True))
        assert "already" in said(at.post(url, new, follow=True))
        alert = BalanceAlert.objects.get(customer=customer, threshold=20)
        assert [one.email for one in alert.recipients.all()] == ["boss@corner.example"]
        other = {**new, "which": "20.000000", "threshold": "25", "recipients": ""}
        assert "changed" in said(at.post(url, other, follow=True))
        assert "stood so already" in said(at.post(url, {**other, "which": "25"}, follow=True))
        assert "ended" in said(at.post(url, {"which": "25", "do": "end"}, follow=True))
        assert at.post(url, {"which": "25", "do": "end"}).status_code == 404

    @pytest.mark.parametrize("which", ["nonsense", "NaN", "Infinity", "1e99", "1e999999999", "-1e999999999", "77"])
    def test_that_are_not_there_are_not_there(self, at: Client, customer, which: str) -> None:
        url = reverse("portal:change_alert", args=["A-1"])
        assert at.post(url, {"which": which, "threshold": "1", "remind_at_most": "3"}).status_code == 404

    def test_with_an_address_that_is_none_are_refused_in_words(self, at: Client, customer) -> None:
        url = reverse("portal:change_alert", args=["A-1"])
        answer = at.post(url, {"threshold": "20", "remind_at_most": "2", "recipients": "nobody"})
        assert answer.status_code == 400
        assert "“nobody” is no address." in answer.content.decode()

    @pytest.mark.parametrize(
        ("recipients", "told"),
        [
            ("\n".join(f"{number}@corner.example" for number in range(11)), "at most 10 addresses"),
            (f"till@{'.'.join(['x' * 60] * 4)}.{'y' * 20}.example", "is no address"),
        ],
        ids=["too many", "too long"],
    )
    def test_tell_a_few_people_and_no_crowd(self, at: Client, customer, recipients: str, told: str) -> None:
        url = reverse("portal:change_alert", args=["A-1"])
        answer = at.post(url, {"threshold": "20", "remind_at_most": "2", "recipients": recipients})
        assert answer.status_code == 400
        assert told in answer.content.decode()

    def test_let_few_customers_fall_within_an_hour_or_one_few_times(self, at: Client, customer) -> None:
        url = reverse("portal:change_alert", args=["A-1"])
        for number in range(alerting.FALLS_AN_HOUR):
            assert "is set" in said(at.post(url, {"threshold": "60", "remind_at_most": "2"}, follow=True))
            at.post(url, {"which": "60", "do": "end"})
            other = factories.make_customer(partner=customer.partner, account=f"B-{number}", balance=50)
        of_other = reverse("portal:change_alert", args=[other.account])
        harmless = {"threshold": "40", "remind_at_most": "2"}
        for where in (url, of_other):
            assert "Wait a while" in said(at.post(where, {"threshold": "60", "remind_at_most": "2"}, follow=True))
            assert "is set" in said(at.post(where, harmless, follow=True))
            assert "Wait a while" in said(at.post(where, {**harmless, "which": "40", "threshold": "60"}, follow=True))
            assert "changed" in said(at.post(where, {**harmless, "which": "40", "threshold": "30"}, follow=True))
        assert not BalanceAlert.objects.filter(is_active=True, threshold=60).exists()

    def test_are_looked_at_and_not_changed_by_viewers(self, at: Client, manager: PortalUser, customer) -> None:
        PortalUser.objects.filter(pk=manager.pk).update(role="viewer")
        assert "Add the alert" not in at.get(reverse("portal:customer_alerts", args=["A-1"])).content.decode()
        assert at.post(reverse("portal:change_alert", args=["A-1"]), {"threshold": "20"}).status_code == 403


class TestATest:
    def test_reaches_who_asks_and_no_customer(self, at: Client, manager: PortalUser, customer) -> None:
        answer = at.post(reverse("portal:send_test", args=["A-1"]), {"which": "exhausted"}, follow=True)
        assert "No customer was told" in said(answer)
        (sent,) = mail.outbox
        assert sent.to == [manager.user.email]
        assert sent.subject.startswith("Test: ")
        assert "This is a test" in sent.body
        assert not NotificationLog.objects.exists()

    def test_may_be_asked_for_ten_times_an_hour(self, at: Client, customer) -> None:
        alert = BalanceAlert.objects.get(customer=customer, kind="exhausted")
        for _ in range(testing.AN_HOUR):
            testing.send(alert, to="marcus@harbour.example")
        with pytest.raises(testing.TooMany, match="Wait a while"):
            testing.send(alert, to="marcus@harbour.example")
        testing.send(alert, to="mei@harbour.example")
        assert len(mail.outbox) == testing.AN_HOUR + 1

    def test_says_what_is_missing(self, at: Client, manager: PortalUser, customer) -> None:
        type(manager.partner).objects.filter(pk=manager.partner.pk).update(sender="billing")
        answer = at.post(reverse("portal:send_test", args=["A-1"]), {"which": "exhausted"}, follow=True)
        assert "“billing” is no address" in said(answer)
        assert mail.outbox == []

    def test_is_written_in_the_customers_language(self, at: Client, customer) -> None:
        at.post(reverse("portal:change_language"), {"language": "de", "account": "A-1"})
        at.post(reverse("portal:change_language"), {"language": "de", "account": "A-1"})
        at.post(reverse("portal:send_test", args=["A-1"]), {"which": "exhausted"})
        assert "50,00\xa0£" in mail.outbox[0].body


class TestDefaults:
    def test_are_kept_replaced_and_taken_away(self, at: Client, manager: PortalUser) -> None:
        url = reverse("portal:change_default_alert")
        at.post(url, {"threshold": "15", "remind_at_most": "3"})
        at.post(url, {"threshold": "15", "remind_at_most": "1", "remind_every_days": "5"})
        kept = PartnerAlert.objects.get(partner=manager.partner)
        assert (kept.threshold, kept.remind_every_days, kept.remind_at_most) == (Decimal(15), 5, 1)
        newcomer = {"do": "remove", "threshold": "15"}
        assert "is gone" in said(at.post(url, newcomer, follow=True))
        assert "gone already" in said(at.post(url, newcomer, follow=True))

    def test_of_language_are_the_partners(self, at: Client, manager: PortalUser) -> None:
        at.post(reverse("portal:change_language"), {"language": "fr"})
        manager.partner.refresh_from_db()
        assert manager.partner.language == "fr"
        assert "no language" in said(at.post(reverse("portal:change_language"), {"language": "xx"}, follow=True))


class TestItemsThatAreAskedFor:
    def test_wait_for_staff_and_change_nothing(self, at: Client, customer) -> None:
        url = reverse("portal:ask_for_item", args=["A-1"])
        at.post(url, {"text": "A trunk of ten", "on": "2027-01-01"})
        (asked,) = ItemRequest.objects.all()
        assert (asked.kind, asked.state, asked.asked_by) == ("new", "waiting", "marcus@harbour.example")
        assert not BillingItem.objects.exists()
        assert requests.waiting() == 1

    def test_are_made_once_by_a_double_click(self, at: Client, customer) -> None:
        url = reverse("portal:ask_for_item", args=["A-1"])
        wanted = {"text": "A trunk of ten", "on": "2027-01-01"}
        at.post(url, wanted)
        assert "asked for already" in said(at.post(url, wanted, follow=True))
        at.post(url, {**wanted, "on": "2027-02-01"})
        assert requests.waiting() == 2
        assert requests.decline(ItemRequest.objects.earliest("pk"), by="ann@ivy.example", answer="No.")
        at.post(url, wanted)
        assert requests.waiting() == 2

    def test_are_no_more_than_staff_can_read(self, at: Client, customer) -> None:
        factories.make_item(customer=customer, reference="trunk-1")
        elsewhere = factories.make_customer(partner=factories.make_partner())
        ItemRequest.objects.bulk_create(
            ItemRequest(customer=customer, kind="new", text=f"Trunk {number}", on=NEW_YEAR, asked_by="marcus")
            for number in range(requests.MOST_WAITING)
        )
        url = reverse("portal:ask_for_item", args=["A-1"])
        for more in ({}, {"item": "trunk-1"}):
            answer = at.post(url, {**more, "text": "One more", "on": "2027-01-01"}, follow=True)
            assert "100 requests wait for staff already" in said(answer)
        requests.ask_for_item(elsewhere, text="A trunk", on=NEW_YEAR, by="marcus@harbour.example")
        assert requests.withdraw(ItemRequest.objects.earliest("pk"), by="marcus@harbour.example")
        at.post(url, {"text": "One more", "on": "2027-01-01"})
        assert requests.waiting() == requests.MOST_WAITING + 1

    def test_can_be_withdrawn_until_they_are_decided(self, at: Client, customer) -> None:
        asked = requests.ask_for_item(customer, text="A trunk", on=NEW_YEAR, by="marcus@harbour.example")
        url = reverse("portal:withdraw_request", args=[asked.pk])
        assert "is withdrawn" in said(at.post(url, follow=True))
        assert "decided already" in said(at.post(url, follow=True))
        assert not requests.decline(asked, by="ann@ivy.example", answer="No.")

    def test_end_the_item_once_staff_confirm(self, at: Client, customer) -> None:
        item = factories.make_item(customer=customer, reference="trunk-1")
        url = reverse("portal:ask_for_item", args=["A-1"])
        at.post(url, {"item": "trunk-1", "text": "Not needed", "on": "2027-01-01"})
        again = {"item": "trunk-1", "text": "x", "on": "2027-01-01"}
        assert "asked for already" in said(at.post(url, again, follow=True))
        (asked,) = ItemRequest.objects.all()
        assert requests.accept(asked, by="ann@ivy.example", answer="Done.")
        assert not requests.accept(asked, by="ben@ivy.example", answer="Done.")
        item.refresh_from_db()
        assert item.ends_on == NEW_YEAR

    def test_that_can_not_be_ended_then_stay_waiting(self, customer) -> None:
        item = factories.make_item(customer=customer, starts_on=NEW_YEAR)
        with pytest.raises(requests.NotPossible, match="can't end before"):
            requests.ask_for_end(item, text="x", on=date(2026, 1, 1), by="marcus@harbour.example")
        asked = requests.ask_for_item(customer, text="A trunk", on=NEW_YEAR, by="marcus@harbour.example")
        with pytest.raises(requests.NotPossible, match="make it first"):
            requests.accept(asked, by="ann@ivy.example", answer="Yes.", item="nothing")
        asked.refresh_from_db()
        assert asked.state == "waiting"
        assert requests.accept(asked, by="ann@ivy.example", answer="Yes.", item=item.reference)

    def test_are_decided_by_staff_of_billing_with_a_word(self, customer) -> None:
        asked = requests.ask_for_item(customer, text="A trunk", on=NEW_YEAR, by="marcus@harbour.example")
        staff = Client()
        user = factories.make_user(is_staff=True)
        user.groups.add(factories.role("billing"))
        staff.force_login(user)
        assert "A trunk" in staff.get(reverse("admin:item_requests")).content.decode()
        url = reverse("admin:item_request_decline", args=[asked.pk])
        once = staff.get(url).context["form"]["once"].value()
        sent = {"once": once, "reason": "No lines left."}
        assert staff.post(url, sent).status_code == 302
        assert staff.post(url, sent).status_code == 302  # the same form, twice
        asked.refresh_from_db()
        assert (asked.state, asked.answer) == ("declined", "No lines left.")

    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"kind": "gift"}, "item_request_kind_is_known"),
            ({"state": "lost", "decided_at": timezone.now(), "decided_by": "a"}, "item_request_state_is_known"),
            ({"text": ""}, "item_requests_say_what_and_who"),
            ({"kind": "end"}, "ends_are_asked_of_an_item"),
            ({"state": "done"}, "decided_item_requests_name_who_and_when"),
        ],
    )
    def test_keep_the_rules_of_the_database(self, customer, fields, rule: str) -> None:
        usual = {"kind": "new", "text": "A trunk", "on": NEW_YEAR, "asked_by": "m@harbour.example"}
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            ItemRequest.objects.create(customer=customer, **usual | fields)
