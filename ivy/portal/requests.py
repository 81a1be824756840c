"""Items that partners ask for, and ends of items: asked, withdrawn, and decided by staff. Each is done once."""

from datetime import date

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from billing import item_changes
from billing.item_changes import ItemNotChangeable
from billing.models import BillingItem, Customer, Partner
from ivy.portal.models import ItemRequest, RequestKind, RequestState

MOST_WAITING = 100  # requests of one partner: more than staff can read, and no more


class NotPossible(Exception):
    """It can't be done; the message says why, for whoever tried. Nothing was changed."""


def ask_for_item(customer: Customer, *, text: str, on: date, by: str) -> ItemRequest:
    """Ask for an item from a day on. Charges nothing: staff make the item, or say why not.

    Raises NotPossible where the same waits for staff already, as after a second click.
    """
    asked = {"customer": customer, "kind": RequestKind.NEW, "text": text, "on": on}
    with transaction.atomic():
        _refuse_too_many(customer.partner_id)
        if ItemRequest.objects.filter(**asked, state=RequestState.WAITING).exists():
            raise NotPossible("The same is asked for already, and waits for staff.")
        return ItemRequest.objects.create(**asked, asked_by=by)


def ask_for_end(item: BillingItem, *, text: str, on: date, by: str) -> ItemRequest:
    """Ask that an item ends: `on` is the first day that is not charged. Raises NotPossible, also where it is asked."""
    if item.ends_on is not None and item.ends_on <= on:
        raise NotPossible(f"This item ends on {item.ends_on} already.")
    if on < item.starts_on:
        raise NotPossible(f"This item starts on {item.starts_on}; it can't end before.")
    try:
        with transaction.atomic():
            _refuse_too_many(item.customer.partner_id)
            return ItemRequest.objects.create(
                customer_id=item.customer_id, kind=RequestKind.END, item=item.reference, text=text, on=on, asked_by=by
            )
    except IntegrityError as error:
        if "one_waiting_request_to_end_an_item" not in str(error):
            raise
        raise NotPossible("Its end is asked for already, and waits for staff.") from error


def withdraw(request: ItemRequest, *, by: str) -> bool:
    """Ask for it no more; False if it was decided, or withdrawn, before."""
    return _decide(request, RequestState.WITHDRAWN, by=by, answer="")


def decline(request: ItemRequest, *, by: str, answer: str) -> bool:
    """Say no, and why; False if it was decided before."""
    return _decide(request, RequestState.DECLINED, by=by, answer=answer)


def accept(request: ItemRequest, *, by: str, answer: str, item: str = "") -> bool:
    """Do what is asked: end the item, or name the one that was made. False if it was decided before.

    Raises NotPossible where the item can't be ended then, or where there is no such item of the customer.
    """
    with transaction.atomic():
        if not _decide(request, RequestState.DONE, by=by, answer=answer):
            return False
        if request.kind == RequestKind.END:
            try:
                item_changes.end(request.item, on=request.on, by=by)
            except ItemNotChangeable as why:
                raise NotPossible(str(why)) from why
        else:
            made = BillingItem.objects.filter(reference=item, customer=request.customer_id)
            if not made.exists():
                raise NotPossible(f"{request.customer} has no item “{item}”: make it first, then name it here.")
            ItemRequest.objects.filter(pk=request.pk).update(item=item)
        return True


def waiting() -> int:
    """How many wait for staff."""
    return ItemRequest.objects.filter(state=RequestState.WAITING).count()


def _refuse_too_many(partner_id: int) -> None:
    """Raise NotPossible if staff have enough of this partner to read; two who ask at once ask one after the other."""
    Partner.objects.select_for_update(no_key=True).get(pk=partner_id)
    waiting = ItemRequest.objects.filter(customer__partner=partner_id, state=RequestState.WAITING)
    if waiting.count() >= MOST_WAITING:
        raise NotPossible(f"{MOST_WAITING} requests wait for staff already; withdraw some, or wait for an answer.")


def _decide(request: ItemRequest, state: RequestState, *, by: str, answer: str) -> bool:
    waiting = ItemRequest.objects.filter(pk=request.pk, state=RequestState.WAITING)
    return bool(waiting.update(state=state, decided_by=by, decided_at=Now(), answer=answer))
