from typing import Any

from django import forms
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.models import Customer
from ivy.models import CustomerNote
from ivy.staff.acts import act
from ivy.staff.customers import links
from ivy.staff.customers.looking import customer_of
from ivy.staff.pages import ActForm, ActPage, Done, NoReasonForm


class NoteForm(NoReasonForm):
    text = forms.CharField(
        label="Note",
        max_length=4000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="For colleagues; it stays, under your name.",
    )


class TakeNote(ActPage):
    permission = "ivy.add_customernote"
    title = "Take a note"
    form_class = NoteForm
    button = "Keep the note"

    def about(self) -> dict[str, Any]:
        customer = self._customer
        return {"subject": f"{customer.account} · {customer.name}", "back": links.customer(customer.account, "notes")}

    @cached_property
    def _customer(self) -> Customer:
        return customer_of(self.kwargs["account"])

    def do(self, form: ActForm) -> Done:
        customer = self._customer
        with act(
            by=self.by, verb="note", noun="customer", name=customer.account, once=form.cleaned_data["once"]
        ) as doing:
            CustomerNote.objects.create(customer=customer, by=self.by, text=form.cleaned_data["text"])
            doing.summary = f"A note was taken on {customer.account}."
        return Done("The note was kept.", links.customer(customer.account, "notes"))
