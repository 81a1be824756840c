"""Billing items from a CSV file, all of them or none.

A new item needs account, amount and starts_on, and a kind unless an interval says that it recurs; without a
description it is called by its reference. Once charged, an item keeps its account, kind, start, interval, count, day,
timing and proration; its amount, quantity, description and end may change. An end before what was charged already is
fine: nothing more is charged, and nothing is given back; but an end for which something was given back stays.

A changed amount holds for everything that is not charged yet. Once `change_item` gave an item amounts from a date, the
file may repeat its first amount or its last one; another is an error, since the file does not say from when.

A closed customer gets no new item, and none of its items ends later than it was closed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.imports import bulk, csvfile
from billing.imports.csvfile import Column, CsvSource, Row, Sheet
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.models import (
    BillingItem,
    Customer,
    CustomerStatus,
    Interval,
    ItemKind,
    ItemPriceChange,
    Proration,
    Timing,
)
from billing.periods import InvalidSchedule, Schedule

COLUMNS = {
    "reference": Column(csvfile.name, is_required=True),
    "account": Column(csvfile.name),
    "description": Column(csvfile.text(200)),
    "kind": Column(csvfile.choice(ItemKind)),
    "amount": Column(csvfile.decimal()),
    "quantity": Column(csvfile.decimal(at_least=0)),
    "interval": Column(csvfile.choice(Interval), clears_to=""),
    "interval_count": Column(csvfile.integer(1, 32767)),
    "bill_cycle_day": Column(csvfile.integer(1, 31), clears_to=None),
    "timing": Column(csvfile.choice(Timing)),
    "starts_on": Column(csvfile.day),
    "ends_on": Column(csvfile.day, clears_to=None),
    "proration": Column(csvfile.choice(Proration)),
}
FIXED_ONCE_CHARGED = {
    "customer_id": "account",
    "kind": "kind",
    "starts_on": "starts_on",
    "interval": "interval",
    "interval_count": "interval_count",
    "bill_cycle_day": "bill_cycle_day",
    "timing": "timing",
    "proration": "proration",
}
DEAREST_CHARGE = Decimal(10) ** 12


def import_items(source: CsvSource, *, dry_run: bool = False, progress: Progress = unwatched) -> ImportResult:
    """Create and update billing items by their reference. May be repeated: the same file again changes nothing."""

    def work(sheet: Sheet) -> Tally:
        plan = _plan(sheet)
        for row in progress(sheet.rows, "Reading items"):
            plan.take(row)
        for reference in _given_back(plan.prolonged):
            words = f"the item “{reference}” was given a credit for the days after its end"
            sheet.refuse(plan.prolonged[reference], f"ends_on can't change: {words}; begin another.")
        if not sheet.errors:
            bulk.lock_balances(plan.owners[item.pk] for item, _ in plan.changes)  # no run charges them meanwhile
            bulk.insert(plan.new)
            bulk.update(plan.changes)
        return Tally(created=len(plan.new), updated=len(plan.changes), unchanged=plan.unchanged)

    return all_or_nothing(csvfile.read(source, COLUMNS), work, what="items", dry_run=dry_run)


def _plan(sheet: Sheet) -> "_Plan":
    """Nothing planned yet, and everything loaded that the rows name."""
    references = [row.cells["reference"] for row in sheet.rows if "reference" in row.cells]
    accounts = [row.cells["account"] for row in sheet.rows if "account" in row.cells]
    known = {item.reference: item for item in bulk.found_by(BillingItem.objects.all(), "reference", references)}
    owners = {item.pk: item.customer_id for item in known.values()}
    customers = dict(bulk.found_by(Customer.objects.values_list("account", "id"), "account", accounts))
    closed = Customer.objects.filter(status=CustomerStatus.CLOSED)
    return _Plan(
        sheet,
        known,
        owners=owners,
        customers=customers,
        closed={one.pk: one for one in bulk.found_by(closed, "pk", {*owners.values(), *customers.values()})},
        last_amounts=_last_amounts(item.pk for item in known.values()),
    )


@dataclass
class _Plan:
    """What the rows come to, before anything is written. `prolonged`: rows that put off the end of an item."""

    sheet: Sheet
    known: dict[str, BillingItem]
    owners: dict[int, int]
    customers: dict[str, int]
    closed: dict[int, Customer]
    last_amounts: dict[int, Decimal]
    new: list[BillingItem] = field(default_factory=list)
    changes: list[tuple[BillingItem, set[str]]] = field(default_factory=list)
    unchanged: int = 0
    prolonged: dict[str, Row] = field(default_factory=dict)

    def take(self, row: Row) -> None:
        """Add what the row says, or note why it can't be."""
        values = self._values(row)
        if row.is_bad:
            return
        is_known = values["reference"] in self.known
        item = self.known[values["reference"]] if is_known else self._new_item(row, values)
        changed = self._changed(row, item, values)
        for name in changed:
            setattr(item, name, values[name])
        if not row.is_bad and (problem := _may_not_be(item) or self._charges_a_closed_customer(item, changed)):
            self.sheet.refuse(row, problem)
        if not is_known:
            self.new.append(item)
        elif changed:
            self.changes.append((item, changed))
        else:
            self.unchanged += 1

    def _values(self, row: Row) -> dict[str, Any]:
        """What the row says, with the customer in place of the account."""
        values = self.sheet.values(row)
        if "reference" in values:
            self.sheet.is_repeated(row, values["reference"], f"The item “{values['reference']}”")
        if "account" in values:
            account = values.pop("account")
            values["customer_id"] = self.customers.get(account)
            if account not in self.customers:
                self.sheet.refuse(row, f"account “{account}” is unknown.")
        return values

    def _new_item(self, row: Row, values: dict[str, Any]) -> BillingItem:
        """An item with the defaults of everything that the row does not say; what must be said and isn't, is noted."""
        reference = values["reference"]
        for column, name in (("account", "customer_id"), ("amount", "amount"), ("starts_on", "starts_on")):
            if name not in values:
                self.sheet.refuse(row, f"{column} is empty; the new item “{reference}” needs one.")
        if "kind" not in values and not values.get("interval"):
            self.sheet.refuse(row, f"kind is empty, and no interval says that the new item “{reference}” recurs.")
        return BillingItem(reference=reference, description=reference, kind=ItemKind.RECURRING.value)

    def _changed(self, row: Row, item: BillingItem, values: dict[str, Any]) -> set[str]:
        """The fields that the row changes; that one of them may not change is noted."""
        has_dated_amounts = item.pk in self.last_amounts
        changed = {name for name, value in values.items() if getattr(item, name) != value}
        if has_dated_amounts and values.get("amount") == self.last_amounts[item.pk]:
            changed.discard("amount")
        if problem := _may_not_change(item, changed, has_dated_amounts=has_dated_amounts):
            self.sheet.refuse(row, problem)
        if "ends_on" in changed and item.ends_on and item.ends_on < (values["ends_on"] or date.max):
            self.prolonged[item.reference] = row
        return changed

    def _charges_a_closed_customer(self, item: BillingItem, changed: set[str]) -> str | None:
        """Why the item would charge a customer that was closed, in a sentence; None: it would not."""
        customer = self.closed.get(item.customer_id)
        if customer is None or not changed & {"customer_id", "starts_on", "ends_on"}:
            return None
        closing_day = customer.closing_day
        assert closing_day is not None
        words = f"The customer “{customer.account}” was closed on {closing_day}"
        if item.reference not in self.known:
            return f"{words}, and gets no new items."
        if item.ends_on is None or item.ends_on > max(item.starts_on, closing_day):
            return f"{words}, and its items with it: the item “{item.reference}” ends then at the latest."
        return None


def _last_amounts(item_ids: Iterable[int]) -> dict[int, Decimal]:
    """The last amount of those items that have amounts from a date."""
    by_date = ItemPriceChange.objects.order_by("from_date").values_list("item_id", "amount")
    return dict(bulk.found_by(by_date, "item_id", item_ids))


def _given_back(references: Iterable[str]) -> list[str]:
    """Those of the items that ended with a credit which still stands; a trigger keeps their ends, one by one."""
    with connection.cursor() as cursor:
        cursor.execute(_WITH_A_CREDIT, [list(references)])
        return [row[0] for row in cursor.fetchall()]


_WITH_A_CREDIT = """
SELECT reference FROM unnest(%s::text[]) AS reference WHERE EXISTS (
    SELECT FROM billing_ledgerentry c
    WHERE c.key > 'credit:item:' || key_part(reference) || ':' AND c.key < 'credit:item:' || key_part(reference) || ';'
      AND NOT EXISTS (SELECT FROM billing_ledgerentry r WHERE r.reverses = c.key)
)
"""


def _may_not_change(item: BillingItem, changed: set[str], *, has_dated_amounts: bool) -> str | None:
    """Why these fields of the item stay as they are, in a sentence; None: they may change."""
    if has_dated_amounts and "amount" in changed:
        return (
            f"amount can't change: the item “{item.reference}” has amounts from a date; change_item gives it another."
        )
    fixed = [column for name, column in FIXED_ONCE_CHARGED.items() if name in changed]
    if item.kind == ItemKind.ONE_OFF and "ends_on" in changed:
        fixed.append("ends_on")
    if not fixed or item.charged_through is None:
        return None
    return (
        f"{', '.join(fixed)} can't change: the item “{item.reference}” was charged already (through"
        f" {item.charged_through}); end it and begin another."
    )


def _may_not_be(item: BillingItem) -> str | None:
    """Why no item can be as this one would be, in a sentence; None: it can."""
    if abs(item.amount * item.quantity) >= DEAREST_CHARGE:
        return "amount times quantity is too large: there may be 12 digits before the point."
    if item.kind == ItemKind.ONE_OFF and (item.interval or item.bill_cycle_day is not None):
        return "A one-off item has no interval and no bill_cycle_day: it is charged once, on its starts_on."
    if item.kind == ItemKind.RECURRING and not item.interval:
        return f"A recurring item needs an interval: {', '.join(Interval)}."
    try:
        Schedule(
            starts_on=item.starts_on,
            ends_on=item.ends_on,
            interval=item.interval or Interval.MONTH,
            interval_count=item.interval_count,
            bill_cycle_day=item.bill_cycle_day,
            timing=item.timing,
            proration=item.proration,
        )
    except InvalidSchedule as invalid:
        return str(invalid)
    return None
