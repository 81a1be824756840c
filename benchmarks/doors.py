"""How long `/health/ready` and `/metrics` take on the database that DATABASE_URL names, however large it is.

    DATABASE_URL=… CACHE_URL=… python -m benchmarks.doors

Writes one pulse; nothing else. Milliseconds, of a hundred times each.
"""

import os
import statistics
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ivy.settings")
os.environ["METRICS_TOKEN"] = TOKEN = "a-token-for-the-benchmark"
TIMES = 100


def main() -> None:
    """Measure both, and say how many ledger entries lay behind them, by the planner's estimate."""
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - once there are settings
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client(headers={"authorization": f"Bearer {TOKEN}"})
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY(%s)", [TABLES])
        for name, rows in sorted(cursor.fetchall()):
            print(f"{name:32} {rows:>12,} rows")
    for path in ("/health/live", "/health/ready", "/metrics"):
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            status = client.get(path).status_code
            took.append((time.perf_counter() - began) * 1000)
            assert status == 200, (path, status)
        took.sort()
        print(
            f"{path:14} median {statistics.median(took):6.1f} ms   95th {took[94]:6.1f} ms   worst {took[-1]:6.1f} ms"
        )


TABLES = ["billing_ledgerentry", "billing_callrecord", "billing_billingrun", "notifications_notificationlog"]

if __name__ == "__main__":
    main()
