"""Rating and posting calls, as a ratio to COPY of the same ledger rows and to a loop through the ORM.

    python -m benchmarks.rate_and_post [--calls 1000000] [--customers 100000] [--rounds 3]

Every round measures all of them, each on a fresh copy of the same database, after a
checkpoint; the table shows medians. Flattening the deck counts, importing the calls does not. The loop is timed over
2,000 calls.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from benchmarks import databases, ratios

WORLD = "ivy_benchmark_world"
WORK = "ivy_benchmark_work"
LOOP_CALLS = 2_000

LOOP = f"""
import time
from datetime import UTC
from decimal import Decimal, ROUND_HALF_UP
from django.db import connection, transaction
from billing.models import CallRecord, Customer, LedgerEntry, Rate
from billing.keys import call_key
calls = list(CallRecord.objects.order_by("id")[:{LOOP_CALLS}])
began = time.perf_counter()
for call in calls:
    with transaction.atomic():
        customer = Customer.objects.select_related("partner__rate_deck").get(pk=call.customer_id)
        deck = customer.rate_deck or customer.partner.rate_deck
        prefixes = [call.to_number[:length] for length in range(1, 16)]
        rate = max(Rate.objects.filter(deck=deck, prefix__in=prefixes), key=lambda rate: len(rate.prefix))
        further = max(0, call.seconds - rate.first_increment)
        seconds = rate.first_increment + -(-further // rate.increment) * rate.increment
        exact = max(rate.connect_fee + rate.price_per_minute * seconds / 60, rate.minimum_charge)
        price = exact.quantize(Decimal(1).scaleb(-deck.decimals), ROUND_HALF_UP)
        LedgerEntry.objects.create(
            key=call_key("benchmark", call.call_id), customer=customer, kind="call", amount=-price,
            currency=customer.currency, occurred_at=call.started_at, booked_month=call.booked_month,
            description=f"outbound call, {{call.to_number}}, {{rate.destination}}", rate_id=rate.pk,
            billed_seconds=seconds,
        )
print(time.perf_counter() - began)
"""


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    with databases.temporary(WORLD) as world, TemporaryDirectory() as folder:
        databases.manage(world, "migrate", "-v0")
        databases.inside(
            world,
            "from benchmarks import worlds\n"
            f"worlds.build(customers={options.customers}); worlds.pay_in(1_000); worlds.add_calls({options.calls})",
        )
        rows = Path(folder) / "entries"
        with databases.temporary(WORK, like=WORLD) as work:
            run_billing(work, options.calls)
            ratios.save_entries(work, rows)
        for number in range(1, options.rounds + 1):
            for name, measure in (
                (ratios.RAW, lambda work: ratios.copy_entries(work, rows)),
                (ratios.BARE, lambda work: ratios.copy_entries(work, rows, into_a_bare_table=True)),
                ("rate and post, one worker", lambda work: run_billing(work, options.calls)),
                ("rate and post, two workers", lambda work: run_billing(work, options.calls, workers=2)),
                (ratios.LOOP, lambda work: float(databases.inside(work, LOOP)) * options.calls / LOOP_CALLS),
            ):
                with databases.temporary(WORK, like=WORLD) as work:
                    ratios.checkpoint()
                    seconds[name].append(measure(work))
                print(f"round {number}: {name}: {seconds[name][-1]:.1f} s", flush=True)
    ratios.print_table(seconds, options.calls)


def run_billing(url: str, calls: int, *, workers: int = 1) -> float:
    """Seconds that a run takes by its own clock (the database's), from its beginning to its end."""
    answer = json.loads(databases.manage(url, "run_billing", "--only=calls", f"--workers={workers}", "--json"))
    if (answer["state"], answer["calls_billed"]) != ("done", calls):
        raise SystemExit(f"The run did not charge every call: {answer}")
    with psycopg.connect(url) as database:
        row = database.execute("SELECT extract(epoch FROM ended_at - started_at) FROM billing_billingrun").fetchone()
    return float(row[0]) if row else 0.0


if __name__ == "__main__":
    main()
