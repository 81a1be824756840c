"""What files may be sent, who may send them, and what reads each: the importers of the commands, with their checks."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from billing.imports import csvfile, customers, items, partners, payments, rates
from billing.imports.customers import import_customers
from billing.imports.items import import_items
from billing.imports.partners import import_partners
from billing.imports.payments import import_payments
from billing.imports.rates import DeckTerms, Watch, import_rates, unnoticed
from billing.imports.whole import ImportResult
from ivy.models import Upload, UploadKind

LARGEST_FILE = 4_000_000


@dataclass(frozen=True)
class FileKind:
    """What somebody must be allowed to send such files, and which columns they have."""

    title: str
    permissions: tuple[str, ...]
    columns: tuple[str, ...]
    moves_money: bool = False


KINDS = {
    UploadKind.PARTNERS: FileKind(
        "Partners", ("billing.add_partner", "billing.change_partner"), tuple(partners.COLUMNS)
    ),
    UploadKind.CUSTOMERS: FileKind(
        "Customers, with alerts and call identities",
        (
            "billing.add_customer",
            "billing.change_customer",
            "billing.add_callidentity",
            "billing.change_callidentity",
            "billing.add_balancealert",
            "billing.change_balancealert",
            "billing.adjust_balance",
        ),
        tuple(customers.COLUMNS),
    ),
    UploadKind.ITEMS: FileKind(
        "Billing items", ("billing.add_billingitem", "billing.change_billingitem"), tuple(items.COLUMNS)
    ),
    UploadKind.RATES: FileKind(
        "Rates of a deck", ("billing.add_rate", "billing.change_rate"), tuple(rates.COLUMNS), moves_money=True
    ),
    UploadKind.PAYMENTS: FileKind(
        "Payments and refunds", ("billing.take_payment",), tuple(payments.COLUMNS), moves_money=True
    ),
}


def may_send(user: Any, kind: UploadKind) -> bool:
    return all(user.has_perm(permission) for permission in KINDS[kind].permissions)


def run(upload: Upload, *, at: datetime, dry_run: bool, watch: Watch = unnoticed) -> ImportResult:
    """Import the file, or with `dry_run` tell what would come of it; all of it or nothing. May be repeated."""
    content, options = bytes(upload.content), upload.options
    match UploadKind(upload.kind):
        case UploadKind.PARTNERS:
            return import_partners(content, dry_run=dry_run)
        case UploadKind.CUSTOMERS:
            return import_customers(content, at=at, dry_run=dry_run)
        case UploadKind.ITEMS:
            return import_items(content, dry_run=dry_run)
        case UploadKind.PAYMENTS:
            source = options.get("payment_source") or payments.DEFAULT_SOURCE
            return import_payments(content, at=at, payment_source=source, dry_run=dry_run)
        case UploadKind.RATES:
            return import_rates(
                content,
                deck=options["deck"],
                at=at,
                terms=DeckTerms(**{term: options[term] for term in DeckTerms.__slots__ if term in options}),
                full_from=full_from(options),
                dry_run=dry_run,
                watch=watch,
            )


def full_from(options: dict[str, Any]) -> date | datetime | None:
    """The day from which the file is the whole deck, if it is."""
    return csvfile.moment(options["full_from"]) if options.get("full_from") else None


def limit(options: dict[str, Any], name: str) -> Decimal | None:
    return Decimal(options[name]) if options.get(name) else None
