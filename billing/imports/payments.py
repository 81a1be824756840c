"""Payments and refunds from a CSV file, all of them or none; what holds of one payment is `billing.payments`.

The description does not count when a payment is known already: banks word it differently from file to file.
"""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from billing import payments
from billing.imports import bulk, csvfile, entries
from billing.imports.csvfile import Column, CsvSource, Sheet
from billing.imports.entries import Entry
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.keys import payment_key
from billing.models import Customer, LedgerEntry
from billing.payments import EARLY


def _reference(cell: str) -> str:
    if csvfile.is_number_of_a_spreadsheet(cell):
        raise csvfile.BadCell("is a number that a spreadsheet has shortened: its digits are lost")
    return csvfile.text(200)(cell)


COLUMNS = {
    "reference": Column(_reference, is_required=True),
    "account": Column(csvfile.name, is_required=True),
    "amount": Column(csvfile.decimal(), is_required=True),
    "received_at": Column(csvfile.moment),
    "description": Column(csvfile.text(1000), clears_to=""),
}
DEFAULT_SOURCE = "file"


class Posted(NamedTuple):
    """What the ledger says of a payment."""

    key: str
    customer__account: str
    amount: Decimal
    occurred_at: datetime


def import_payments(
    source: CsvSource,
    *,
    at: datetime,
    payment_source: str = DEFAULT_SOURCE,
    dry_run: bool = False,
    progress: Progress = unwatched,
) -> ImportResult:
    """Post the payments of a file that are not known yet. May be repeated: the same file again changes nothing.

    `received_at` is when a payment occurred: a date means the customer's midnight, a time without zone is UTC, and
    nothing means `at`. More than a day later than `at` is an error.
    """

    def work(sheet: Sheet) -> Tally:
        return _import(sheet, payment_source, at, progress)

    sheet = csvfile.read(source, COLUMNS)
    try:
        csvfile.name(payment_source)
    except csvfile.BadCell as reason:
        sheet.refuse(None, f"The source of payments “{csvfile.shown(payment_source)}” {reason}.")
    return all_or_nothing(sheet, work, what=f"payments {payment_source}", dry_run=dry_run)


def _import(sheet: Sheet, payment_source: str, at: datetime, progress: Progress) -> Tally:
    keys = [payment_key(payment_source, row.cells["reference"]) for row in sheet.rows if "reference" in row.cells]
    accounts = [row.cells["account"] for row in sheet.rows if "account" in row.cells]
    posted = bulk.found_by(LedgerEntry.objects.values_list(*Posted._fields), "key", keys)
    known = {fields[0]: Posted(*fields) for fields in posted}
    customers = {customer.account: customer for customer in bulk.found_by(Customer.objects.all(), "account", accounts)}
    new: list[Entry] = []
    unchanged = 0
    for row in progress(sheet.rows, "Reading payments"):
        values = sheet.values(row)
        if (reference := values.get("reference")) is not None:
            sheet.is_repeated(row, reference, f"The payment “{reference}”")
        if (account := values.get("account")) is not None and account not in customers:
            sheet.refuse(row, f"account “{account}” is unknown.")
        if values.get("amount") == 0:
            sheet.refuse(row, "amount is zero; a payment has an amount.")
        if row.is_bad:
            continue
        customer = customers[values["account"]]
        received_at = payments.moment_of(values.get("received_at"), customer)
        if received_at and received_at > at + EARLY:
            sheet.refuse(row, f"received_at “{row.cells['received_at']}” is more than a day ahead.")
            continue
        key = payment_key(payment_source, values["reference"])
        if key not in known:
            kind = payments.kind_of(values["amount"]).value
            description = values.get("description", "")
            new.append(Entry(key, customer, kind, values["amount"], received_at or at, description))
        elif difference := payments.in_what_it_differs(
            known[key][1:], account=customer, amount=values["amount"], received=values.get("received_at")
        ):
            sheet.refuse(row, f"The payment “{reference}” was posted already, {difference}; a payment never changes.")
        else:
            unchanged += 1
    if not sheet.errors:
        entries.post(new)
    return Tally(created=len(new), unchanged=unchanged)
