"""Credits above a limit need a second person: asked by one, decided by another, posted once.

What counts against the limit is what one person gave one customer within a day, in credits and in adjustments in the
customer's favour: two halves are as much as a whole.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Now

from billing import corrections
from billing.corrections import Correction, NotCorrectable
from billing.models import CHARGE_KINDS, Customer, EntryKind, LedgerEntry
from ivy.accounts.models import User
from ivy.models import CreditKind, CreditLimit, CreditRequest, CreditState

USUAL_LIMIT = Decimal(100)
"""In units of any currency that has no limit of its own."""

WITHIN = timedelta(days=1)
COUNTED_AT_MOST = 1_000


class NotDecidable(Exception):
    """The request can't be decided like this; the message is a sentence for whoever tried."""


@dataclass(frozen=True)
class Given:
    """What came of giving something: an entry that was posted, or a request that waits for a second person."""

    correction: Correction | None = None
    request: CreditRequest | None = None


def limit_of(currency: str) -> Decimal:
    """Up to how much one person may give a customer within a day."""
    found = CreditLimit.objects.filter(currency=currency).values_list("amount", flat=True).first()
    return USUAL_LIMIT if found is None else found


def given_lately(customer: Customer, by: str) -> Decimal:
    """What this person gave the customer within the last day without asking a second one, in its currency."""
    given = LedgerEntry.objects.filter(
        ~Q(kind__in=CHARGE_KINDS),  # the condition of the index of movements: charges are not looked through
        customer=customer,
        kind__in=[EntryKind.CREDIT, EntryKind.ADJUSTMENT],
        amount__gt=0,
        entered_by=by,
        posted_at__gt=Now() - WITHIN,
    )
    approved = CreditRequest.objects.filter(customer=customer, state=CreditState.APPROVED).values("entry_key")
    return given.exclude(key__in=approved).aggregate(sum=Sum("amount"))["sum"] or Decimal(0)


def needs_approval(customer: Customer, amount: Decimal, by: str) -> bool:
    """Whether this much more, given by this person, is beyond the limit."""
    return amount > 0 and given_lately(customer, by) + amount > limit_of(customer.currency)


def credits_waiting() -> int:
    """How many requests wait for a second person. Cheap: answered by an index of the waiting ones alone."""
    return CreditRequest.objects.filter(state=CreditState.WAITING)[:COUNTED_AT_MOST].count()


def give(
    customer: Customer, amount: Decimal, *, kind: CreditKind, reference: str, reason: str, by: User, at: datetime
) -> Given:
    """Post a credit or an adjustment; in place of one beyond the limit, ask a second person for it.

    The limit is looked at with the customer's balance locked, so that two halves given at once count together. May be
    repeated: an entry is posted once for each reference, and asked for once. Raises NotCorrectable.
    """
    with transaction.atomic():
        corrections.lock_balance(customer.pk)
        if not needs_approval(customer, amount, by.get_username()):
            posted = _post(customer, amount, kind=kind, reference=reference, reason=reason, by=by, at=at)
            return Given(correction=posted)
        return Given(request=_ask(customer, amount, kind=kind, reference=reference, reason=reason, by=by))


def approve(request_id: int, *, by: User, reason: str, at: datetime) -> CreditRequest:
    """Post what was asked for. Raises NotDecidable where it was decided already, or by whoever asked; NotCorrectable
    where the ledger refuses the entry, and then it goes on waiting.
    """
    with transaction.atomic():
        request = _waiting(request_id)
        _refuse_own(request, by)
        posted = _post(
            request.customer,
            request.amount,
            kind=CreditKind(request.kind),
            reference=request.reference,
            reason=f"{request.reason} (approved by {by.get_username()}: {reason})",
            by=request.asked_by,
            at=at,
        )
        if not posted.changed:
            raise NotCorrectable(
                f"The {request.kind} “{request.reference}” of {request.customer.account} was posted already, without"
                " this request: decline it."
            )
        return _decide(request, CreditState.APPROVED, by=by, reason=reason, entry_key=posted.entry.key)


def decline(request_id: int, *, by: User, reason: str) -> CreditRequest:
    """Say no to what was asked for. Raises NotDecidable as `approve` does."""
    with transaction.atomic():
        request = _waiting(request_id)
        _refuse_own(request, by)
        return _decide(request, CreditState.DECLINED, by=by, reason=reason)


def withdraw(request_id: int, *, by: User, reason: str) -> CreditRequest:
    """Take back what one asked for oneself. Raises NotDecidable where it was decided already, or asked by another."""
    with transaction.atomic():
        request = _waiting(request_id)
        if request.asked_by_id != by.pk:
            raise NotDecidable(
                f"Only {request.asked_by.get_username()}, who asked for it, can withdraw it: decline it."
            )
        return _decide(request, CreditState.WITHDRAWN, by=by, reason=reason)


def _ask(
    customer: Customer, amount: Decimal, *, kind: CreditKind, reference: str, reason: str, by: User
) -> CreditRequest:
    corrections.refuse_impossible_amount(amount, "A credit")
    waiting = CreditRequest.objects.filter(
        customer=customer, kind=kind, reference=reference, state=CreditState.WAITING
    ).first()
    if waiting is not None:
        raise NotCorrectable(
            f"A {kind} “{reference}” of {waiting.amount.normalize():f} {waiting.currency} waits for approval already,"
            f" asked for by {waiting.asked_by.get_username()}."
        )
    return CreditRequest.objects.create(
        customer=customer,
        kind=kind,
        amount=amount,
        currency=customer.currency,
        reference=reference,
        reason=reason,
        asked_by=by,
    )


def _post(
    customer: Customer, amount: Decimal, *, kind: CreditKind, reference: str, reason: str, by: User, at: datetime
) -> Correction:
    post = corrections.give_credit if kind == CreditKind.CREDIT else corrections.adjust
    return post(customer.account, amount, reference=reference, reason=reason, by=by.get_username(), at=at)


def _waiting(request_id: int) -> CreditRequest:
    request = CreditRequest.objects.select_for_update(of=("self",)).filter(pk=request_id).first()
    if request is None:
        raise NotDecidable("There is no such request.")
    if request.state != CreditState.WAITING:
        decider = request.decided_by.get_username() if request.decided_by else "somebody"
        raise NotDecidable(f"{decider} has {request.state} it already, at {request.decided_at:%Y-%m-%d %H:%M} UTC.")
    return request


def _refuse_own(request: CreditRequest, by: User) -> None:
    if request.asked_by_id == by.pk:
        raise NotDecidable("You asked for it yourself: another person decides about it. You can withdraw it.")


def _decide(request: CreditRequest, state: CreditState, *, by: User, reason: str, entry_key: str = "") -> CreditRequest:
    request.state, request.decided_by, request.decided_because = state, by, reason
    request.entry_key = entry_key
    request.decided_at = Now()
    request.save(update_fields=["state", "decided_by", "decided_because", "entry_key", "decided_at"])
    request.refresh_from_db()
    return request
