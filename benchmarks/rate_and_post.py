"""Rating and posting calls, as a ratio to COPY of the same ledger rows and to a loop through the ORM.

    python -m benchmarks.rate_and_post [--calls 1000000] [--customers 100000] [--rounds 3]

Every round measures all of them, each on a fresh copy of the same database, after a
checkpoint; the table shows medians. Flattening the deck counts, importing the calls does not. The loop is timed over
2,000 calls.
"""

import argparse
import json
from functools import partial

from benchmarks import databases, ratios

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
    ratios.compare(
        build="from benchmarks import worlds\n"
        f"worlds.build(customers={options.customers}); worlds.pay_in(1_000); worlds.add_calls({options.calls})",
        run=partial(run_billing, calls=options.calls),
        what="rate and post",
        loop=LOOP,
        entries=options.calls,
        loop_entries=LOOP_CALLS,
        rounds=options.rounds,
    )


def run_billing(url: str, *, calls: int, workers: int = 1) -> float:
    """Seconds that a run takes."""
    answer = json.loads(databases.manage(url, "run_billing", "--only=calls", f"--workers={workers}", "--json"))
    if (answer["state"], answer["calls_billed"]) != ("done", calls):
        raise SystemExit(f"The run did not charge every call: {answer}")
    return ratios.seconds_of_the_run(url)


if __name__ == "__main__":
    main()
