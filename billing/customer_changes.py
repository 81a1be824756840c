"""What may be changed of a customer: suspending, closing, letting it be active again; its credit limit.

What follows is held by the database: items end on the closing day, the closing time follows the status, and the
customer is noted to be judged. What it means for calls and mails is read from the status by those who charge and send.
"""

from decimal import Decimal

from django.db import transaction

from billing.corrections import LARGEST_AMOUNT, SMALLEST_AMOUNT, lock_balance
from billing.models import Customer, CustomerStatus


class CustomerNotChangeable(Exception):
    """The customer can't be changed like this; the message is a sentence for whoever tried."""


def change_status(account: str, status: CustomerStatus) -> bool:
    """Let the customer have this status; False if it has it already. May be repeated.

    Closed: items end on this day of the customer's, and later calls are not charged. Active again: what ended stays
    ended. Waits for a run that has the customer just now. Raises CustomerNotChangeable for an unknown account.
    """
    with transaction.atomic():
        customer_id = _locked(account)
        changed = Customer.objects.filter(pk=customer_id).exclude(status=status).update(status=status)
        return bool(changed)


def change_credit_limit(account: str, limit: Decimal) -> bool:
    """Let the customer owe so much (zero or more) before it is told that its balance is used up; False if it may.

    The built-in alert follows. Ivy blocks no call: switches read the limit. Raises CustomerNotChangeable.
    """
    if not limit.is_finite() or not 0 <= limit < LARGEST_AMOUNT or limit != limit.quantize(SMALLEST_AMOUNT):
        raise CustomerNotChangeable(f"{limit} is no credit limit: it is zero or more, with at most six decimals.")
    with transaction.atomic():
        customer_id = _locked(account)
        changed = Customer.objects.filter(pk=customer_id).exclude(credit_limit=limit).update(credit_limit=limit)
        return bool(changed)


def change_language(account: str, language: str) -> bool:
    """Write the customer's mails in the way of this language (a tag such as `de-AT`; empty: as for all customers of its
    partner); False if they are. Raises CustomerNotChangeable.
    """
    with transaction.atomic():
        customer_id = _locked(account)
        return bool(Customer.objects.filter(pk=customer_id).exclude(language=language).update(language=language))


def _locked(account: str) -> int:
    """The customer's id, with its balance locked: a run locks balances before items, and closing ends items."""
    customer_id = Customer.objects.filter(account=account).values_list("pk", flat=True).first()
    if customer_id is None:
        raise CustomerNotChangeable(f"There is no customer “{account}”.")
    lock_balance(customer_id)
    return customer_id
