"""Mails handed over a second by two workers, beside django-post-office on the same mail server in the same run.

    python -m benchmarks.hand_over [--mails 2000] [--rounds 3]

Alike: both begin with their rows in PostgreSQL and write each mail only when it is delivered, one mail a recipient,
to the letter the same and with as much to tell; two processes each, with one connection to the mail server a process.
Ivy's templates are Jinja2, post-office's Django's, as it expects: it would compile Jinja2 anew for each mail, which is
slower.
What is left between them is what they promise: Ivy looks up the balance and its pace for each mail, takes one at a time
past a point of no return, waits for the disk there, and keeps what it said; post-office finds the facts in the row that
it sends, and commits once a batch of a hundred. So Ivy's figure depends on how long the disk takes for a commit: see
`pg_test_fsync`.

The mail server is `benchmarks.mail_sink`, which costs next to nothing and offers PIPELINING, as Postfix does; Ivy makes
use of it.

The third row is post-office as it comes: its own settings, with five connections a process, and mails that were written
when they were queued, which is not counted.

Counted is from the first mail that the server took to the last, by the server's clock. Post-office has written its
first batch by then, a hundred mails that are in its favour. Its settings are its defaults but for the connections.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import databases

WORK = "ivy_benchmark_mails"
WORKERS = 2
IVY, ALIKE, AS_IT_COMES = "Ivy", "post-office, alike", "post-office, as it comes"

WORLD = """
INSERT INTO billing_partner (slug, name, currency, timezone, language, sender, reply_to)
    VALUES ('quayside', 'Quayside', 'EUR', 'UTC', 'en', 'billing@quayside.example', 'help@quayside.example');
INSERT INTO billing_customer (account, partner_id, name, email, currency, timezone, status, credit_limit)
    SELECT 'C' || n, (SELECT id FROM billing_partner), 'Customer ' || n, 'c' || n || '@example.net', 'EUR',
        'Europe/Berlin', 'active', 0 FROM generate_series(1, %(mails)s) n;
INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
    SELECT id, 'low_balance', 10, true FROM billing_customer;
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
                                 description, reason, entered_by)
    SELECT 'payment:bank:' || id, id, 'payment', 5, 'EUR', now(), date_trunc('month', now())::date, 1, 'Payment', '', ''
    FROM billing_customer;
INSERT INTO notifications_breakerlimits (id, mails_a_recipient_a_day, held_customers_an_hour, mails_an_hour,
                                         busiest_hour_factor, customers_a_pass, share_of_customers_a_pass,
                                         released_a_minute)
    VALUES (1, 100, 100000, 1000000, 3, 1000000, 0.25, 60);
"""

QUEUE = """
from post_office import mail
from post_office.models import EmailTemplate
template = EmailTemplate.objects.create(
    name="low_balance", subject="Low balance: {{{{ balance }}}} on account {{{{ account }}}}",
    content="{{% extends 'as_django/low_balance.txt' %}}", html_content="{{% extends 'as_django/low_balance.html' %}}",
)
def context(n):
    rows = [("Alert set at", "€10.00"), ("Below it since", "2 March 2026, 10:30 CET"), ("Account", f"C{{n}}"),
            ("Customer", f"Customer {{n}}")]
    return dict(
        subject=f"Low balance: €5.00 on account C{{n}}", lead="Your balance has fallen below €10.00.", rows=rows,
        partner="Quayside", ask="help@quayside.example", account=f"C{{n}}", balance="€5.00",
        as_of="2 March 2026, 10:35 CET", can_be_declined=False,
    )
mail.send_many([
    dict(recipients=[f"c{{n}}@example.net"], sender="Quayside <billing@quayside.example>", template=template,
         context=context(n), render_on_delivery={on_delivery})
    for n in range({mails})
])
"""


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(1, options.rounds + 1):
        for name, measure in MEASURED.items():
            rates[name].append(measure(options.mails))
            print(f"round {number}: {name}: {rates[name][-1]:.0f} mails/s", flush=True)
    median = {name: statistics.median(found) for name, found in rates.items()}
    print(f"\n{options.mails:,} mails, {WORKERS} workers, medians of {options.rounds}")
    for name, rate in median.items():
        print(f"{name:26}{rate:6.0f} mails/s{rate / median[ALIKE]:8.2f} x post-office, alike")


def ivy(mails: int) -> float:
    """Mails a second by two workers of Ivy's."""
    with databases.temporary(WORK) as url:
        databases.manage(url, "migrate", "-v0")
        with psycopg.connect(url) as database:
            database.execute(WORLD.replace("%(mails)s", str(mails)).encode())
        databases.manage(url, "run_billing")
        databases.manage(url, "halt", "notifications", "--reason", "owed first, then measured")
        owed = subprocess.run(
            [sys.executable, "manage.py", "run_notifications", "--json"],
            env=databases.environment(url), cwd=databases.CHECKOUT, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if json.loads(owed.stdout)["pending"] != mails:
            raise SystemExit(f"Not every mail was owed: {owed.stdout}")
        databases.manage(url, "resume", "notifications", "--reason", "measured now")
        with sink(mails) as (port, rate):
            databases.manage(url, "run_notifications", f"--workers={WORKERS}", email=f"smtp://127.0.0.1:{port}")
        return rate[0]


def post_office(mails: int, *, connections: int, on_delivery: bool) -> float:
    """Mails a second by two processes of django-post-office, with so many connections each."""
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.post_office_settings", "POST_OFFICE_THREADS": str(connections)}
    with databases.temporary(WORK) as url:
        databases.manage(url, "migrate", "-v0", **settings)
        queue = QUEUE.format(mails=mails, on_delivery=on_delivery)
        databases.inside(url, queue, settings["DJANGO_SETTINGS_MODULE"])
        with sink(mails) as (port, rate):
            databases.manage(
                url, "send_queued_mail", f"--processes={WORKERS}", email=f"smtp://127.0.0.1:{port}", **settings
            )
        return rate[0]


@contextmanager
def sink(mails: int) -> Iterator[tuple[int, list[float]]]:
    """A mail server for one measurement: its port, and a list that holds the rate afterwards."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    rate: list[float] = []
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.mail_sink", str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=databases.CHECKOUT,
    )  # fmt: skip
    assert server.stdout is not None
    server.stdout.readline()
    try:
        yield port, rate
    finally:
        out, _ = server.communicate("", timeout=30)
        count, seconds = out.split()
        rate.append((int(count) - 1) / float(seconds) if float(seconds) else 0.0)
    if int(count) != mails:
        raise SystemExit(f"The server took {count} mails of {mails}.")


MEASURED = {
    IVY: ivy,
    ALIKE: lambda mails: post_office(mails, connections=1, on_delivery=True),
    AS_IT_COMES: lambda mails: post_office(mails, connections=5, on_delivery=False),
}

if __name__ == "__main__":
    main()
