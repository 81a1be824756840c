"""Payments and refunds from a CSV file, all of them or none.

A payment is known by its source and its reference. Once posted it never changes: the same reference with the same
account and amount (and time, where the file names one) is left alone, anything else is an error. A payment that was
reversed since is known nevertheless. The description does not count: banks word it differently from file to file.
Payments are posted whatever is halted, for closed customers too.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from billing.imports import bulk, csvfile
from billing.imports.csvfile import Column, CsvSource, Sheet
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.keys import payment_key
from billing.models import Customer, EntryKind, LedgerEntry

COLUMNS = {
    "reference": Column(csvfile.text(200), is_required=True),
    "account": Column(csvfile.name, is_required=True),
    "amount": Column(csvfile.decimal(), is_required=True),
    "received_at": Column(csvfile.moment),
    "description": Column(csvfile.text(1000), clears_to=""),
}
DEFAULT_SOURCE = "file"
EARLY = timedelta(days=1)


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
    entries = bulk.found_by(LedgerEntry.objects.select_related("customer"), "key", keys)
    known = {entry.key: entry for entry in entries}
    customers = {customer.account: customer for customer in bulk.found_by(Customer.objects.all(), "account", accounts)}
    new: list[LedgerEntry] = []
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
        received_at = _received_at(values.get("received_at"), customer)
        if received_at and received_at > at + EARLY:
            sheet.refuse(row, f"received_at “{row.cells['received_at']}” is more than a day ahead.")
            continue
        entry = known.get(payment_key(payment_source, values["reference"]))
        if entry is None:
            new.append(_entry(payment_source, values, customer, received_at or at))
        elif difference := _difference(entry, values, customer):
            sheet.refuse(
                row, f"The payment “{values['reference']}” was posted already, {difference}; a payment never changes."
            )
        else:
            unchanged += 1
    if not sheet.errors:
        bulk.lock_balances(entry.customer_id for entry in new)
        bulk.insert(new)
    return Tally(created=len(new), unchanged=unchanged)


def _received_at(received: date | datetime | None, customer: Customer) -> datetime | None:
    if received is None:
        return None
    return csvfile.instant(received, midnight_in=ZoneInfo(customer.timezone), zone=UTC)


def _entry(payment_source: str, values: dict[str, Any], customer: Customer, occurred_at: datetime) -> LedgerEntry:
    amount = values["amount"]
    return LedgerEntry(
        key=payment_key(payment_source, values["reference"]),
        customer=customer,
        kind=(EntryKind.PAYMENT if amount > 0 else EntryKind.REFUND).value,
        amount=amount,
        currency=customer.currency,
        occurred_at=occurred_at,
        booked_month=occurred_at.astimezone(UTC).date().replace(day=1),
        description=values.get("description", ""),
    )


def _difference(entry: LedgerEntry, values: dict[str, Any], customer: Customer) -> str | None:
    """In what the known payment is not what the row says, as the end of a sentence; None: in nothing."""
    if entry.customer_id != customer.pk:
        return f"for the account “{entry.customer.account}”, not “{customer.account}”"
    if entry.amount != values["amount"]:
        return f"with the amount {csvfile.plain(entry.amount)} {entry.currency}, not {csvfile.plain(values['amount'])}"
    if not _agree(values.get("received_at"), entry, customer):
        return f"as received at {entry.occurred_at.isoformat()}, not {values['received_at'].isoformat()}"
    return None


def _agree(received: date | datetime | None, entry: LedgerEntry, customer: Customer) -> bool:
    """Whether the payment was posted with the time that the row gives; a date agrees with every time of that day."""
    if received is None or isinstance(received, datetime):
        return received is None or entry.occurred_at == _received_at(received, customer)
    return entry.occurred_at.astimezone(ZoneInfo(customer.timezone)).date() == received
