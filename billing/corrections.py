"""Taking back what was charged, and posting what somebody decided: entries that a person answers for, by name.

The ledger only grows: what was wrong stays, and the entry that mends it stands beside it and names it. Nothing here is
halted, since nothing here charges a call or an item; and a cause that was ever charged, reversed or not, is never due
to a run again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import connection, transaction

from billing.keys import adjustment_key, credit_key, reversal_key
from billing.models import Customer, EntryKind, LedgerEntry

LARGEST_AMOUNT = Decimal(10) ** 12
SMALLEST_AMOUNT = Decimal("0.000001")


class NotCorrectable(Exception):
    """This can't be reversed or adjusted; the message is a sentence for whoever tried."""


@dataclass(frozen=True)
class Correction:
    """The entry that corrects, and whether it was posted just now or stood there already."""

    entry: LedgerEntry
    changed: bool


def reverse(key: str, *, reason: str, by: str) -> Correction:
    """Take an entry back, whole: post its opposite, under the key `reversal:KEY`. Again: nothing changes.

    It occurred when what it takes back did, so that the two meet in every sum by date; `posted_at` tells when it was
    decided. What was charged stays known as charged: no run charges the call or the period once more.

    Raises NotCorrectable where there is no such entry, or where it is a reversal itself.
    """
    with transaction.atomic():
        wrong = LedgerEntry.objects.filter(key=key).first()
        if wrong is None:
            raise NotCorrectable(f"There is no ledger entry “{key}”.")
        if wrong.kind == EntryKind.REVERSAL:
            raise NotCorrectable(
                f"“{key}” is a reversal, and stays: post what the customer owes after all by an adjustment."
            )
        lock_balance(wrong.customer_id)
        return post_once(
            LedgerEntry(
                key=reversal_key(key),
                customer_id=wrong.customer_id,
                kind=EntryKind.REVERSAL,
                amount=-wrong.amount,
                currency=wrong.currency,
                occurred_at=wrong.occurred_at,
                reverses=wrong.key,
                description=f"Taken back: {wrong.description or wrong.get_kind_display().lower()}",
                period_start=wrong.period_start,
                period_end=wrong.period_end,
                reason=reason,
                entered_by=by,
            )
        )


def adjust(
    account: str, amount: Decimal, *, reference: str, reason: str, by: str, at: datetime, description: str = ""
) -> Correction:
    """Move a customer's balance by an amount that somebody decided: positive in the customer's favour.

    Once for each reference of the account: again with the same amount, nothing changes. Raises NotCorrectable for an
    unknown account, an amount that is zero or that the ledger can't hold, and for a reference that was used with
    another amount.
    """
    refuse_impossible_amount(amount, "An adjustment")
    return _decide(
        account,
        LedgerEntry(
            key=adjustment_key(account, reference),
            kind=EntryKind.ADJUSTMENT,
            amount=amount,
            occurred_at=at,
            description=description or f"Adjustment {reference}",
            reason=reason,
            entered_by=by,
        ),
        name=f"adjustment “{reference}”",
    )


def give_credit(
    account: str, amount: Decimal, *, reference: str, reason: str, by: str, at: datetime, description: str = ""
) -> Correction:
    """Give a customer something of the carrier's: an amount above zero, added to the balance.

    Once for each reference of the account, as with `adjust`. Raises NotCorrectable as it does.
    """
    refuse_impossible_amount(amount, "A credit")
    if amount < 0:
        raise NotCorrectable("A credit adds to the balance: its amount is above zero.")
    return _decide(
        account,
        LedgerEntry(
            key=credit_key(account, reference),
            kind=EntryKind.CREDIT,
            amount=amount,
            occurred_at=at,
            description=description or f"Credit {reference}",
            reason=reason,
            entered_by=by,
        ),
        name=f"credit “{reference}”",
    )


def credit(entry: LedgerEntry) -> Correction:
    """Post a credit, under its key, once. Inside the caller's transaction, which has the customer's balance locked."""
    assert entry.kind == EntryKind.CREDIT
    return post_once(entry)


def refuse_impossible_amount(amount: Decimal, what: str) -> None:
    """Raise NotCorrectable for an amount that moves nothing, or that the ledger can't hold. `what`: “A payment”."""
    if not amount.is_finite() or amount == 0:
        raise NotCorrectable(f"{what} has an amount other than zero.")
    if abs(amount) >= LARGEST_AMOUNT or amount != amount.quantize(SMALLEST_AMOUNT):
        raise NotCorrectable(f"{amount} has more digits than the ledger: 12 before the point, 6 after it.")


def lock_balance(customer_id: int) -> None:
    """Lock the customer's balance until the transaction ends: two who do the same come one after the other.

    A run skips a customer that is locked, and comes back. Waits for a run that has the customer just now.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM billing_customerbalance WHERE customer_id = %s FOR UPDATE", [customer_id])


def _decide(account: str, entry: LedgerEntry, *, name: str) -> Correction:
    """Post what somebody decided for this account, once. Raises NotCorrectable where it stands with another amount."""
    amount = entry.amount
    with transaction.atomic():
        customer = Customer.objects.filter(account=account).first()
        if customer is None:
            raise NotCorrectable(f"There is no customer “{account}”.")
        lock_balance(customer.pk)
        entry.customer, entry.currency = customer, customer.currency
        posted = post_once(entry)
    if posted.entry.amount != amount:
        raise NotCorrectable(
            f"The {name} of {account} was posted already, with {posted.entry.amount.normalize():f}"
            f" {posted.entry.currency}: an entry never changes, so reverse it, or give this one another reference."
        )
    return posted


def post_once(entry: LedgerEntry) -> Correction:
    """Write the entry unless its key is there. The lock on the balance was taken in a statement before."""
    posted = LedgerEntry.objects.filter(key=entry.key).first()
    if posted is not None:
        return Correction(posted, changed=False)
    entry.booked_month = entry.occurred_at.astimezone(UTC).date().replace(day=1)
    entry.save(force_insert=True)
    entry.refresh_from_db()
    return Correction(entry, changed=True)
