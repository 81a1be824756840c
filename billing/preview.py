"""What a billing run would charge, to the last decimal: by the same rules and queries, writing nothing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db import connection, transaction

from billing import decks, episodes, halting, items, quarantine
from billing.batches import calls_waiting
from billing.models import EntryKind, ItemKind, Partner, Process
from billing.rating import rated

TOP_CUSTOMERS = 10


@dataclass
class Charges:
    """Charges of one kind: how many, and how much by currency, positive."""

    count: int = 0
    amount: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass
class Preview:
    """`charges` by ledger kind; `top_customers`: account, currency and amount, largest first.

    `falls`: the ids of the alerts whose episodes would open.
    """

    charges: dict[str, Charges] = field(default_factory=dict)
    top_customers: list[tuple[str, str, Decimal]] = field(default_factory=list)
    falls: list[int] = field(default_factory=list)

    @property
    def episodes_to_open(self) -> int:
        return len(self.falls)


def preview(
    *,
    at: datetime,
    processes: Sequence[Process] = halting.BILLING,
    partner: Partner | None = None,
    max_periods: int | None = None,
    charges_long_overdue: bool = False,
) -> Preview:
    """What a run at `at` would charge, were nothing halted. One snapshot of the database, taken without locks."""
    charges: dict[str, Charges] = defaultdict(Charges)
    by_customer: dict[int, Decimal] = defaultdict(Decimal)
    unsettled: set[int] = set()
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if Process.CALLS in processes:
            _add_calls(charges, by_customer, partner=partner)
        if Process.ITEMS in processes:
            unsettled = _add_items(
                charges,
                by_customer,
                at=at,
                partner=partner,
                max_periods=max_periods,
                charges_long_overdue=charges_long_overdue,
            )
        top = _top_customers(by_customer)
        falls = episodes.falls_to_come(by_customer, unsettled, at=at, processes=processes, partner=partner)
        transaction.set_rollback(True)
    return Preview(dict(charges), top, falls)


def _add_calls(charges: dict[str, Charges], by_customer: dict[int, Decimal], *, partner: Partner | None) -> None:
    quarantine.recall_mended(for_preview=True)
    decks.slice_for_pending_calls(for_preview=True)
    whose = "true" if partner is None else "cu.partner_id = %(partner)s"
    text = rated(whose, slices=decks.current_slices(), calls=calls_waiting())
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {text} SELECT customer_id, currency, count(*), sum(price) FROM rated"  # noqa: S608
            " WHERE outcome = 'charge' GROUP BY customer_id, currency",
            {"partner": partner.pk if partner else None},
        )
        for customer_id, currency, count, price in cursor.fetchall():
            kind = charges[EntryKind.CALL]
            kind.count += count
            kind.amount[currency] += price
            by_customer[customer_id] += price


def _add_items(
    charges: dict[str, Charges],
    by_customer: dict[int, Decimal],
    *,
    at: datetime,
    partner: Partner | None,
    max_periods: int | None,
    charges_long_overdue: bool,
) -> set[int]:
    """Add what is due of items; the customers of whom the run leaves something due."""
    unsettled = set()
    for some in items.everything_due(at=at, partner=partner):
        try:
            due, next_due_on = items.charges_of(
                some, max_periods=max_periods, charges_long_overdue=charges_long_overdue
            )
        except items.LongOverdue:
            continue  # the run notes it and leaves it alone
        except items.NOT_CHARGEABLE:
            unsettled.update(some.customer_ids)  # the same, and no balance is final before it was mended
            continue
        if next_due_on is not None and next_due_on <= some.today:
            unsettled.update(some.customer_ids)
        kind = charges[EntryKind.ONE_OFF if some.kind == ItemKind.ONE_OFF else EntryKind.RECURRING]
        amount = sum((charge.amount for charge in due), Decimal(0))
        kind.count += len(due) * len(some.item_ids)
        kind.amount[some.currency] += amount * len(some.item_ids)
        for customer_id in some.customer_ids:
            by_customer[customer_id] += amount
    return unsettled


def _top_customers(by_customer: dict[int, Decimal]) -> list[tuple[str, str, Decimal]]:
    largest = sorted(by_customer, key=lambda customer: (-by_customer[customer], customer))[:TOP_CUSTOMERS]
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, account, currency FROM billing_customer WHERE id = ANY(%s)", [largest])
        names = {row[0]: row[1:] for row in cursor.fetchall()}
    return [(*names[customer], by_customer[customer]) for customer in largest]
