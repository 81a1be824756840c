"""Ledger entries that files bring: payments, refunds, opening balances."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from billing.imports import bulk
from billing.models import Customer, LedgerEntry


class Entry(NamedTuple):
    key: str
    customer: Customer
    kind: str
    amount: Decimal
    occurred_at: datetime
    description: str


def post(entries: Sequence[Entry]) -> None:
    """Write the entries to the ledger in one statement; its trigger moves the balances, locked in order before."""
    bulk.lock_balances(entry.customer.pk for entry in entries)
    bulk.insert_values(
        LedgerEntry,
        [
            *("key", "customer_id", "kind", "amount", "currency", "occurred_at", "booked_month"),
            *("charge_number", "description", "reason", "entered_by"),
        ],
        (
            (
                *(entry.key, entry.customer.pk, entry.kind, entry.amount, entry.customer.currency),
                *(entry.occurred_at, entry.occurred_at.astimezone(UTC).date().replace(day=1)),
                *(1, entry.description, "", ""),
            )
            for entry in entries
        ),
    )
