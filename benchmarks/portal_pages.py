"""How quick the portal's pages are: a partner with 20,000 customers and 1,000,000 calls, each page by its percentiles.

    DATABASE_URL=postgres://... CACHE_URL=redis://... python -m benchmarks.portal_pages [--calls N] [--customers N]

Pages are asked for in this process through the whole of Django, a hundred times each, warm; then again with a Redis to
which nobody listens. `--keep NAME` leaves the database under that name, to be asked again with `--use NAME`.
"""

import argparse
import json
import os
from contextlib import ExitStack

from benchmarks import databases

PAGES = [
    "portal:overview",
    "portal:customers",
    "portal:calls",
    "portal:status",
    "portal:banner",
    "portal:people",
    "portal:settings",
    "status:page",
]
NOBODY_LISTENS = "redis://127.0.0.1:1/0"

BUILD = """
from benchmarks import worlds
from django.db import connection
worlds.build(customers={customers} + {customers} // 4, partners=1)  # a fifth of all is of another partner
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO billing_partner (slug, name, currency, timezone, language, sender, reply_to)"
                   " VALUES ('other', 'Other', 'EUR', 'UTC', 'en', '', '')")
    cursor.execute("UPDATE billing_customer SET partner_id = (SELECT max(id) FROM billing_partner)"
                   " WHERE id % 5 = 0")
    cursor.execute("INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active, rearm_margin,"
                   " remind_every_days) SELECT id, 'low_balance', 10, true, NULL, NULL FROM billing_customer")
worlds.pay_in(100)
worlds.add_calls({calls} + {calls} // 4)
from billing import cycle, sums
from django.core.management import call_command
call_command("run_billing", "--only", "calls")
with connection.cursor() as cursor:
    cursor.execute("UPDATE billing_delivery SET finished_at = now()")
    cursor.execute("VACUUM ANALYZE")
import time
time.sleep(6)
began = time.monotonic()
sums.sum_up()
took = time.monotonic() - began
time.sleep(6)
sums.sum_up()  # as a minute later: what is summed is known by its ids from then on
with connection.cursor() as cursor:
    cursor.execute("VACUUM ANALYZE")
from ivy.accounts.models import User
from ivy.portal.models import PortalUser
from billing.models import Partner
owner = User.objects.create_user("owner@example.com", "x")
PortalUser.objects.create(user=owner, partner=Partner.objects.get(slug="partner-1"), role="owner")
print(f"sums of {calls} entries made in {{took:.1f}} s")
"""

ASK = """
import json, time
from django.conf import settings
settings.SECURE_SSL_REDIRECT = False
settings.SESSION_COOKIE_SECURE = False
settings.AXES_ENABLED = False
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
from django.test import Client
from django.urls import reverse
import time_machine
from datetime import datetime, UTC
from ivy.accounts.models import User
client = Client(headers={{"host": "localhost"}})
client.force_login(User.objects.get(email="owner@example.com"))
found = {{}}
with time_machine.travel(datetime(2026, 3, 29, 12, tzinfo=UTC), tick=True):
    for page in {pages!r}:
        times = []
        for number in range({times} + 5):
            began = time.perf_counter()
            answer = client.get(reverse(page))
            times.append(time.perf_counter() - began)
            assert answer.status_code == 200, (page, answer.status_code)
        times = sorted(times[5:])
        found[page] = [round(1000 * times[int(len(times) * share)], 1) for share in (0.5, 0.95)]
print(json.dumps(found))
"""


def main() -> None:
    """Print, for each page, the median and the 95th percentile in milliseconds, with Redis and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--keep")
    parser.add_argument("--use")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.use:
            url = databases.url_of(options.use)
        elif options.keep:
            databases.drop(options.keep)
            url = databases.create(options.keep)
        else:
            url = stack.enter_context(databases.temporary("ivy_benchmark_portal"))
        if not options.use:
            databases.manage(url, "migrate")
            print(
                databases.inside(url, BUILD.format(calls=options.calls, customers=options.customers)).splitlines()[-1]
            )
        for name, cache in (("with Redis", os.environ.get("CACHE_URL", "")), ("without", NOBODY_LISTENS)):
            os.environ["CACHE_URL"] = cache
            found = json.loads(databases.inside(url, ASK.format(pages=PAGES, times=options.times)).splitlines()[-1])
            for page, (median, slow) in found.items():
                print(f"{name:<10}  {page:<24} median {median:7.1f} ms   95th percentile {slow:7.1f} ms")


if __name__ == "__main__":
    main()
