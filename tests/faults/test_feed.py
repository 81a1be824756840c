"""The feed of ledger entries: whoever reads on from the last one misses none and gets none twice, whoever posts."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection

from billing import feed
from billing.feed import BEGINNING, Position
from billing.models import Customer, LedgerEntry
from tests.billing.at_once import real_commits
from tests.factories import make_customer, make_entry, make_partner
from tests.faults.processes import another_connection, wait_until

# A transaction that is open anywhere in the server, in whatever database, holds the feed back.
pytestmark = [real_commits, pytest.mark.alone]

POST = """
INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number,
    description, reason, entered_by)
VALUES (%s, %s, 'payment', 1, %s, now(), date_trunc('month', now() AT TIME ZONE 'UTC'), 1, '', '', '')
"""


def post(other: psycopg.Connection[Any], customer: Customer, key: str) -> None:
    other.execute(POST, [key, customer.pk, customer.currency])


def let_strangers_end() -> None:
    """Wait for transactions that began before now and are no test's: a visit of autovacuum holds the feed back, too."""
    strangers = """
        SELECT pid, backend_xid FROM pg_stat_activity WHERE backend_xid IS NOT NULL
            AND (datname IS DISTINCT FROM current_database() OR backend_type <> 'client backend')
    """
    with another_connection() as looking:
        before = set(looking.execute(strangers).fetchall())
        wait_until(lambda: not before & set(looking.execute(strangers).fetchall()), what="the end of all strangers")


def read(customer: Customer, after: Position = BEGINNING, **which: Any) -> tuple[list[str], Position]:
    """All that there is behind the position, page by page."""
    let_strangers_end()
    keys: list[str] = []
    while True:
        page = feed.read(partner_id=customer.partner_id, after=after, **which)
        keys += [entry.key for entry in page.entries]
        after = page.position
        if not page.more:
            return keys, after


class TestTheFeed:
    def test_waits_for_a_transaction_that_took_its_ids_first(self) -> None:
        lindqvist, okafor = make_customer(), make_customer()
        with another_connection() as slow:
            with slow.transaction():
                post(slow, okafor, "payment:slow")
                make_entry(customer=lindqvist, key="payment:quick")
                keys, after = read(lindqvist)
                assert keys == []
            keys, after = read(lindqvist, after)
            assert keys == ["payment:slow", "payment:quick"]
            make_entry(customer=lindqvist, key="payment:next")
            keys, after = read(lindqvist, after)
            assert keys == ["payment:next"]
            assert read(lindqvist, after) == ([], after)

    def test_goes_past_what_was_rolled_back(self) -> None:
        lindqvist = make_customer()
        with another_connection() as other:
            with other.transaction(force_rollback=True):
                post(other, lindqvist, "payment:never")
            make_entry(customer=lindqvist, key="payment:bank:1")
        assert read(lindqvist)[0] == ["payment:bank:1"]

    def test_holds_only_the_partners_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feed, "ENTRIES_LOOKED_AT", 3)
        lindqvist, foreign = make_customer(), make_customer(partner=make_partner())
        okafor = make_customer()
        for number in range(10):
            make_entry(customer=foreign)
            if number % 5 == 0:
                make_entry(customer=lindqvist, key=f"payment:bank:{number}")
        make_entry(customer=okafor, key="payment:okafor")
        assert read(lindqvist)[0] == ["payment:bank:0", "payment:bank:5", "payment:okafor"]
        assert read(lindqvist, customers=[okafor.pk])[0] == ["payment:okafor"]
        assert read(lindqvist, limit=1)[0] == read(lindqvist)[0]

    def test_goes_on_behind_an_entry_or_from_now_on(self) -> None:
        lindqvist = make_customer()
        first = make_entry(customer=lindqvist)
        make_entry(customer=lindqvist, key="payment:second")
        assert read(lindqvist, feed.position_of(first))[0] == ["payment:second"]
        let_strangers_end()
        now = feed.end()
        assert read(lindqvist, now)[0] == []
        make_entry(customer=lindqvist, key="payment:third")
        assert read(lindqvist, now)[0] == ["payment:third"]

    def test_from_now_on_begins_behind_the_latest_transaction_however_many_digits_it_has(self) -> None:
        lindqvist = make_customer()
        with another_connection() as other:
            for transaction in (9, 10):
                posted_in = POST.replace("entered_by)", "entered_by, posted_in)").replace(
                    "'')", f"'', '{transaction}')"
                )
                other.execute(posted_in, [f"payment:in:{transaction}", lindqvist.pk, lindqvist.currency])
        assert read(lindqvist)[0] == ["payment:in:9", "payment:in:10"]
        let_strangers_end()
        assert read(lindqvist, feed.end())[0] == []

    def test_misses_and_repeats_nothing_while_several_post(self) -> None:
        customers = [make_customer() for _ in range(6)]
        done = threading.Event()

        def work(worker: int) -> None:
            """Posts with transactions that stay open for a while, and end in another order than they began in."""
            dice = random.Random(worker)
            with another_connection() as one, another_connection() as two:
                for number in range(15):
                    mine = customers[worker * 2 : worker * 2 + 2]
                    with one.transaction(force_rollback=dice.random() < 0.2):
                        post(one, mine[0], f"payment:{worker}:{number}:long")
                        with two.transaction():
                            for part in range(dice.randint(1, 3)):
                                post(two, mine[1], f"payment:{worker}:{number}:{part}")

        def follow(limit: int) -> list[str]:
            """Reads on and on; after all have posted, once more to the end."""
            try:
                keys: list[str] = []
                after = BEGINNING
                while True:
                    is_last = done.is_set()
                    new, after = read(customers[0], after, limit=limit)
                    keys += new
                    if is_last:
                        return keys
            finally:
                connection.close()

        with ThreadPoolExecutor(5) as pool:
            followers = [pool.submit(follow, limit) for limit in (1, 50)]
            workers = [pool.submit(work, worker) for worker in range(3)]
            try:
                for worker in workers:
                    worker.result(timeout=60)
            finally:
                done.set()
            posted = set(LedgerEntry.objects.values_list("key", flat=True))
            for follower in followers:
                keys = follower.result(timeout=60)
                assert len(keys) == len(set(keys)), "none twice"
                assert set(keys) == posted, "none missed"
