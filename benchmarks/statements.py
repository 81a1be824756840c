"""Closing a month and reading statements, for many customers; and what the order of posting costs the ledger.

python -m benchmarks.statements [--customers 100000] [--entries 1000000]
"""

import argparse

from benchmarks import databases

WORLD = "ivy_benchmark_statements"

# A twentieth of all entries are one customer's; the later half was posted this month.
BUILD = """
from django.db import connection
from benchmarks import worlds
worlds.build(customers={customers}, prefixes=100)
with connection.cursor() as cursor:
    cursor.execute("UPDATE billing_partner SET created_at = date_trunc('month', now()) - interval '1 day'")
    cursor.execute('''
        INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, posted_at,
            booked_month, charge_number, description, rate_id, billed_seconds, reason, entered_by)
        SELECT 'call:benchmark:' || n,
            (SELECT min(id) FROM billing_customer)
                + CASE WHEN n % 20 = 0 THEN 0 ELSE n * 7919::bigint % {customers} END,
            'call', -0.01, 'EUR', at, at, date_trunc('month', at AT TIME ZONE 'UTC'), 1,
            'outbound call, 447700900000', 1, 60, '', ''
        FROM generate_series(1, {entries}) n, LATERAL (
            SELECT date_trunc('month', now()) + interval '1 second' * (n - {entries} / 2) AS at
        ) t
    ''')
    cursor.execute("DELETE FROM billing_customertojudge")
    cursor.execute("ANALYZE")
"""

MEASURE = """
import statistics as middle, time
from django.db import connection
from django.utils import timezone
from billing import statements
from billing.models import Customer, Partner, Statement
from tests.factories import make_run
def timed(what, verb, times=1):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        answer = verb()
        taken.append((time.perf_counter() - began) * 1000)
    print(f"{what}: {middle.median(taken):.1f} ms", flush=True)
    return answer
run = make_run(started_at=timezone.now(), business_at=timezone.now())
heavy = Customer.objects.order_by("pk").first()
partner = heavy.partner
light = Customer.objects.filter(partner=partner).order_by("pk")[1001]
month = statements.months_of(partner)[0]
timed("totals of an open month of 3, 25,000 customers", lambda: statements.totals_of(partner, month))
closed = timed("closing", lambda: statements.close_months(run))
print(len(closed), "months of partners,", Statement.objects.count(), "statements")
timed("nothing to close", lambda: statements.close_months(run), 20)
connection.cursor().execute("ANALYZE billing_statement")
months = statements.months_of(partner)
for month in months[:2]:
    state = "closed" if month.is_closed else "open"
    timed(f"{state}: totals of the partner", lambda: statements.totals_of(partner, month), 5)
    timed(f"{state}: a page of 50 customers", lambda: statements.sheets_in(partner, month, limit=50), 5)
    for name, customer in [("light", light), ("heavy", heavy)]:
        sheet = timed(f"{state}: {name} sheet", lambda: statements.sheet_of(customer, month.first), 5)
        print(sheet.entry_count, "lines")
        timed(f"{state}: {name} first 100 lines", lambda: list(statements.lines_of([sheet], limit=100)), 5)
        timed(f"{state}: {name} all lines", lambda: sum(1 for _ in statements.lines_of([sheet])), 1)
timed("list of a heavy customer", lambda: statements.sheets_of(heavy), 5)
"""


def main() -> None:
    """Build the world, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    with databases.temporary(WORLD) as world:
        databases.manage(world, "migrate", "-v0")
        databases.inside(world, BUILD.format(customers=options.customers, entries=options.entries))
        print(databases.inside(world, MEASURE))


if __name__ == "__main__":
    main()
