"""Credits above the limit: asked for by one, decided by another, posted once."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from django.utils import timezone

from billing.corrections import NotCorrectable
from billing.models import Customer, CustomerBalance, LedgerEntry
from ivy import giving
from ivy.accounts.models import User
from ivy.giving import NotDecidable
from ivy.models import AuditEntry, CreditKind, CreditLimit, CreditRequest
from tests.billing.at_once import at_once
from tests.factories import make_customer
from tests.staff.forms import browser_of, filled_in, member, shown_and_done, text_of

ASKED = {"amount": "150", "reference": "T-9", "reason": "A week without telephone."}


@pytest.fixture(autouse=True)
def no_lockout(settings: Any) -> None:
    settings.AXES_ENABLED = False


def balance_of(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


def give(customer: Customer, amount: str, by: User, **fields: Any) -> giving.Given:
    defaults: dict[str, Any] = {
        "kind": CreditKind.CREDIT, "reference": "T-9", "reason": "Line down.", "at": timezone.now(),
    }  # fmt: skip
    return giving.give(customer, Decimal(amount), by=by, **defaults | fields)


def ask(customer: Customer, by: User, amount: str = "150", **fields: Any) -> CreditRequest:
    request = give(customer, amount, by, **fields).request
    assert request is not None
    return request


def decide(name: str, request: CreditRequest) -> str:
    return reverse(f"admin:money_credit_{name}", args=[request.pk])


@pytest.mark.django_db
class TestACreditAboveTheLimit:
    def test_is_not_posted_but_waits(self) -> None:
        customer, bill = make_customer(account="A-1"), member("billing", email="bill@ivy.example")
        browser = browser_of(bill)
        url = reverse("admin:money_credit", args=["A-1"])
        shown = browser.post(url, filled_in(browser.get(url), **ASKED))
        assert "Not posted yet: this is above 100.00 GBP a day" in text_of(shown)
        answer = browser.post(url, filled_in(shown), follow=True)
        assert "waits for the approval of another person" in text_of(answer)
        assert "asked for by bill@ivy.example" in text_of(answer)
        assert (balance_of(customer), giving.credits_waiting()) == (0, 1)
        assert AuditEntry.objects.get().after == {"balance": "0.00 GBP"}

    def test_is_posted_once_another_person_approves_it(self) -> None:
        customer = make_customer(account="A-1")
        request = ask(customer, member("billing", email="bill@ivy.example"))
        browser = browser_of(member("admin", email="ada@ivy.example"))
        url = decide("approve", request)
        shown = browser.post(url, filled_in(browser.get(url), reason="Seen the fault report."))
        assert "Balance after 150.00 GBP" in text_of(shown)
        form = filled_in(shown)
        assert browser.post(url, form).status_code == 302
        again = browser.post(url, form, follow=True)
        assert "This was done already" in text_of(again)
        entry = LedgerEntry.objects.get()
        assert (entry.key, entry.amount, entry.entered_by) == ("credit:staff:A-1:T-9", 150, "bill@ivy.example")
        assert "approved by ada@ivy.example" in entry.reason
        request.refresh_from_db()
        assert (request.state, request.entry_key) == ("approved", entry.key)
        assert giving.credits_waiting() == 0

    @pytest.mark.parametrize("superuser", [False, True])
    def test_is_approved_by_nobody_who_asked_for_it(self, superuser: bool) -> None:
        customer = make_customer()
        asker = member("" if superuser else "admin", superuser=superuser)
        request, browser = ask(customer, asker), browser_of(asker)
        for name in ("approve", "decline"):
            url = decide(name, request)
            shown = browser.get(url)
            assert "another person decides about it" in text_of(shown)
            browser.post(url, {**filled_in(shown), "reason": "I say so."})
        with pytest.raises(NotDecidable):
            giving.approve(request.pk, by=asker, reason="I say so.", at=timezone.now())
        with pytest.raises(IntegrityError, match="credits_are_decided_by_another_person"), transaction.atomic():
            CreditRequest.objects.filter(pk=request.pk).update(
                state="approved", decided_by=asker, decided_at=timezone.now(), entry_key="x"
            )
        assert balance_of(customer) == 0

    def test_may_be_declined_by_another_and_withdrawn_by_whoever_asked(self) -> None:
        customer, bill, ada = make_customer(), member("billing"), member("admin")
        first, second = ask(customer, bill, reference="one"), ask(customer, bill, reference="two")
        for user, name, request in ((ada, "decline", first), (bill, "withdraw", second)):
            url, browser = decide(name, request), browser_of(user)
            assert browser.post(url, filled_in(browser.get(url), reason="No.")).status_code == 302
        states = CreditRequest.objects.order_by("pk").values_list("state", "decided_by")
        assert list(states) == [("declined", ada.pk), ("withdrawn", bill.pk)]
        with pytest.raises(NotDecidable, match="has declined it already"):
            giving.decline(first.pk, by=ada, reason="Again.")
        with pytest.raises(NotDecidable, match="Only"):
            giving.withdraw(ask(customer, bill, reference="three").pk, by=ada, reason="Not mine.")

    def test_that_was_decided_meanwhile_says_by_whom(self) -> None:
        request, ada = ask(make_customer(), member("billing")), member("admin", email="ada@ivy.example")
        browser, url = browser_of(member("admin")), decide("approve", request)
        stale = filled_in(browser.get(url), reason="Fine.")
        giving.decline(request.pk, by=ada, reason="No.")
        assert "ada@ivy.example has declined it already" in text_of(browser.post(url, stale))

    def test_is_asked_for_once_a_reference(self) -> None:
        customer, bill = make_customer(), member("billing")
        ask(customer, bill)
        with pytest.raises(NotCorrectable, match="waits for approval already"):
            ask(customer, bill, amount="200")

    def test_whose_reference_was_posted_meanwhile_goes_on_waiting(self) -> None:
        customer, ada = make_customer(account="A-1"), member("admin")
        request = ask(customer, member("billing"), amount="101")
        CreditLimit.objects.create(currency="GBP", amount=1000)
        give(customer, "101", ada)
        with pytest.raises(NotCorrectable, match="posted already"):
            giving.approve(request.pk, by=ada, reason="Fine.", at=timezone.now())
        assert giving.credits_waiting() == 1

    def test_can_be_an_adjustment_and_only_one_in_favour_of_the_customer(self) -> None:
        customer, bill = make_customer(account="A-1"), member("billing")
        browser, url = browser_of(bill), reverse("admin:money_adjust", args=["A-1"])
        shown_and_done(browser, url, **ASKED)
        shown_and_done(browser, url, **{**ASKED, "amount": "-150", "reference": "T-10"})
        assert CreditRequest.objects.get().kind == "adjustment"
        assert balance_of(customer) == -150


@pytest.mark.django_db
class TestTheLimit:
    def test_is_a_hundred_units_unless_an_admin_says_otherwise(self) -> None:
        customer, bill = make_customer(), member("billing")
        assert not giving.needs_approval(customer, Decimal(100), bill.email)
        assert giving.needs_approval(customer, Decimal("100.01"), bill.email)
        admin = browser_of(member("admin", email="ada@ivy.example"))
        add = reverse("admin:ivy_creditlimit_add")
        assert admin.post(add, {"currency": "GBP", "amount": "20"}).status_code == 302
        assert giving.limit_of("GBP") == 20
        assert AuditEntry.objects.get().summary == "One person may give a customer up to 20.00 GBP a day."
        assert browser_of(bill).post(add, {"currency": "EUR", "amount": "9999"}).status_code == 403

    def test_counts_what_one_person_gave_one_customer_within_a_day(self) -> None:
        customer, bill = make_customer(), member("billing")
        give(customer, "60", bill, reference="one")
        assert giving.needs_approval(customer, Decimal("40.01"), bill.email)
        assert not giving.needs_approval(customer, Decimal(40), bill.email)
        assert not giving.needs_approval(customer, Decimal(100), "somebody.else@ivy.example")
        assert not giving.needs_approval(make_customer(), Decimal(100), bill.email)

    def test_does_not_count_what_was_approved(self) -> None:
        customer, bill = make_customer(), member("billing")
        giving.approve(ask(customer, bill).pk, by=member("admin"), reason="Fine.", at=timezone.now())
        assert not giving.needs_approval(customer, Decimal(100), bill.email)


@pytest.mark.django_db
class TestThePageOfWaitingCredits:
    def test_offers_each_what_they_may_do(self) -> None:
        bill, ada = member("billing"), member("admin")
        request = ask(make_customer(), bill)
        url = reverse("admin:money_credits")
        mine, theirs, looked_at = (text_of(browser_of(user).get(url)) for user in (bill, ada, member("support")))
        assert "Withdraw" in mine
        assert "Approve" not in mine
        assert "Approve" in theirs
        assert "an admin decides" in looked_at
        for name in ("approve", "decline"):
            assert browser_of(member("billing")).post(decide(name, request), {"reason": "x"}).status_code == 403

    def test_says_what_to_do_when_nothing_waits(self) -> None:
        assert "No credit waits." in text_of(browser_of(member("admin")).get(reverse("admin:money_credits")))

    def test_is_where_the_first_page_leads_while_one_waits(self) -> None:
        browser = browser_of(member("admin"))
        assert "for a second person" not in text_of(browser.get(reverse("admin:index")))
        ask(make_customer(), member("billing"))
        answer = browser.get(reverse("admin:index"))
        assert "1 credit waits for a second person" in text_of(answer)
        assert reverse("admin:money_credits") in answer.content.decode()

    def test_asks_as_many_questions_for_many_as_for_one(self, django_assert_max_num_queries: Any) -> None:
        bill, browser = member("billing"), browser_of(member("admin"))
        for _ in range(15):
            ask(make_customer(), bill)
        with django_assert_max_num_queries(12):
            assert browser.get(reverse("admin:money_credits")).status_code == 200


@pytest.mark.django_db
class TestTheRulesOfTheDatabase:
    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"state": "lost"}, "credit_state_is_known"),
            ({"kind": "gift"}, "credit_kind_is_known"),
            ({"amount": Decimal(-1)}, "requested_credits_are_in_favour_of_the_customer"),
            ({"reason": ""}, "requested_credits_have_a_reason_and_a_reference"),
            ({"entry_key": "x"}, "approved_credits_and_only_they_have_an_entry"),
            ({"state": "declined"}, "credits_are_decided_by_another_person"),
        ],
    )
    def test_refuse_what_makes_no_sense(self, fields: dict[str, Any], rule: str) -> None:
        values: dict[str, Any] = {
            "customer": make_customer(), "amount": Decimal(5), "currency": "GBP", "reference": "T-1", "reason": "x",
            "asked_by": member("billing"),
        }  # fmt: skip
        with pytest.raises(IntegrityError, match=rule), transaction.atomic():
            CreditRequest.objects.create(**values | fields)

    def test_keep_a_limit_from_being_negative_and_a_reference_from_waiting_twice(self) -> None:
        with pytest.raises(IntegrityError, match="limit_of_credits_is_not_negative"), transaction.atomic():
            CreditLimit.objects.create(currency="GBP", amount=-1)
        request = ask(make_customer(), member("billing"))
        request.pk = None
        with pytest.raises(IntegrityError, match="one_waiting_credit_a_reference"), transaction.atomic():
            request.save(force_insert=True)

    def test_keep_what_was_asked_and_what_was_decided(self) -> None:
        request = ask(make_customer(), member("billing"))
        rows = CreditRequest.objects.filter(pk=request.pk)
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            rows.update(amount=1)
        giving.decline(request.pk, by=member("admin"), reason="No.")
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            rows.update(decided_because="Yes.")
        for statement in ("DELETE FROM ivy_creditrequest", "UPDATE ivy_creditrequest SET state = 'waiting'"):
            with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_two_halves_given_at_once_count_together() -> None:
    customer, bill = make_customer(), member("", superuser=True)
    given = at_once(*(lambda name=name: give(customer, "60", bill, reference=name) for name in ("one", "two")))
    assert sorted(one.request is None for one in given) == [False, True]
    assert balance_of(customer) == 60
