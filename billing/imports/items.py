"""Billing items from a CSV file, all of them or none.

A new item needs account, amount and starts_on, and a kind unless an interval says that it recurs; without a
description it is called by its reference. Once charged, an item keeps its account, kind, start, interval, count, day,
timing and proration; its amount, quantity, description and end may change. An end before what was charged already is
fine: nothing more is charged, and nothing is given back.
"""

from decimal import Decimal
from typing import Any

from billing.imports import bulk, csvfile
from billing.imports.csvfile import Column, CsvSource, Row, Sheet
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.models import BillingItem, Customer, Interval, ItemKind, Proration, Timing
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
        return _import(sheet, progress)

    return all_or_nothing(csvfile.read(source, COLUMNS), work, what="items", dry_run=dry_run)


def _import(sheet: Sheet, progress: Progress) -> Tally:
    references = [row.cells["reference"] for row in sheet.rows if "reference" in row.cells]
    accounts = [row.cells["account"] for row in sheet.rows if "account" in row.cells]
    known = {item.reference: item for item in bulk.found_by(BillingItem.objects.all(), "reference", references)}
    owners = {item.pk: item.customer_id for item in known.values()}
    customers = dict(bulk.found_by(Customer.objects.values_list("account", "id"), "account", accounts))
    new: list[BillingItem] = []
    changes: list[tuple[BillingItem, set[str]]] = []
    unchanged = 0
    for row in progress(sheet.rows, "Reading items"):
        values = _values(sheet, row, customers)
        if row.is_bad:
            continue
        reference = values["reference"]
        item = known[reference] if reference in known else _new_item(sheet, row, values)
        changed = {name for name, value in values.items() if getattr(item, name) != value}
        if problem := _may_not_change(item, changed):
            sheet.refuse(row, problem)
        for name in changed:
            setattr(item, name, values[name])
        if not row.is_bad and (problem := _may_not_be(item)):
            sheet.refuse(row, problem)
        if reference not in known:
            new.append(item)
        elif changed:
            changes.append((item, changed))
        else:
            unchanged += 1
    if not sheet.errors:
        bulk.lock_balances(owners[item.pk] for item, _ in changes)  # no run charges them meanwhile
        bulk.insert(new)
        bulk.update(changes)
    return Tally(created=len(new), updated=len(changes), unchanged=unchanged)


def _values(sheet: Sheet, row: Row, customers: dict[str, int]) -> dict[str, Any]:
    """What the row says, with the customer in place of the account."""
    values = sheet.values(row)
    if "reference" in values:
        sheet.is_repeated(row, values["reference"], f"The item “{values['reference']}”")
    if "account" in values:
        account = values.pop("account")
        values["customer_id"] = customers.get(account)
        if account not in customers:
            sheet.refuse(row, f"account “{account}” is unknown.")
    return values


def _new_item(sheet: Sheet, row: Row, values: dict[str, Any]) -> BillingItem:
    """An item with the defaults of everything that the row does not say; what must be said and isn't, is noted."""
    reference = values["reference"]
    for column, name in (("account", "customer_id"), ("amount", "amount"), ("starts_on", "starts_on")):
        if name not in values:
            sheet.refuse(row, f"{column} is empty; the new item “{reference}” needs one.")
    if "kind" not in values and not values.get("interval"):
        sheet.refuse(row, f"kind is empty, and no interval says that the new item “{reference}” recurs.")
    return BillingItem(reference=reference, description=reference, kind=ItemKind.RECURRING.value)


def _may_not_change(item: BillingItem, changed: set[str]) -> str | None:
    """Why these fields of the item stay as they are, in a sentence; None: they may change."""
    fixed = [column for name, column in FIXED_ONCE_CHARGED.items() if name in changed]
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
