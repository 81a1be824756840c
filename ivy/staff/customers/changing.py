"""Changing a customer: its status, its credit limit, its alerts. What would follow is told before."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import Http404
from django.utils import timezone
from django.utils.functional import cached_property
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from billing import alerts, customer_changes
from billing.admin.base import AmountField, money
from billing.alerts import AlertNotChangeable, Terms
from billing.customer_changes import CustomerNotChangeable
from billing.models import AlertKind, BalanceAlert, CustomerStatus
from ivy.consequences import consequences
from ivy.staff.acts import Refused, act
from ivy.staff.customers import links
from ivy.staff.customers.page import CustomerActPage
from ivy.staff.pages import ActForm, Done, Preview

NOT_CHANGEABLE = (AlertNotChangeable, CustomerNotChangeable)


class ChangingPage(CustomerActPage):
    """One change of a customer: `change` makes it, and is tried and taken back for the preview."""

    verb: ClassVar[str]
    done: ClassVar[str]

    def change(self, form: ActForm) -> bool:
        """Make the change; False if it is so already. Raises one of NOT_CHANGEABLE."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What is kept in the audit trail, as it is now."""
        raise NotImplementedError

    def sentences(self, form: ActForm) -> list[str]:
        """What follows by the rules, whatever the customer's figures are."""
        return []

    def preview(self, form: ActForm) -> Preview:
        changed: list[bool] = []
        try:
            found = consequences(self.customer, lambda: changed.append(self.change(form)), at=timezone.now())
        except NOT_CHANGEABLE as refusal:
            raise Refused(str(refusal)) from refusal
        if changed != [True]:
            raise Refused("It is so already: nothing would change.")
        return Preview(
            world={"form": _as_sent(form), **found.world},
            context=self.shown(found, sentences=self.sentences(form)),
            template_name="admin/staff/customers/consequences.html",
        )

    def do(self, form: ActForm) -> Done:
        account = self.customer.account
        with act(
            by=self.by,
            verb=self.verb,
            noun="customer",
            name=account,
            reason=form.cleaned_data["reason"],
            once=form.cleaned_data["once"],
        ) as doing:
            doing.before = self.state()
            try:
                changed = self.change(form)
            except NOT_CHANGEABLE as refusal:
                raise Refused(str(refusal)) from refusal
            if not changed:
                raise Refused("It is so already: nothing was changed.")
            doing.after = self.state()
            doing.summary = self.summary(form)
        return Done(doing.summary, links.customer(account))

    def summary(self, form: ActForm) -> str:
        return f"{self.done} {self.customer.account}."


def _as_sent(form: ActForm) -> dict[str, str]:
    return {name: str(value) for name, value in form.cleaned_data.items() if name not in {"once", "seen", "reason"}}


class StatusForm(ActForm):
    status = forms.ChoiceField(label="New status", choices=CustomerStatus.choices, widget=UnfoldAdminSelectWidget)


class ChangeStatus(ChangingPage):
    permission = "billing.change_customer"
    title = "Change the status"
    form_class = StatusForm
    button = "Change the status"
    is_dangerous = True
    verb = "change status"

    WHAT_FOLLOWS: ClassVar[dict[str, list[str]]] = {
        CustomerStatus.ACTIVE: [
            "Calls and items are charged, and mails go out.",
            "Items that ended when the account was closed stay ended: begin new ones where they are wanted.",
        ],
        CustomerStatus.SUSPENDED: [
            "Items go on being charged unless they are paused, and so do calls: Ivy blocks no call.",
            "No mails go to the customer until it is active again.",
        ],
        CustomerStatus.CLOSED: [
            "Its items end today, by the customer's date.",
            "What was charged in advance beyond is not given back by this: end those items with a credit first.",
            "Calls that begin from now on are not charged: they go to quarantine.",
            "Late records of earlier calls are still charged, and payments are still taken.",
            "No mails go to the customer any more.",
        ],
    }

    def about(self) -> dict[str, Any]:
        about = super().about()
        about["sentences"].append(f"Status now: {self.customer.status}.")
        return about

    def sentences(self, form: ActForm) -> list[str]:
        return self.WHAT_FOLLOWS[form.cleaned_data["status"]]

    def change(self, form: ActForm) -> bool:
        return customer_changes.change_status(self.customer.account, CustomerStatus(form.cleaned_data["status"]))

    def state(self) -> dict[str, Any]:
        return {"status": type(self.customer).objects.values_list("status", flat=True).get(pk=self.customer.pk)}

    def summary(self, form: ActForm) -> str:
        return f"{self.customer.account} is {form.cleaned_data['status']} now."


class LimitForm(ActForm):
    limit = AmountField(
        label="New credit limit",
        min_value=Decimal(0),
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="In the customer's currency; the built-in alert is at minus this.",
    )


class ChangeCreditLimit(ChangingPage):
    permission = "billing.change_customer"
    title = "Change the credit limit"
    form_class = LimitForm
    button = "Change the credit limit"
    verb = "change credit limit"

    def about(self) -> dict[str, Any]:
        about = super().about()
        about["sentences"].append(f"Credit limit now: {money(self.customer.credit_limit, self.customer.currency)}.")
        return about

    def sentences(self, form: ActForm) -> list[str]:
        return ["Ivy blocks no call: switches read the limit with the balances that are exported to them."]

    def change(self, form: ActForm) -> bool:
        return customer_changes.change_credit_limit(self.customer.account, form.cleaned_data["limit"])

    def state(self) -> dict[str, Any]:
        limit = type(self.customer).objects.values_list("credit_limit", flat=True).get(pk=self.customer.pk)
        return {"credit_limit": f"{limit.normalize():f}"}

    def summary(self, form: ActForm) -> str:
        limit = money(form.cleaned_data["limit"], self.customer.currency)
        return f"The credit limit of {self.customer.account} is {limit} now."


class AlertForm(ActForm):
    threshold = AmountField(
        label="Threshold",
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="The customer is mailed once when the balance falls below this, in its currency.",
    )
    rearm_margin = AmountField(
        label="Re-arm margin",
        required=False,
        min_value=Decimal(0),
        max_digits=18,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="How far above the threshold a fall that was told of is over. Empty: the larger of 5 % and one unit.",
    )
    remind_every_days = forms.IntegerField(
        label="Remind every … days",
        required=False,
        min_value=1,
        max_value=365,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="While the balance stays below. Empty: no reminders.",
    )
    remind_at_most = forms.IntegerField(
        label="Reminders at most",
        min_value=0,
        max_value=100,
        initial=3,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    tells_restored = forms.BooleanField(
        label="Mail once more when the balance has recovered", required=False, widget=UnfoldBooleanSwitchWidget
    )
    recipients = forms.CharField(
        label="Recipients",
        required=False,
        max_length=4000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="One address a line. Empty: the customer's own address.",
    )

    def clean_recipients(self) -> list[str]:
        addresses = [line.strip().lower() for line in self.cleaned_data["recipients"].splitlines() if line.strip()]
        for address in addresses:
            try:
                validate_email(address)
            except ValidationError:
                raise ValidationError(f"“{address}” is no address.") from None
        return list(dict.fromkeys(addresses))

    @property
    def terms(self) -> Terms:
        said = self.cleaned_data
        return Terms(
            rearm_margin=said["rearm_margin"],
            remind_every_days=said["remind_every_days"],
            remind_at_most=said["remind_at_most"],
            tells_restored=said["tells_restored"],
            recipients=tuple(sorted(said["recipients"])),
        )


class AlertPage(ChangingPage):
    """Something done to the alert whose id stands in the address, of the customer whose account does."""

    @cached_property
    def alert(self) -> BalanceAlert:
        found = BalanceAlert.objects.filter(pk=self.kwargs["pk"], customer=self.customer).first()
        if found is None:
            raise Http404("There is no such alert of this customer.")
        return found

    def about(self) -> dict[str, Any]:
        about = super().about()
        about["subject"] += f" · alert at {money(self.alert.threshold, self.customer.currency)}"
        return about

    def state(self) -> dict[str, Any]:
        alert = BalanceAlert.objects.get(pk=self.alert.pk)
        return _in_words(alert)


class AddAlert(ChangingPage):
    permission = "billing.add_balancealert"
    title = "Add an alert"
    form_class = AlertForm
    button = "Add the alert"
    verb = "add alert"

    def change(self, form: ActForm) -> bool:
        assert isinstance(form, AlertForm)
        self.added = alerts.add(self.customer.account, form.cleaned_data["threshold"], form.terms)
        return True

    def state(self) -> dict[str, Any]:
        return _in_words(self.added) if hasattr(self, "added") and _is_there(self.added) else {}

    def summary(self, form: ActForm) -> str:
        threshold = money(form.cleaned_data["threshold"], self.customer.currency)
        return f"{self.customer.account} has an alert at {threshold} now."


class ChangeAlert(AlertPage):
    permission = "billing.change_balancealert"
    title = "Change the alert"
    form_class = AlertForm
    button = "Change the alert"
    verb = "change alert"

    def form(self, sent: Any = None) -> ActForm:
        alert, terms = self.alert, alerts.terms_of(self.alert)
        form = AlertForm(
            sent,
            initial={
                "threshold": alert.threshold,
                "rearm_margin": terms.rearm_margin,
                "remind_every_days": terms.remind_every_days,
                "remind_at_most": terms.remind_at_most,
                "tells_restored": terms.tells_restored,
                "recipients": "\n".join(terms.recipients),
            },
        )
        if alert.kind == AlertKind.EXHAUSTED:
            form.fields["threshold"].disabled = True
            form.fields["threshold"].help_text = "The built-in alert stays at minus the credit limit: change that."
        return form

    def sentences(self, form: ActForm) -> list[str]:
        return ["A fall that is open, and still below the new threshold, goes on without a new mail."]

    def change(self, form: ActForm) -> bool:
        assert isinstance(form, AlertForm)
        return alerts.change(self.alert.pk, form.cleaned_data["threshold"], form.terms)

    def summary(self, form: ActForm) -> str:
        threshold = money(form.cleaned_data["threshold"], self.customer.currency)
        return f"The alert of {self.customer.account} is at {threshold} now, with the terms that were entered."


class EndAlert(AlertPage):
    permission = "billing.change_balancealert"
    title = "End the alert"
    button = "End the alert"
    is_dangerous = True
    verb = "end alert"

    def why_not(self) -> str:
        if self.alert.kind == AlertKind.EXHAUSTED:
            return "The built-in alert at the credit limit stays."
        return "" if self.alert.is_active else "It is so already: this alert was ended."

    def sentences(self, form: ActForm) -> list[str]:
        return ["Nobody is mailed about this threshold any more. It can be added again."]

    def change(self, form: ActForm) -> bool:
        return alerts.end(self.alert.pk)

    def summary(self, form: ActForm) -> str:
        return f"The alert of {self.customer.account} at {money(self.alert.threshold, self.customer.currency)} ended."


def _is_there(alert: BalanceAlert) -> bool:
    return BalanceAlert.objects.filter(pk=alert.pk).exists()


def _in_words(alert: BalanceAlert) -> dict[str, Any]:
    """The alert as the audit trail keeps it; whom it tells is personal, and is told as a number."""
    terms = alerts.terms_of(alert)
    return {
        "threshold": f"{alert.threshold.normalize():f}",
        "is_active": alert.is_active,
        "rearm_margin": None if terms.rearm_margin is None else f"{terms.rearm_margin.normalize():f}",
        "remind_every_days": terms.remind_every_days,
        "remind_at_most": terms.remind_at_most,
        "tells_restored": terms.tells_restored,
        "recipient_count": len(terms.recipients),
    }
