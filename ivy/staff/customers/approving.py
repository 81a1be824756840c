"""Credits that wait for a second person: the list, and deciding about one."""

from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property

from billing import corrections
from billing.admin.base import money
from billing.corrections import NotCorrectable
from billing.models import Customer
from ivy import giving
from ivy.accounts.models import User
from ivy.consequences import consequences
from ivy.giving import NotDecidable
from ivy.models import CreditKind, CreditRequest, CreditState
from ivy.staff.acts import Refused, act
from ivy.staff.customers.page import CustomerActPage, refused
from ivy.staff.pages import ActForm, Done, Preview, StaffPage

SHOWN = 100


class WaitingCredits(StaffPage):
    permission = "ivy.view_creditrequest"
    title = "Waiting credits"
    template_name = "admin/staff/customers/credits.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = CreditRequest.objects.select_related("customer__balance_row", "asked_by", "decided_by")
        waiting = list(rows.filter(state=CreditState.WAITING).order_by("pk")[: SHOWN + 1])
        return self.page(
            waiting=waiting[:SHOWN],
            is_cut=len(waiting) > SHOWN,
            decided=list(rows.exclude(state=CreditState.WAITING).order_by("-pk")[:10]),
            may_approve=request.user.has_perm("billing.approve_credit"),
        )


class DecidingPage(CustomerActPage):
    """Something decided about the request whose id stands in the address."""

    state: ClassVar[CreditState]
    verb: ClassVar[str]
    has_preview = False

    @cached_property
    def credit(self) -> CreditRequest:
        found = CreditRequest.objects.select_related("asked_by", "decided_by").filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise Http404("There is no such request.")
        return found

    @cached_property
    def customer(self) -> Customer:
        return Customer.objects.select_related("partner", "balance_row").get(pk=self.credit.customer_id)

    @property
    def user(self) -> User:
        assert isinstance(self.request.user, User)
        return self.request.user

    def about(self) -> dict[str, Any]:
        asked, about = self.credit, super().about()
        amount = money(asked.amount, asked.currency)
        about["back"] = reverse("admin:money_credits")
        asker, at = asked.asked_by.get_username(), f"{asked.asked_at:%Y-%m-%d %H:%M} UTC"
        about["sentences"] += [
            f"{asker} asked at {at} for a {asked.kind} of {amount}, “{asked.reference}”.",
            f"Reason: {asked.reason}",
        ]
        return about

    def why_not(self) -> str:
        """Why this person can't decide so, in a sentence; empty: they can."""
        asked = self.credit
        if asked.state != CreditState.WAITING:
            decider = asked.decided_by.get_username() if asked.decided_by else "Somebody"
            return f"{decider} has {asked.state} it already, at {asked.decided_at:%Y-%m-%d %H:%M} UTC."
        is_own = asked.asked_by_id == self.user.pk
        if self.state == CreditState.WITHDRAWN:
            return "" if is_own else f"Only {asked.asked_by.get_username()}, who asked for it, can withdraw it."
        return "You asked for it yourself: another person decides about it. You can withdraw it." if is_own else ""

    def decide(self, reason: str) -> CreditRequest:
        raise NotImplementedError

    def do(self, form: ActForm) -> Done:
        reason = form.cleaned_data["reason"]
        asked = self.credit
        with act(
            by=self.by,
            verb=self.verb,
            noun="customer",
            name=self.customer.account,
            reason=reason,
            once=form.cleaned_data["once"],
        ) as doing:
            doing.before = {"state": asked.state, "asked_by": asked.asked_by.get_username()}
            try:
                decided = self.decide(reason)
            except (NotDecidable, NotCorrectable) as refusal:
                raise Refused(str(refusal)) from refusal
            doing.after = {"state": decided.state, "entry": decided.entry_key}
            amount = money(decided.amount, decided.currency)
            doing.summary = (
                f"The {decided.kind} of {amount} for {self.customer.account} that {asked.asked_by.get_username()} asked"
                f" for was {decided.state}."
            )
        return Done(doing.summary, reverse("admin:money_credits"))


class Approve(DecidingPage):
    permission = "billing.approve_credit"
    title = "Approve a credit"
    button = "Approve and post it"
    verb = "approve credit"
    has_preview = True
    state = CreditState.APPROVED

    def preview(self, form: ActForm) -> Preview:
        if why_not := self.why_not():
            return refused(why_not)
        asked = self.credit
        post = corrections.give_credit if asked.kind == CreditKind.CREDIT else corrections.adjust
        now = timezone.now()
        try:
            found = consequences(
                self.customer,
                lambda: post(
                    self.customer.account, asked.amount, reference=asked.reference, reason="to see", by=self.by, at=now
                ),
                at=now,
            )
        except NotCorrectable as refusal:
            return refused(f"{refusal} Decline it.")
        return Preview(
            world=found.world,
            context=self.shown(found, amount=asked.amount),
            template_name="admin/staff/customers/consequences.html",
        )

    def decide(self, reason: str) -> CreditRequest:
        return giving.approve(self.credit.pk, by=self.user, reason=reason, at=timezone.now())


class Decline(DecidingPage):
    permission = "billing.approve_credit"
    title = "Decline a credit"
    button = "Decline it"
    verb = "decline credit"
    state = CreditState.DECLINED
    is_dangerous = True

    def decide(self, reason: str) -> CreditRequest:
        return giving.decline(self.credit.pk, by=self.user, reason=reason)


class Withdraw(DecidingPage):
    permission = "ivy.view_creditrequest"
    title = "Withdraw a credit"
    button = "Withdraw it"
    verb = "withdraw credit"
    state = CreditState.WITHDRAWN

    def decide(self, reason: str) -> CreditRequest:
        return giving.withdraw(self.credit.pk, by=self.user, reason=reason)
