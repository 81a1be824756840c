"""Every page of the staff before a large history, by its percentiles, the slowest first.

    python -m benchmarks.staff_pages [--calls 1000000] [--customers 100000] [--times 20]

Besides the calls, all of them charged: 200,000 recurring items, 50,000 calls in quarantine, 43,000 runs, and 100,000
mails, a hundred of them uncertain and a thousand more held. The control room's own pages are opened, and each list of
the admin, the same list searched, and its newest row. Requests go through Django's test client, so that the time is
the server's alone.
`--keep NAME` leaves the database under that name, to be asked again with `--use NAME`.
"""

import argparse
import json

from benchmarks import databases
from benchmarks.control_room import HISTORY

QUARANTINED = 50_000
GOAL_MS = 300

BUILD = """
from benchmarks import worlds
from billing import sums
from django.core.management import call_command
from django.db import connection
worlds.build(customers={customers})
worlds.add_items(2 * {customers})
worlds.add_calls({calls})
worlds.add_calls({quarantined}, of_nobody=True, since="2026-03-20 00:00Z")
call_command("run_billing", "--max-periods", "3")
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)"
                   " SELECT id, 'low_balance', 10, true FROM billing_customer")
"""

TROUBLE = """
with connection.cursor() as cursor:
    cursor.execute('''
        INSERT INTO notifications_notificationlog (key, kind, customer_id, partner_id, reminder_number, recipient_hash,
            message_id, created_at, state, because, detail, is_errant, try_count)
        SELECT 'benchmark:held:' || id, 'low_balance', id, partner_id, 0, md5(id::text),
            '<held-' || id || '@example.org>', statement_timestamp(), 'held', 'breaker', 'more than 500 in a pass',
            false, 0
        FROM billing_customer ORDER BY id LIMIT 1000
    ''')
    cursor.execute("VACUUM ANALYZE")
import time
time.sleep(6)
sums.sum_up()
time.sleep(6)
sums.sum_up()
"""

ASK = """
import json, time
from django.conf import settings
settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT, settings.AXES_ENABLED = ["*"], False, False
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from billing.models import BillingItem, BillingRun, CallRecord, Customer, LedgerEntry, Partner, QuarantinedCall
from ivy.accounts.models import User
from notifications.models import NotificationLog
user = User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("ann@ivy.example", "a secret")
client = Client()
client.force_login(user)
customer = Customer.objects.order_by("pk")[Customer.objects.count() // 2]
entry = LedgerEntry.objects.filter(customer=customer, kind="call").latest("pk")
mail = NotificationLog.objects.filter(state="uncertain").latest("pk")
run = BillingRun.objects.order_by("-calls_billed").first()
call = CallRecord.objects.latest("pk")
waiting = QuarantinedCall.objects.latest("pk")
item = BillingItem.objects.latest("pk").reference
pages = {{
    "/": reverse("admin:index"),
    "what is now": reverse("admin:control_now"),
    "what was lately": reverse("admin:control_lately"),
    "halt": reverse("admin:control_halt", args=["calls"]),
    "a run": reverse("admin:control_run", args=[run.pk]),
    "what a run charged": reverse("admin:control_run_charges", args=[run.pk]),
    "calls that a run charged": reverse("admin:control_run_charges", args=[run.pk]) + "?kind=call",
    "a customer": reverse("admin:customer", args=[customer.account]),
    "take a payment": reverse("admin:money_payment", args=[customer.account]),
    "explain": reverse("admin:explain") + f"?key={{entry.key}}",
    "credits": reverse("admin:money_credits"),
    "review, uncertain": reverse("admin:review") + "?queue=uncertain",
    "review, held": reverse("admin:review") + "?queue=held",
    "review, sent": reverse("admin:review") + "?queue=sent",
    "a mail": reverse("admin:review_mail", args=[mail.pk]),
    "who got two, a day": reverse("admin:review_twice"),
    "who got two, a month": reverse("admin:review_twice") + "?days=30",
    "work list": reverse("admin:work_quarantine"),
    "calls in quarantine": reverse("admin:work_calls"),
    "a call in quarantine": reverse("admin:work_call", args=[waiting.pk]),
    "price": reverse("admin:work_price") + f"?account={{customer.account}}&number=442079460000",
    "a deck": reverse("admin:work_deck", args=["benchmark"]),
    "items": reverse("admin:work_items"),
    "an item": reverse("admin:work_item", args=[item]),
    "edit an item": reverse("admin:work_item_edit", args=[item]),
    "import": reverse("admin:work_import"),
    "requests": reverse("admin:item_requests"),
    "changes": reverse("admin:changes"),
}}
for words, text in {{
    "account": customer.account, "name": customer.name, "address": "nobody@example.org", "number": call.to_number,
    "call id": call.call_id, "key": entry.key, "message id": mail.message_id, "nonsense": "zzz qqq",
}}.items():
    pages[f"search: {{words}}"] = reverse("admin:search") + f"?q={{text}}"
for model, its in admin.site._registry.items():
    try:
        listing = reverse(f"admin:{{model._meta.app_label}}_{{model._meta.model_name}}_changelist")
    except NoReverseMatch:
        continue
    name = f"{{model._meta.app_label}}.{{model._meta.model_name}}"
    pages[f"list of {{name}}"] = listing
    if its.search_fields:
        pages[f"list of {{name}}, searched"] = listing + f"?q={{customer.account}}"
    newest = model._default_manager.order_by("-pk").first()
    if newest is not None:
        pages[f"one {{name}}"] = reverse(
            f"admin:{{model._meta.app_label}}_{{model._meta.model_name}}_change", args=[newest.pk])
found = []
for words, page in pages.items():
    times = []
    for number in range({times} + 2):
        began = time.perf_counter()
        answer = client.get(page, follow=True)
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            break
        if times[-1] > 3000 and number > 2:
            break
    with CaptureQueriesContext(connection) as queries:
        client.get(page, follow=True)
    times = sorted(times[2:]) or times
    found.append([words, answer.status_code, times[len(times) // 2], times[int(len(times) * 0.95)], len(queries)])
print(json.dumps(found))
"""


def main() -> None:
    """Print for each page the median and the 95th percentile, in milliseconds, and its number of queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=20)
    databases.may_be_kept(parser)
    options = parser.parse_args()

    def build(url: str) -> None:
        databases.manage(url, "migrate", "-v0")
        sizes = {"calls": options.calls, "customers": options.customers, "quarantined": QUARANTINED}
        databases.inside(url, BUILD.format(**sizes) + HISTORY + TROUBLE)

    with databases.built(options, "ivy_benchmark_staff", build) as url:
        found = json.loads(databases.inside(url, ASK.format(times=options.times)).splitlines()[-1])
        for words, status, median, slow, queries in sorted(found, key=lambda page: -page[3]):
            mark = "" if status == 200 else f"  answered {status}!"
            print(f"{words:<60} {median:8.0f} ms {slow:8.0f} ms {queries:4} queries{mark}")
        late = sum(page[3] > GOAL_MS for page in found)
        print(f"{len(found)} pages; 95th percentile above {GOAL_MS} ms: {late}.")


if __name__ == "__main__":
    main()
