"""Suspending a customer, closing the account, and letting it be active again.

What follows is held by the database: items end on the closing day, the closing time follows the status, and the
customer is noted to be judged. What it means for calls and mails is read from the status by those who charge and send.
"""

from django.db import transaction

from billing.corrections import lock_balance
from billing.models import Customer, CustomerStatus


class StatusNotChangeable(Exception):
    """The status can't be changed like this; the message is a sentence for whoever tried."""


def change_status(account: str, status: CustomerStatus) -> bool:
    """Let the customer have this status; False if it has it already. May be repeated.

    Closed: items end on this day of the customer's, and later calls are not charged. Active again: what ended stays
    ended. Waits for a run that has the customer just now. Raises StatusNotChangeable for an unknown account.
    """
    with transaction.atomic():
        customer = Customer.objects.filter(account=account).first()
        if customer is None:
            raise StatusNotChangeable(f"There is no customer “{account}”.")
        # A run locks balances before items: so does whoever ends items by closing.
        lock_balance(customer.pk)
        changed = Customer.objects.filter(pk=customer.pk).exclude(status=status).update(status=status)
        return bool(changed)
