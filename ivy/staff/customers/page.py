"""The page of a customer, and what it shares with those on which something is done to one."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import cached_property

from billing.admin.base import money
from billing.models import Customer, CustomerStatus
from ivy.accounts.models import User
from ivy.consequences import Consequences
from ivy.staff.customers import links
from ivy.staff.customers.looking import customer_of, look_at
from ivy.staff.customers.notes import NoteForm
from ivy.staff.pages import ActPage, Preview, StaffPage


def refused(why_not: str) -> Preview:
    """What is shown in place of a form where something can't be done."""
    return Preview(world=why_not, refusal=why_not)


class CustomerPage(StaffPage):
    permission = "billing.view_customer"
    title = "Customer"
    template_name = "admin/staff/customers/customer.html"

    def get(self, request: HttpRequest, account: str) -> HttpResponse:
        assert isinstance(request.user, User)
        found = customer_of(account)
        return self.page(
            title=f"{found.account} · {found.name}",
            customer=found,
            balance=found.balance_row.balance,
            picture=look_at(found, request.user, at=timezone.now()),
            note_form=NoteForm(auto_id="note_%s"),
            searched=request.GET.get("searched", ""),
            statuses=[status for status in CustomerStatus if status != found.status],
        )


class CustomerActPage(ActPage):
    """Something done to the customer whose account stands in the address: it shows before what would follow."""

    has_preview = True

    def why_not(self) -> str:
        """Why it can't be done at all, in a sentence; empty: it can be tried. Only reads."""
        return ""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        why_not = self.why_not()
        return self._ask(self.form(), refused(why_not) if why_not else None)

    @cached_property
    def customer(self) -> Customer:
        return customer_of(self.kwargs["account"])

    def about(self) -> dict[str, Any]:
        customer = self.customer
        return {
            "subject": f"{customer.account} · {customer.name}",
            "sentences": [f"Balance now: {money(customer.balance_row.balance, customer.currency)}."],
            "back": links.customer(customer.account),
        }

    def shown(self, found: Consequences, **more: Any) -> dict[str, Any]:
        """For the template that tells consequences."""
        return {"found": found, "customer": self.customer, **more}
