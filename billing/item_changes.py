"""What may be changed of an item while it runs: its amount, whether it is paused, its end.

What was charged stays as it was charged. A change from a day that was charged already therefore holds from the first
day that was not; the answer says from which. Each verb locks the item, so that no run charges it meanwhile (which
skips it, and comes back), may be repeated, and raises ItemNotChangeable, with a sentence, for what makes no sense.
Nothing here is halted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from billing import corrections
from billing.items import amount_on, schedule_of
from billing.keys import item_credit_key
from billing.models import (
    BillingItem,
    EntryKind,
    ItemKind,
    ItemPause,
    ItemPeriod,
    ItemPriceChange,
    LedgerEntry,
)
from billing.periods import InvalidSchedule, Pause, currency_digits, periods, price


class ItemNotChangeable(Exception):
    """The item can't be changed like this; the message is a sentence for whoever tried."""


@dataclass(frozen=True)
class Change:
    """Whether anything was changed, and the day from which it holds. `credit`: the entry that gives something back."""

    changed: bool
    holds_from: date
    credit: LedgerEntry | None = None


def change_amount(reference: str, amount: Decimal, *, from_date: date, by: str) -> Change:
    """Let the item cost another amount from the first uncharged period that begins on `from_date` or later.

    A period that began before keeps the amount that it began with, also where it is charged only afterwards (in
    arrears). Changes from later dates stay. Already so: nothing changes.
    """
    if not amount.is_finite() or abs(amount) >= corrections.LARGEST_AMOUNT:
        raise ItemNotChangeable(f"{amount} is no amount.")
    if amount != amount.quantize(corrections.SMALLEST_AMOUNT):
        raise ItemNotChangeable(f"{amount} has more than six decimals.")
    with _locked(reference) as item:
        if abs(amount * item.quantity) >= corrections.LARGEST_AMOUNT:
            raise ItemNotChangeable(f"{amount} times {item.quantity.normalize():f} is more than the ledger can hold.")
        holds_from = _first_uncharged(item, from_date)
        _refuse_after_the_end(item, holds_from)
        changes = list(item.price_changes.order_by("from_date").values_list("from_date", "amount"))
        if amount_on(holds_from, first=item.amount, changes=changes) == amount:
            return Change(False, holds_from)
        ItemPriceChange.objects.update_or_create(
            item=item, from_date=holds_from, defaults={"amount": amount, "changed_by": by}
        )
        return Change(True, holds_from)


def pause(reference: str, *, from_date: date, by: str) -> Change:
    """Charge the item no more from `from_date` on, until it is resumed. Days charged already are not given back.

    Paused on that day already: nothing changes. A pause until further notice that was to begin later begins now.
    """
    with _locked(reference) as item:
        _refuse_one_off(item, "it can't be paused; end it before its date instead")
        holds_from = _first_uncharged(item, from_date)
        _refuse_after_the_end(item, holds_from)
        at_that_time = Q(ends_on__isnull=True) | Q(ends_on__gt=holds_from)
        next_one = item.pauses.filter(at_that_time).order_by("starts_on").first()
        if next_one is None:
            ItemPause.objects.create(item=item, starts_on=holds_from, changed_by=by)
        elif next_one.starts_on <= holds_from:
            return Change(False, next_one.starts_on)
        elif next_one.ends_on is None:
            ItemPause.objects.filter(pk=next_one.pk).update(starts_on=holds_from, changed_by=by)
        else:
            raise ItemNotChangeable(
                f"The item “{reference}” is to be paused from {next_one.starts_on} to {next_one.ends_on} already:"
                f" take that back first, by resuming it from {next_one.starts_on}."
            )
        return Change(True, holds_from)


def resume(reference: str, *, from_date: date, by: str) -> Change:
    """Charge the item again from `from_date` on: end the pause of that day, or the one until further notice.

    A pause that begins on that day or later is taken back. Not paused then: nothing changes. Days that were charged
    after a pause keep it from being moved.
    """
    with _locked(reference) as item:
        _refuse_one_off(item, "it has no pauses")
        pauses = item.pauses.order_by("starts_on")
        found = pauses.filter(Q(ends_on__isnull=True) | Q(ends_on__gt=from_date), starts_on__lte=from_date).first()
        if found is None and not pauses.filter(ends_on=from_date).exists():
            found = pauses.filter(ends_on__isnull=True).first()
        if found is None:
            return Change(False, from_date)
        if found.ends_on is not None and item.charged_through is not None and from_date < item.charged_through:
            raise ItemNotChangeable(
                f"The item “{reference}” was charged through {item.charged_through} already, from {found.ends_on} on:"
                " the pause before that stays as it was."
            )
        if from_date <= found.starts_on:
            found.delete()
            return Change(True, found.starts_on)
        ItemPause.objects.filter(pk=found.pk).update(ends_on=from_date, changed_by=by)
        return Change(True, from_date)


def end(reference: str, *, on: date, by: str, with_credit: bool = False) -> Change:
    """End the item: `on` is the first day that is not charged any more. With a credit, give back what was charged for
    the days from then on.

    The credit is what was charged for the periods that reach beyond the end, reversals and earlier credits counted,
    less what they would have cost had they ended there: a stub, by the rules and at the amount of each. It is posted
    once for each item and end. An end may be moved; to a later day only as long as nothing was given back, and not
    beyond the day on which the customer was closed.
    """
    with _locked(reference, with_balance=with_credit) as item:
        if item.kind == ItemKind.ONE_OFF and item.charged_through is not None:
            charged = item.periods.get()
            raise ItemNotChangeable(f"The item “{reference}” was charged once, for good: reverse {charged.entry_key}.")
        if on < item.starts_on:
            raise ItemNotChangeable(f"The item “{reference}” would end on {on}, before it starts on {item.starts_on}.")
        if item.kind == ItemKind.ONE_OFF and on > item.starts_on:
            raise ItemNotChangeable(
                f"The item “{reference}” is charged once, on {item.starts_on}; ending it on that day cancels it."
            )
        changed = item.ends_on != on
        if changed:
            closing_day = item.customer.closing_day
            if closing_day is not None and on > max(item.starts_on, closing_day):
                raise ItemNotChangeable(
                    f"The customer “{item.customer.account}” was closed on {closing_day}, and its items with it: the"
                    f" item “{reference}” can't end on {on}."
                )
            if item.ends_on is not None and item.ends_on < on and _credits(item).exists():
                raise ItemNotChangeable(
                    f"The item “{reference}” ended on {item.ends_on}, and what was charged beyond was given back:"
                    " begin another."
                )
            item.ends_on = on
            item.save(update_fields=["ends_on"])
        posted = _give_back(item, on=on, by=by) if with_credit else None
        return Change(changed or (posted is not None and posted.changed), on, posted.entry if posted else None)


@contextmanager
def _locked(reference: str, *, with_balance: bool = False) -> Iterator[BillingItem]:
    """The item, locked in a transaction; before it the customer's balance, in the order in which a run locks both."""
    with transaction.atomic():
        found = BillingItem.objects.filter(reference=reference).first()
        if found is None:
            raise ItemNotChangeable(f"There is no item “{reference}”.")
        if with_balance:
            corrections.lock_balance(found.customer_id)
        # Not joined to the customer: a locked row is read anew, what is joined to it is not.
        yield BillingItem.objects.select_for_update(no_key=True).get(pk=found.pk)


def _first_uncharged(item: BillingItem, day: date) -> date:
    """The day, or a later one: the first that is the item's and was not charged."""
    return max(day, item.charged_through or item.starts_on)


def _refuse_after_the_end(item: BillingItem, day: date) -> None:
    if item.kind == ItemKind.ONE_OFF and (item.charged_through is not None or day > item.starts_on):
        raise ItemNotChangeable(f"The item “{item.reference}” is charged once, on {item.starts_on}: too late.")
    if item.ends_on is not None and day >= item.ends_on:
        raise ItemNotChangeable(
            f"The item “{item.reference}” ends on {item.ends_on}: nothing is charged from {day} on."
        )


def _refuse_one_off(item: BillingItem, why: str) -> None:
    if item.kind == ItemKind.ONE_OFF:
        raise ItemNotChangeable(f"The item “{item.reference}” is charged once: {why}.")


def _give_back(item: BillingItem, *, on: date, by: str) -> corrections.Correction | None:
    """Post the credit for an end; None where there is nothing to give back."""
    key = item_credit_key(item.reference, on)
    posted = LedgerEntry.objects.filter(key=key).first()
    if posted is not None:
        return corrections.Correction(posted, changed=False)
    customer = item.customer
    digits = currency_digits(customer.currency)
    amount = Decimal(0)
    told = []
    charged_through = on
    for period in item.periods.filter(end_on__gt=on).order_by("start_on"):
        charged, kept = _charged(period), _price_until(item, period, on)
        if abs(kept) < abs(charged) and kept * charged >= 0:
            amount += charged - kept
            charged_through = period.end_on
            told.append(
                f"{period.start_on} to {period.end_on - timedelta(days=1)} was charged {charged:.{digits}f}, and costs"
                f" {kept:.{digits}f} until {on}"
            )
    given_back = sum(_credits(item).values_list("amount", flat=True), Decimal(0))
    if given_back:
        told.append(f"{given_back:.{digits}f} was given back before")
    if abs(given_back) >= abs(amount):
        return None
    return corrections.credit(
        LedgerEntry(
            key=key,
            customer=customer,
            kind=EntryKind.CREDIT,
            amount=amount - given_back,
            currency=customer.currency,
            occurred_at=datetime.combine(on, time(), ZoneInfo(customer.timezone)).astimezone(UTC),
            description=f"{item.description}: ended on {on}",
            period_start=on,
            period_end=charged_through,
            reason="; ".join(told),
            entered_by=by,
        )
    )


def _charged(period: ItemPeriod) -> Decimal:
    """What was charged for the period and not taken back, positive: all charges under its key, less their reversals."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(-sum(l.amount + coalesce(r.amount, 0)), 0)
            FROM billing_ledgerentry l LEFT JOIN billing_ledgerentry r ON r.reverses = l.key
            WHERE l.key = %(key)s OR (l.key > %(key)s || '#' AND l.key < %(key)s || '$')
            """,
            {"key": period.entry_key},
        )
        return Decimal(cursor.fetchone()[0])


def _price_until(item: BillingItem, period: ItemPeriod, on: date) -> Decimal:
    """What the period would have cost had the item ended on this day: nothing where it begins later."""
    pauses = [Pause(*days) for days in item.pauses.order_by("starts_on").values_list("starts_on", "ends_on")]
    try:
        schedule = schedule_of(item, pauses=pauses, ends_on=on)
    except InvalidSchedule as invalid:
        raise ItemNotChangeable(f"The item “{item.reference}” can't be charged as it is: {invalid}") from invalid
    digits = currency_digits(item.customer.currency)
    shortened = periods(schedule, period.start_on, date.max)
    return sum((price(period.amount, period.quantity, part, digits) for part in shortened), Decimal(0))


def _credits(item: BillingItem) -> QuerySet[LedgerEntry]:
    """What was given back for ends of this item, and not taken back."""
    prefix = item_credit_key(item.reference, date.min).removesuffix(date.min.isoformat())
    taken_back = LedgerEntry.objects.filter(reverses__startswith=prefix).values("reverses")
    return LedgerEntry.objects.filter(key__startswith=prefix).exclude(key__in=taken_back)
