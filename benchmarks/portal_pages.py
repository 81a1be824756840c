"""How quick the portal's pages are: a partner with 20,000 customers and 1,000,000 calls, each page by its percentiles.

    DATABASE_URL=postgres://... CACHE_URL=redis://... python -m benchmarks.portal_pages [--calls N] [--customers N]

Pages are asked for in this process through the whole of Django, a hundred times each, warm; then again with a Redis to
which nobody listens, and once more after calls were halted for two days while they went on coming in. At the end all
calls are taken as a CSV file by a process of its own. `--keep NAME` leaves the database under that name, to be asked
again with `--use NAME`.
"""

import argparse
import json
import os
from datetime import datetime, timedelta

from benchmarks import databases

# Pages, and what they are asked; the customer is one like all the others, the month the one of the calls.
PAGES = {
    "overview": "portal:overview",
    "customers": "portal:customers",
    "customers, searched": "portal:customers?q=4711",
    "customers, least balance": "portal:customers?order=least",
    "a customer": "portal:customer/{account}",
    "a ledger": "portal:ledger/{account}",
    "a customer's alerts": "portal:customer_alerts/{account}",
    "a customer's items": "portal:items/{account}",
    "a customer's months": "portal:customer_statements/{account}",
    "a statement": "portal:statement/2026-03/{account}",
    "statements of a month": "portal:statements_of_month/2026-03",
    "months": "portal:statements",
    "calls": "portal:calls",
    "calls of one customer": "portal:calls?account={account}",
    "calls to a number": "portal:calls?number=1234567",
    "a call explained": "portal:explain?key={key}",
    "alerts": "portal:alerts",
    "requests": "portal:item_requests",
    "status": "portal:status",
    "banner": "portal:banner",
    "people": "portal:people",
    "tokens": "portal:tokens",
    "settings": "portal:settings",
    "public status": "status:page",
}
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
from datetime import datetime
from ivy.accounts.models import User
client = Client(headers={{"host": "localhost"}})
client.force_login(User.objects.get(email="owner@example.com"))
from billing.models import Customer, LedgerEntry, Partner
ours = Customer.objects.filter(partner__slug="partner-1")
account = ours.order_by("pk")[ours.count() // 2].account
key = LedgerEntry.objects.filter(customer__account=account, kind="call").latest("pk").key
def address(page):
    page, _, query = page.format(account=account, key=key).partition("?")
    name, *parts = page.split("/")
    return reverse(name, args=parts) + (f"?{{query}}" if query else "")
found = {{}}
with time_machine.travel(datetime.fromisoformat("{now}"), tick=True):
    for words, page in {pages!r}.items():
        times = []
        for number in range({times} + 5):
            began = time.perf_counter()
            answer = client.get(address(page))
            times.append(time.perf_counter() - began)
            assert answer.status_code == 200, (page, answer.status_code)
        times = sorted(times[5:])
        found[words] = [round(1000 * times[int(len(times) * share)], 1) for share in (0.5, 0.95)]
print(json.dumps(found))
"""

# Two days in which calls are halted, and a call comes each second, a delivery each minute.
HALTED = """
from benchmarks import worlds
from billing.models import Process, ProcessSwitch
from django.db import connection
worlds.add_calls(2 * 24 * 60 * 60, batch_size=60, since="{since}")
ProcessSwitch.objects.create(process=Process.CALLS, is_halted=True, reason="The deck is wrong.",
    changed_by="ann@ivy.example", since="{since}")
with connection.cursor() as cursor:
    cursor.execute("VACUUM ANALYZE billing_callrecord")
"""

NEWEST = """
from billing.models import CallRecord
from django.db.models import Max
print(CallRecord.objects.aggregate(Max("started_at"))["started_at__max"].isoformat())
"""

EXPORT = """
import resource, time, json
from django.conf import settings
settings.SECURE_SSL_REDIRECT = False
settings.SESSION_COOKIE_SECURE = False
settings.AXES_ENABLED = False
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
from django.test import Client
from django.urls import reverse
import time_machine
from datetime import datetime
from ivy.accounts.models import User
client = Client(headers={{"host": "localhost"}})
client.force_login(User.objects.get(email="owner@example.com"))
with time_machine.travel(datetime.fromisoformat("{now}"), tick=True):
    client.get(reverse("portal:calls"))  # what every page needs is loaded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    answer = client.get(reverse("portal:calls_file"), {{"since": "2026-03-01", "until": "2026-03-15"}})
    rows = -1
    for piece in answer.streaming_content:
        rows += piece.count(b"\\n")
    took = time.perf_counter() - began
    print(json.dumps([rows, took, before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


def main() -> None:
    """Print, for each page, the median and the 95th percentile in milliseconds, with Redis and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=100)
    databases.may_be_kept(parser)
    options = parser.parse_args()

    def build(url: str) -> None:
        databases.manage(url, "migrate", "-v0")
        made = databases.inside(url, BUILD.format(calls=options.calls, customers=options.customers))
        print(made.splitlines()[-1])

    with databases.built(options, "ivy_benchmark_portal", build) as url:
        newest = databases.inside(url, NEWEST).splitlines()[-1]
        there = os.environ.get("CACHE_URL", "")
        for when, cache in (("with Redis", there), ("without", NOBODY_LISTENS)):
            tell(when, url, cache=cache, now=newest, times=options.times)
        rows, took, before, most = json.loads(databases.inside(url, EXPORT.format(now=newest)).splitlines()[-1])
        print(
            f"export      {rows:,} calls in {took:.1f} s, {rows / took:,.0f} a second;"
            f" {before} MB before, {most} MB at most"
        )
        databases.inside(url, HALTED.format(since=newest))
        later = datetime.fromisoformat(newest) + timedelta(days=2)
        tell("halted", url, cache=there, now=later.isoformat(), times=options.times)


def tell(when: str, url: str, *, cache: str, now: str, times: int) -> None:
    """Ask for each page so often at that time, and print what it took."""
    os.environ["CACHE_URL"] = cache
    found = json.loads(databases.inside(url, ASK.format(pages=PAGES, times=times, now=now)).splitlines()[-1])
    for page, (median, slow) in found.items():
        print(f"{when:<10}  {page:<24} median {median:7.1f} ms   95th percentile {slow:7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
