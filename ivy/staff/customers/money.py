"""Money: payments, refunds, credits, adjustments, reversals, and the page that explains an entry.

Each shows the balance before and after, and what would follow, before it is done; each is done once.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing import corrections
from billing.admin.base import AmountField, money
from billing.corrections import Correction, NotCorrectable
from billing.explain import UnknownKey, explain
from billing.models import CHARGE_KINDS, Customer, CustomerBalance, EntryKind, LedgerEntry
from billing.payments import take_payment
from billing.periods import currency_digits
from ivy import giving
from ivy.consequences import consequences
from ivy.models import CreditKind
from ivy.staff.acts import Refused, act
from ivy.staff.customers import links
from ivy.staff.customers.page import CustomerActPage, refused
from ivy.staff.pages import ActForm, Done, Preview, StaffPage

CONSEQUENCES = "admin/staff/customers/consequences.html"


class MoneyForm(ActForm):
    amount = AmountField(label="Amount", max_digits=18, decimal_places=6, widget=UnfoldAdminDecimalFieldWidget)
    reference = forms.CharField(
        label="Reference",
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Your name for it, such as a ticket's number: the same one again is not posted twice.",
    )

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if amount <= 0:
            raise forms.ValidationError("Write an amount above zero.")
        return amount

    def clean_reference(self) -> str:
        reference: str = self.cleaned_data["reference"]
        return reference.strip()


class PaymentForm(MoneyForm):
    source = forms.SlugField(
        label="Source",
        initial="staff",
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        help_text="Whose reference it is, in one word: bank, till, staff. A source and a reference name one payment.",
    )
    received_on = forms.DateField(
        label="Received on",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="A day of the customer's. Empty: now.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["amount", "source", "reference", "received_on", "reason"])


@dataclass(frozen=True)
class Posted:
    """What came of it: an entry, or (`waits`) a request for a second person."""

    entry: LedgerEntry | None
    waits: bool = False


class MoneyPage(CustomerActPage):
    """Posts one entry for the customer in the address. `post` is tried and taken back for the preview."""

    form_class = MoneyForm
    verb: ClassVar[str]
    counts_minor_units: ClassVar[bool] = True
    """Whether the amount is real money, which has no smaller part than the currency's."""

    def post_entry(self, form: ActForm, *, at: datetime) -> Correction:
        raise NotImplementedError

    def give(self, form: ActForm, *, at: datetime) -> Posted:
        """Post it for good, or ask a second person where that is due. Raises NotCorrectable."""
        posted = self.post_entry(form, at=at)
        if not posted.changed:
            raise NotCorrectable(_was_posted(posted.entry))
        return Posted(posted.entry)

    def waits_for_approval(self, form: ActForm) -> bool:
        return False

    def preview(self, form: ActForm) -> Preview:
        self._refuse_parts(form)
        now = timezone.now()
        posted: list[Correction] = []
        try:
            found = consequences(self.customer, lambda: posted.append(self.post_entry(form, at=now)), at=now)
        except NotCorrectable as refusal:
            raise Refused(str(refusal)) from refusal
        if not posted[0].changed:
            raise Refused(_was_posted(posted[0].entry))
        waits = self.waits_for_approval(form)
        said = {name: str(value) for name, value in form.cleaned_data.items() if name not in {"once", "seen", "reason"}}
        return Preview(
            world={"form": said, "waits": waits, **found.world},
            context=self.shown(
                found,
                waits_for_approval=waits,
                limit=giving.limit_of(self.customer.currency),
                amount=posted[0].entry.amount,
            ),
            template_name=CONSEQUENCES,
        )

    def do(self, form: ActForm) -> Done:
        customer, reason = self.customer, form.cleaned_data["reason"]
        with act(
            by=self.by,
            verb=self.verb,
            noun="customer",
            name=customer.account,
            reason=reason,
            once=form.cleaned_data["once"],
        ) as doing:
            corrections.lock_balance(customer.pk)
            doing.before = {"balance": _balance(customer)}
            try:
                posted = self.give(form, at=timezone.now())
            except NotCorrectable as refusal:
                raise Refused(str(refusal)) from refusal
            doing.after = {"balance": _balance(customer)}
            if posted.entry is not None:
                doing.after["entry"] = posted.entry.key
                doing.summary = _what_was_posted(posted.entry, customer)
            else:
                amount = money(form.cleaned_data["amount"], customer.currency)
                doing.summary = (
                    f"{self.title} {amount} to {customer.account}: waits for the approval of another person."
                )
        return Done(
            doing.summary, links.customer(customer.account), messages.INFO if posted.waits else messages.SUCCESS
        )

    def _refuse_parts(self, form: ActForm) -> None:
        digits = currency_digits(self.customer.currency)
        amount = form.cleaned_data["amount"]
        if self.counts_minor_units and amount != round(amount, digits):
            raise Refused(f"{self.customer.currency} has {digits} decimals: {amount.normalize():f} can't be paid.")


class TakePayment(MoneyPage):
    permission = "billing.take_payment"
    title = "Take a payment"
    form_class = PaymentForm
    button = "Take the payment"
    verb = "take payment"

    sign: ClassVar[int] = 1

    def post_entry(self, form: ActForm, *, at: datetime) -> Correction:
        said = form.cleaned_data
        return take_payment(
            self.customer.account,
            self.sign * said["amount"],
            source=said["source"],
            reference=said["reference"],
            received=said["received_on"],
            reason=said["reason"],
            by=self.by,
            at=at,
        )


class GiveRefund(TakePayment):
    title = "Give a refund"
    button = "Give the refund"
    verb = "give refund"
    is_dangerous = True
    sign = -1

    def about(self) -> dict[str, Any]:
        about = super().about()
        about["sentences"].append("The amount that went back to the customer is taken off the balance.")
        return about


class GivingPage(MoneyPage):
    """What is given away, and needs a second person above a limit."""

    kind: ClassVar[CreditKind]

    def signed(self, form: ActForm) -> Decimal:
        amount: Decimal = form.cleaned_data["amount"]
        return amount

    def waits_for_approval(self, form: ActForm) -> bool:
        return giving.needs_approval(self.customer, self.signed(form), self.by)

    def give(self, form: ActForm, *, at: datetime) -> Posted:
        given = giving.give(
            self.customer,
            self.signed(form),
            kind=self.kind,
            reference=form.cleaned_data["reference"],
            reason=form.cleaned_data["reason"],
            by=self.request.user,  # type: ignore[arg-type]
            at=at,
        )
        if given.correction is None:
            return Posted(None, waits=True)
        if not given.correction.changed:
            raise NotCorrectable(_was_posted(given.correction.entry))
        return Posted(given.correction.entry)

    def about(self) -> dict[str, Any]:
        about = super().about()
        limit = money(giving.limit_of(self.customer.currency), self.customer.currency)
        about["sentences"].append(f"Above {limit} a day for one customer, another person has to approve it.")
        return about


class GiveCredit(GivingPage):
    permission = "billing.give_credit"
    title = "Give credit"
    button = "Give the credit"
    verb = "give credit"
    kind = CreditKind.CREDIT

    def post_entry(self, form: ActForm, *, at: datetime) -> Correction:
        said = form.cleaned_data
        return corrections.give_credit(
            self.customer.account,
            said["amount"],
            reference=said["reference"],
            reason=said["reason"],
            by=self.by,
            at=at,
        )


class AdjustForm(MoneyForm):
    amount = AmountField(
        label="Amount",
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text="5.00 is in the customer's favour, -5.00 is owed by the customer.",
    )

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError("An adjustment has an amount other than zero.")
        return amount


class Adjust(GivingPage):
    permission = "billing.adjust_balance"
    title = "Adjust the balance"
    form_class = AdjustForm
    button = "Adjust the balance"
    verb = "adjust"
    kind = CreditKind.ADJUSTMENT
    counts_minor_units = False

    def post_entry(self, form: ActForm, *, at: datetime) -> Correction:
        said = form.cleaned_data
        return corrections.adjust(
            self.customer.account,
            said["amount"],
            reference=said["reference"],
            reason=said["reason"],
            by=self.by,
            at=at,
        )


class Reverse(CustomerActPage):
    """Takes the entry back whose key stands in the address, `?key=`."""

    permission = "billing.reverse_entry"
    title = "Reverse an entry"
    button = "Reverse the entry"
    is_dangerous = True

    @cached_property
    def entry(self) -> LedgerEntry:
        key = self.request.GET.get("key", "")
        found = LedgerEntry.objects.filter(key=key).first()
        if found is None:
            raise Http404(f"There is no ledger entry “{key}”.")
        return found

    @cached_property
    def customer(self) -> Customer:
        return Customer.objects.select_related("partner", "balance_row").get(pk=self.entry.customer_id)

    def form(self, sent: Any = None) -> ActForm:
        return self.form_class(sent)  # the key in the address is no field

    def about(self) -> dict[str, Any]:
        about = super().about()
        entry = self.entry
        after = self.customer.balance_row.balance - entry.amount
        about["sentences"] += [
            f"{entry.get_kind_display()} of {money(entry.amount, entry.currency)}: {entry.description or entry.key}.",
            "Its opposite is posted beside it, and the entry stays.",
            f"The balance is {money(after, entry.currency)} then.",
        ]
        if entry.kind in CHARGE_KINDS:
            about["sentences"].append(
                "What was charged by it is not charged again, by no run: a reversal for goodwill stays one."
            )
        return about

    def why_not(self) -> str:
        if self.entry.kind == EntryKind.REVERSAL:
            return f"“{self.entry.key}” is a reversal, and stays: post what is owed after all by an adjustment."
        done = LedgerEntry.objects.filter(reverses=self.entry.key).first()
        if done is None:
            return ""
        return f"It was reversed already, by {done.entered_by}, at {done.posted_at:%Y-%m-%d %H:%M} UTC."

    def preview(self, form: ActForm) -> Preview:
        if why_not := self.why_not():
            return refused(why_not)
        posted: list[Correction] = []
        try:
            found = consequences(
                self.customer,
                lambda: posted.append(corrections.reverse(self.entry.key, reason="to see", by=self.by)),
                at=timezone.now(),
            )
        except NotCorrectable as refusal:
            return refused(str(refusal))
        return Preview(
            world=found.world,
            context=self.shown(found, amount=posted[0].entry.amount),
            template_name=CONSEQUENCES,
        )

    def do(self, form: ActForm) -> Done:
        customer = self.customer
        with act(
            by=self.by,
            verb="reverse",
            noun="customer",
            name=customer.account,
            reason=form.cleaned_data["reason"],
            once=form.cleaned_data["once"],
        ) as doing:
            corrections.lock_balance(customer.pk)
            doing.before = {"balance": _balance(customer), "entry": self.entry.key}
            try:
                posted = corrections.reverse(self.entry.key, reason=form.cleaned_data["reason"], by=self.by)
            except NotCorrectable as refusal:
                raise Refused(str(refusal)) from refusal
            if not posted.changed:
                raise Refused(_was_posted(posted.entry))
            doing.after = {"balance": _balance(customer), "entry": posted.entry.key}
            doing.summary = f"{self.entry.key} was reversed: {_what_was_posted(posted.entry, customer)}"
        return Done(doing.summary, links.customer(customer.account))


class Explain(StaffPage):
    """How the entry, the free call or the call in quarantine with the key in the address came about."""

    permission = "billing.view_ledgerentry"
    title = "How this came about"
    template_name = "admin/staff/customers/explain.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        key = request.GET.get("key", "").strip()
        searched = request.GET.get("searched", "")
        try:
            explanation = explain(key)
        except UnknownKey as unknown:
            response = self.page(key=key, problem=str(unknown), searched=searched)
            response.status_code = 404
            return response
        entry = LedgerEntry.objects.filter(key=key).first()
        customer = Customer.objects.filter(pk=entry.customer_id).first() if entry else None
        is_reversed = entry is not None and LedgerEntry.objects.filter(reverses=key).exists()
        return self.page(
            key=key,
            explanation=explanation,
            entry=entry,
            customer=customer,
            searched=searched,
            may_reverse=entry is not None
            and entry.kind != EntryKind.REVERSAL
            and not is_reversed
            and request.user.has_perm("billing.reverse_entry"),
        )


def _balance(customer: Customer) -> str:
    balance = CustomerBalance.objects.values_list("balance", flat=True).get(customer=customer)
    return money(balance, customer.currency)


def _was_posted(entry: LedgerEntry) -> str:
    at = f"{entry.posted_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"“{entry.key}” was posted already, at {at}: {money(entry.amount, entry.currency)}. Nothing was posted twice."
    )


def _what_was_posted(entry: LedgerEntry, customer: Customer) -> str:
    what = entry.get_kind_display()
    balance = _balance(customer)
    return f"{what} of {money(entry.amount, entry.currency)} for {customer.account}. The balance is {balance} now."
