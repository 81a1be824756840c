"""The control room before a large history: the first page, its live part, a run's page, and what a resume would do.

python -m benchmarks.control_room [--calls 1000000] [--customers 100000]

In three states: all calls wait (halted), all are billed, and Redis is not there besides. Requests go through Django's
test client, so that the time is the server's alone.
"""

import argparse

from benchmarks import databases

WORLD = "ivy_benchmark_control_room"

# A month of runs, one a minute of which half charged something, and five weeks of mails.
HISTORY = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO billing_billingrun (state, started_by, started_at, ended_at, business_at, processes, calls_billed,
            calls_free, calls_quarantined, item_charges, one_off_charges, episodes_opened, episodes_closed, amount,
            halted, errors, ended_because, charges_long_overdue)
        SELECT 'done', 'schedule', at, at, at, '["calls", "items"]', n % 2 * 40, 0, 0, 0, 0, 0, 0,
            CASE n % 2 WHEN 1 THEN '{"EUR": "12.340000"}' ELSE '{}' END::jsonb, '[]', '[]', '', false
        FROM generate_series(1, 43200) n,
            LATERAL (SELECT statement_timestamp() - make_interval(mins => 43200 - n) AS at) begun
    ''')
    cursor.execute('''
        INSERT INTO notifications_notificationlog (key, kind, customer_id, partner_id, reminder_number, recipient_hash,
            message_id, created_at, state, because, detail, is_errant, next_try_at, try_count, sending_at, sent_at)
        SELECT 'benchmark:' || n, 'low_balance', c.id, c.partner_id, 0, md5(n::text), '<' || n || '@example.org>', at,
            CASE WHEN n % 1000 = 0 THEN 'uncertain' ELSE 'sent' END, '', '', false, at, 1, at, at
        FROM generate_series(1, 100000) n
        JOIN LATERAL (SELECT id, partner_id FROM billing_customer WHERE id >= n ORDER BY id LIMIT 1) c ON true,
            LATERAL (SELECT statement_timestamp() - make_interval(secs => (100000 - n) * 30) AS at) owed
    ''')
    cursor.execute("ANALYZE")
"""

MEASURE = """
import statistics, time
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from billing import halting
from billing.models import BillingRun, Process
from ivy.accounts.models import User
settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT, settings.AXES_ENABLED = ["*"], False, False
settings.STORAGES = {**settings.STORAGES, "staticfiles": {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
user = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("ann@ivy.example", "a secret")
client = Client()
client.force_login(user)
def took(path, times=40):
    seen = []
    for _ in range(times + 2):
        began = time.perf_counter()
        answer = client.get(path)
        seen.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer
    seen = sorted(seen[2:])
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    print(f"  {path}: median {statistics.median(seen):.0f} ms, 95th percentile {seen[int(len(seen) * 0.95)]:.0f} ms"
          f" of {times}; {len(queries)} queries", flush=True)
print(WHEN)
took("/admin/")
took("/admin/control/now/")
took("/admin/control/lately/")
run = BillingRun.objects.order_by("-calls_billed").first()
if WHEN != "all calls wait":
    took(f"/admin/control/run/{run.pk}/")
    took(f"/admin/control/run/{run.pk}/charges/?kind=call", times=5)
if WHEN == "all calls wait":
    halting.halt(Process.CALLS, reason="benchmark", by="benchmark")
    took("/admin/control/resume/calls/", times=10)
    took("/admin/control/resume/calls/?preview=1", times=1)
    halting.resume(Process.CALLS, reason="benchmark", by="benchmark")
"""

NO_REDIS = (
    "settings.CACHES = {**settings.CACHES,"
    ' "redis": {**settings.CACHES["redis"], "LOCATION": "redis://127.0.0.1:1/0"}}\n'
)


def main() -> None:
    """Build the world, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    options = parser.parse_args()
    with databases.temporary(WORLD) as world:
        databases.manage(world, "migrate", "-v0")
        build = "from benchmarks import worlds\n"
        build += f"worlds.build(customers={options.customers}); worlds.add_calls({options.calls})\n"
        databases.inside(world, build + HISTORY)
        print(measured(world, "all calls wait"), flush=True)
        print(databases.manage(world, "run_billing", "--workers=2"), flush=True)
        databases.inside(world, "from django.db import connection\nconnection.cursor().execute('VACUUM ANALYZE')")
        print(measured(world, "all calls are billed"), flush=True)
        print(measured(world, "the same without Redis", NO_REDIS), flush=True)


def measured(world: str, when: str, before: str = "") -> str:
    """What one look at the pages took."""
    code = MEASURE.replace("client = Client()", f"{before}client = Client()")
    return databases.inside(world, f"WHEN = {when!r}\n{code}")


if __name__ == "__main__":
    main()
