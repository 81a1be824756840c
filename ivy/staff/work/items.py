"""Items: what each will charge next, told before it is saved, and the changes that may be made while one runs."""

from datetime import date
from typing import Any, ClassVar

from django import forms
from django.db import DataError, IntegrityError, models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from billing import item_changes
from billing.admin.items import ItemForm
from billing.admin.refusals import refusal_of
from billing.amounts import money
from billing.item_changes import Change, ItemNotChangeable
from billing.items import NOT_CHARGEABLE, Charge
from billing.models import BillingItem, Customer
from billing.upcoming import next_charges
from ivy.staff.acts import Refused, act
from ivy.staff.pages import ActForm, ActPage, Done, NoReasonForm, Preview, StaffPage
from ivy.staff.work.fields import AmountField, DayField, account_field

ITEMS_A_PAGE = 50
CHARGES_SHOWN = 12
FIELDS = (
    "reference",
    "description",
    "kind",
    "amount",
    "quantity",
    "interval",
    "interval_count",
    "bill_cycle_day",
    "timing",
    "proration",
    "starts_on",
    "ends_on",
)
MAY_CHANGE_ONCE_CHARGED = ("description", "quantity")


def item_of(reference: str) -> BillingItem:
    """Raises Http404."""
    found = BillingItem.objects.select_related("customer__partner").filter(reference=reference).first()
    if found is None:
        raise Http404("There is no item of this reference.")
    return found


class ItemsPage(StaffPage):
    """Items, found by reference or account, the next due first where nothing is asked for."""

    permission = "billing.view_billingitem"
    title = "Items"
    template_name = "admin/staff/work/items.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        asked = request.GET.get("q", "").strip() or request.GET.get("account", "").strip()
        items = BillingItem.objects.select_related("customer")
        if asked:
            # one look at each index: an account, a reference
            customer = Customer.objects.filter(account=asked).first()
            found = items.filter(customer=customer) if customer else items.filter(reference__startswith=asked)
            shown = list(found.order_by("reference")[: ITEMS_A_PAGE + 1])
        else:
            customer = None
            shown = list(items.filter(next_due_on__isnull=False).order_by("next_due_on")[: ITEMS_A_PAGE + 1])
        return self.page(
            asked=asked,
            customer=customer,
            items=shown[:ITEMS_A_PAGE],
            is_more=len(shown) > ITEMS_A_PAGE,
            may_add=request.user.has_perm("billing.add_billingitem"),
        )


class ItemPage(StaffPage):
    """An item: what it is, what it charged, what it will charge, and what may be changed."""

    permission = "billing.view_billingitem"
    title = "Item"
    template_name = "admin/staff/work/item.html"

    def get(self, request: HttpRequest, reference: str) -> HttpResponse:
        item = item_of(reference)
        charges, problem = upcoming(item)
        return self.page(
            item=item,
            charges=charges,
            problem=problem,
            periods=item.periods.order_by("-start_on")[:CHARGES_SHOWN],
            amounts=item.price_changes.order_by("from_date"),
            pauses=item.pauses.order_by("starts_on"),
            may_change=request.user.has_perm("billing.change_billingitem"),
        )


def upcoming(item: BillingItem) -> tuple[list[Charge], str]:
    """The next charges, or why there can be none."""
    try:
        return next_charges(item, CHARGES_SHOWN), ""
    except NOT_CHARGEABLE as problem:
        return [], str(problem)


def figures(charges: list[Charge]) -> list[Any]:
    """Charges as the fingerprint of a preview takes them."""
    return [(charge.period.start, charge.period.end, charge.amount) for charge in charges]


def state_of(item: BillingItem) -> dict[str, Any]:
    """How an item is, for a history and for noticing that somebody changed it meanwhile."""
    return {name: str(getattr(item, name)) for name in (*FIELDS, "charged_through")}


def _form_field(column: models.Field, **asked: Any) -> forms.Field | None:
    """The columns of an item as fields of the control room."""
    if isinstance(column, models.DecimalField):
        return AmountField(
            label=capfirst(column.verbose_name),
            help_text=column.help_text,
            initial=asked.get("initial", column.get_default()),
        )
    if isinstance(column, models.DateField):
        return DayField(label=capfirst(column.verbose_name), help_text=column.help_text, required=not column.blank)
    widget = UnfoldAdminIntegerFieldWidget if isinstance(column, models.IntegerField) else UnfoldAdminTextInputWidget
    return column.formfield(widget=UnfoldAdminSelectWidget if column.choices else widget, **asked)


class ItemActForm(ItemForm, NoReasonForm):
    """All that an item is; what the database refuses arrives at the field that is to blame."""

    account = account_field(label="Customer's account")

    class Meta:
        model = BillingItem
        fields = FIELDS
        formfield_callback = _form_field

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields(["account", *FIELDS])
        self.fields["interval"].help_text = "Of recurring items; empty for one that is charged once."
        self.fields["bill_cycle_day"].help_text = "1 to 31. Empty: the day of its start. Months, quarters, years only."
        if self.instance.pk is not None:
            self.fields["account"].initial = self.instance.customer.account
        if self.instance.charged_through is not None:
            for name in ("account", *FIELDS):
                if name not in MAY_CHANGE_ONCE_CHARGED:
                    self.fields[name].disabled = True
                    self.fields[name].help_text = "Fixed, since the item was charged already."
            for name in ("amount", "ends_on"):
                self.fields[name].help_text = "Changed from its page, from a day on."

    def clean_account(self) -> Customer:
        customer: Customer = self.cleaned_data["account"]
        self.instance.customer = customer
        return customer


class SaveItemPage(ActPage):
    """An item as it would be, with its next charges, before it is saved."""

    has_preview = True
    template_name = "admin/staff/work/item_form.html"
    button = "Save the item"

    @property
    def item(self) -> BillingItem:
        """The item that the form is about: fresh, so that the form's work does not stay in it."""
        raise NotImplementedError

    def form(self, sent: Any = None) -> ActForm:
        asked = {name: value for name, value in self.request.GET.items() if name in {"account", *FIELDS}}
        return ItemActForm(sent, instance=self.item, initial=asked)

    def preview(self, form: Any) -> Preview:
        """Save it, ask for its charges, and take it back."""
        item: BillingItem = form.instance
        before, known = state_of(item_of(item.reference)) if item.pk else {}, item.pk
        charges: list[Charge] = []
        problem = ""
        with transaction.atomic():
            try:
                with transaction.atomic():
                    item.save()
                charges, problem = upcoming(item)
            except (IntegrityError, DataError) as error:
                refusal = refusal_of(error)
                problem = refusal.sentence
                form.add_error(refusal.field if refusal.field in form.fields else None, problem)
            transaction.set_rollback(True)
        item.pk = known
        context = {"charges": charges, "currency": item.customer.currency, "problem": problem, "item": item}
        return Preview([before, problem, figures(charges)], context, "admin/staff/work/charges_preview.html")

    def do(self, form: Any) -> Done:
        item: BillingItem = form.instance
        is_new = item.pk is None
        before = {} if is_new else state_of(item_of(item.reference))
        try:
            with act(
                by=self.by,
                verb="add item" if is_new else "change item",
                noun="item",
                name=item.reference,
                once=form.cleaned_data["once"],
            ) as doing:
                if is_new:
                    item.save()
                else:
                    changed = [name for name in form.changed_data if name in FIELDS]
                    item.save(update_fields=[*changed, *(["customer"] if "account" in form.changed_data else [])])
                doing.before, doing.after = before, state_of(item)
                doing.summary = f"The item {item.reference} of account {item.customer.account} was saved."
        except (IntegrityError, DataError) as error:
            raise Refused(refusal_of(error).sentence) from error
        return Done(doing.summary, reverse("admin:work_item", args=[item.reference]))


class AddItemPage(SaveItemPage):
    permission = "billing.add_billingitem"
    title = "Add an item"

    @property
    def item(self) -> BillingItem:
        return BillingItem()

    def about(self) -> dict[str, Any]:
        return {"back": reverse("admin:work_items")}


class EditItemPage(SaveItemPage):
    permission = "billing.change_billingitem"
    title = "Edit an item"

    @property
    def item(self) -> BillingItem:
        return item_of(self.kwargs["reference"])

    def about(self) -> dict[str, Any]:
        reference = self.kwargs["reference"]
        return {"subject": f"Item {reference}", "back": reverse("admin:work_item", args=[reference])}


# Changes while it runs ----------------------------------------------------------------------------------------------


class ChangePage(ActPage):
    """A change of an item that may have been charged, by its verb; what it would bring is shown before."""

    permission = "billing.change_billingitem"
    has_preview = True
    verb: ClassVar[str]

    @cached_property
    def item(self) -> BillingItem:
        return item_of(self.kwargs["reference"])

    def about(self) -> dict[str, Any]:
        item = self.item
        through = f"charged through {item.charged_through}" if item.charged_through else "not charged yet"
        whose = f"Of {item.customer.name}, account {item.customer.account}"
        amount = money(item.amount, item.customer.currency)
        return {
            "subject": f"Item {item.reference}: {item.description}",
            "sentences": [f"{whose}; {amount}, {through}. Days are the customer's ({item.customer.timezone})."],
            "back": reverse("admin:work_item", args=[item.reference]),
        }

    def change(self, said: dict[str, Any]) -> Change:
        """The verb. Raises ItemNotChangeable."""
        raise NotImplementedError

    def preview(self, form: ActForm) -> Preview:
        """Do it, ask for the next charges, and take it back."""
        before, _ = upcoming(self.item)
        charges: list[Charge] = []
        problem, change = "", None
        with transaction.atomic():
            try:
                with transaction.atomic():
                    change = self.change(form.cleaned_data)
                    charges, problem = upcoming(item_of(self.item.reference))
            except ItemNotChangeable as refused:
                problem = str(refused)
                form.add_error(None, problem)
            except (IntegrityError, DataError) as error:
                problem = refusal_of(error).sentence
                form.add_error(None, problem)
            transaction.set_rollback(True)
        credit = change.credit if change else None
        context = {
            "charges": charges,
            "before": before,
            "change": change,
            "credit": credit,
            "is_later": change is not None and change.holds_from > form.cleaned_data.get("from_date", date.max),
            "currency": self.item.customer.currency,
            "problem": problem,
        }
        world = [state_of(self.item), figures(before), figures(charges), credit.amount if credit else None, problem]
        return Preview(world, context, "admin/staff/work/charges_preview.html")

    def do(self, form: ActForm) -> Done:
        said = form.cleaned_data
        try:
            with act(
                by=self.by,
                verb=self.verb,
                noun="item",
                name=self.item.reference,
                reason=said["reason"],
                once=said["once"],
            ) as doing:
                doing.before = state_of(self.item)
                change = self.change(said)
                doing.after = {**state_of(item_of(self.item.reference)), "holds_from": str(change.holds_from)}
                doing.summary = f"Item {self.item.reference}: {self.in_words(said, change)}"
                if change.credit is not None:
                    doing.after["credit"] = {"key": change.credit.key, "amount": str(change.credit.amount)}
                    doing.summary += f" {money(change.credit.amount, change.credit.currency)} are given back."
        except ItemNotChangeable as refused:
            raise Refused(str(refused)) from refused
        except (IntegrityError, DataError) as error:
            raise Refused(refusal_of(error).sentence) from error
        return Done(doing.summary, self.back())

    def in_words(self, said: dict[str, Any], change: Change) -> str:
        raise NotImplementedError


class AmountForm(ActForm):
    amount = AmountField(label="New amount", help_text="For a whole period and one piece; negative: a credit.")
    from_date = DayField(label="From", help_text="Periods that begin on this day or later cost it.")


class ChangeAmountPage(ChangePage):
    title = "Change the amount of an item"
    button = "Change the amount"
    form_class = AmountForm
    verb = "change amount"

    def change(self, said: dict[str, Any]) -> Change:
        return item_changes.change_amount(self.item.reference, said["amount"], from_date=said["from_date"], by=self.by)

    def in_words(self, said: dict[str, Any], change: Change) -> str:
        amount = money(said["amount"], self.item.customer.currency)
        return f"it costs {amount} {'from' if change.changed else 'already from'} {change.holds_from}."


class FromForm(ActForm):
    from_date = DayField(label="From")


class PausePage(ChangePage):
    title = "Pause an item"
    button = "Pause it"
    form_class = FromForm
    verb = "pause item"

    def change(self, said: dict[str, Any]) -> Change:
        return item_changes.pause(self.item.reference, from_date=said["from_date"], by=self.by)

    def in_words(self, said: dict[str, Any], change: Change) -> str:
        return f"it is paused from {change.holds_from}, until it is resumed."


class ResumePage(ChangePage):
    title = "Resume an item"
    button = "Resume it"
    form_class = FromForm
    verb = "resume item"

    def change(self, said: dict[str, Any]) -> Change:
        return item_changes.resume(self.item.reference, from_date=said["from_date"], by=self.by)

    def in_words(self, said: dict[str, Any], change: Change) -> str:
        return f"it is charged again from {change.holds_from}." if change.changed else "it was not paused then."


class EndForm(ActForm):
    on = DayField(label="Ends on", help_text="The first day that is not charged any more.")
    with_credit = forms.BooleanField(
        label="Give back what was charged beyond",
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="What was charged, less what it would have cost until the end.",
    )


class EndPage(ChangePage):
    title = "End an item"
    button = "End it"
    is_dangerous = True
    form_class = EndForm
    verb = "end item"

    def change(self, said: dict[str, Any]) -> Change:
        if said["with_credit"] and not self.request.user.has_perm("billing.give_credit"):
            raise ItemNotChangeable("To give something back needs the permission billing.give_credit.")
        return item_changes.end(self.item.reference, on=said["on"], by=self.by, with_credit=said["with_credit"])

    def in_words(self, said: dict[str, Any], change: Change) -> str:
        return f"it ends on {change.holds_from}, the first day that is not charged."
