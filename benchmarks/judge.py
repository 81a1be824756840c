"""Judging balances: a million customers, a hundred thousand of them in open episodes.

python -m benchmarks.judge [--customers 1000000] [--low 100000] [--newly 1000]

Measured is the episode stage alone: with so many customers who have newly fallen below a threshold, and with none.
"""

import argparse

from benchmarks import databases

WORLD = "ivy_benchmark_judge"

PREPARE = """
from django.db import connection
from benchmarks import worlds
worlds.build(customers={customers}, prefixes=100)
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month,
                                         charge_number, description, reason, entered_by)
        SELECT 'payment:bank:' || id, id, 'payment', CASE WHEN n <= {low} THEN -5 ELSE 20 END, 'EUR', now(),
            date_trunc('month', now())::date, 1, 'Payment', '', ''
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM billing_customer) c
    ''')
    cursor.execute("VACUUM ANALYZE")
"""

MEASURE = """
import statistics, time
from django.db import connection
from django.utils import timezone
from billing import episodes
def judge():
    began = time.perf_counter()
    found = episodes.judge(at=timezone.now())
    return (time.perf_counter() - began) * 1000, found
print(f"first, {{judge()[1].opened}} episodes opened")
with connection.cursor() as cursor:
    cursor.execute("VACUUM ANALYZE")
nothing = [judge()[0] for _ in range(20)]
newly = []
for number in range(10):
    with connection.cursor() as cursor:
        cursor.execute(
            '''
            INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month,
                                             charge_number, description, reason, entered_by)
            SELECT 'adjustment:fall:' || id, id, 'adjustment', -25, 'EUR', now(), date_trunc('month', now())::date, 1,
                'Fall', 'benchmark', 'benchmark'
            FROM billing_customer ORDER BY id OFFSET %s LIMIT {newly}
            ''', [{low} + number * {newly}])
    taken, found = judge()
    assert found.opened == {newly}, found
    newly.append(taken)
print(f"nothing new: median {{statistics.median(nothing):.1f}} ms of 20")
print(f"{newly:,} newly low: median {{statistics.median(newly):.1f}} ms of 10")
"""


def main() -> None:
    """Build the world, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--low", type=int, default=100_000)
    parser.add_argument("--newly", type=int, default=1_000)
    options = vars(parser.parse_args())
    with databases.temporary(WORLD) as world:
        databases.manage(world, "migrate", "-v0")
        databases.inside(world, PREPARE.format(**options))
        print(databases.inside(world, MEASURE.format(**options)))


if __name__ == "__main__":
    main()
