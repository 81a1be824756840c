"""Charging recurring items: as a ratio to a raw COPY of the same ledger rows, and to one transaction per item.

    python -m benchmarks.recurring [--items 200000] [--customers 100000] [--rounds 3]

Each item has one period due: it is priced, posted, kept as charged, and the item moved on. Every round measures all of
them, each on a fresh copy of the same database, after a checkpoint; the table shows medians. The loop is timed over
2,000 items; it keeps the same rules (locks, pauses, changed amounts) and takes dates and prices from the same pure
functions.
"""

import argparse
import json
from functools import partial

from benchmarks import databases, ratios

LOOP_ITEMS = 2_000
AT = "2026-01-29"

LOOP = f"""
import time
from datetime import UTC, date, datetime
from django.db import transaction
from zoneinfo import ZoneInfo
from billing.items import amount_on, schedule_of
from billing.keys import item_key
from billing.models import BillingItem, CustomerBalance, ItemPeriod, LedgerEntry
from billing.periods import Pause, currency_digits, next_due_on, periods, price
ids = list(BillingItem.objects.order_by("id").values_list("id", flat=True)[:{LOOP_ITEMS}])
began = time.perf_counter()
for id in ids:
    with transaction.atomic():
        item = BillingItem.objects.select_related("customer").select_for_update(of=("self",)).get(pk=id)
        CustomerBalance.objects.select_for_update().get(pk=item.customer_id)
        pauses = [Pause(pause.starts_on, pause.ends_on) for pause in item.pauses.order_by("starts_on")]
        changes = list(item.price_changes.order_by("from_date").values_list("from_date", "amount"))
        schedule = schedule_of(item, pauses=pauses, ends_on=item.ends_on)
        for period in periods(schedule, item.charged_through, date.fromisoformat("{AT}"), None):
            at = datetime.combine(period.start, datetime.min.time(), ZoneInfo(item.customer.timezone)).astimezone(UTC)
            amount = amount_on(period.start, first=item.amount, changes=changes)
            entry = LedgerEntry.objects.create(
                key=item_key(item.reference, period.start), customer=item.customer, kind="recurring",
                amount=-price(amount, item.quantity, period, currency_digits(item.customer.currency)),
                currency=item.customer.currency, occurred_at=at, booked_month=at.date().replace(day=1),
                description=item.description, period_start=period.start, period_end=period.end,
            )
            ItemPeriod.objects.create(
                item=item, start_on=period.start, end_on=period.end, kind=period.kind,
                days=period.charged_days, whole_days=period.whole_days, amount=amount, quantity=item.quantity,
            )
            item.charged_through = period.end
        item.next_due_on = next_due_on(schedule, item.charged_through)
        item.save(update_fields=["charged_through", "next_due_on"])
print(time.perf_counter() - began)
"""


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios.compare(
        build="from benchmarks import worlds\n"
        f"worlds.build(customers={options.customers}, prefixes=100); worlds.pay_in(1_000)\n"
        f"worlds.add_items({options.items})",
        run=partial(run_billing, items=options.items),
        what="charge items",
        loop=LOOP,
        entries=options.items,
        loop_entries=LOOP_ITEMS,
        rounds=options.rounds,
    )


def run_billing(url: str, *, items: int, workers: int = 1) -> float:
    """Seconds that a run takes."""
    command = ["run_billing", "--only=items", f"--at={AT}", f"--workers={workers}", "--json"]
    answer = json.loads(databases.manage(url, *command))
    if (answer["state"], answer["item_charges"]) != ("done", items):
        raise SystemExit(f"The run did not charge every item once: {answer}")
    return ratios.seconds_of_the_run(url)


if __name__ == "__main__":
    main()
