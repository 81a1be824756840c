"""Ten years of a thousand items, charged by runs at random instants that are killed at random moments.

What stands in the ledger in the end is what a slow program says that was written from the rules alone.
"""

import os
import random
import signal
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from billing import cycle
from billing.cycle import ChunkSizes
from billing.models import BillingItem, BillingRun, ItemPriceChange, LedgerEntry, RunState
from billing.periods import currency_digits
from billing.reconcile import checks
from tests.billing import reference
from tests.billing.reference import Item
from tests.factories import make_customer, make_partner

SEED = 1999
ITEMS = 1_000
KILLS = 20
BEGIN = datetime(2015, 11, 30, tzinfo=UTC)
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
CURRENCIES = ("GBP", "JPY", "KWD")
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe")
COUNTS = {"day": (5, 40), "week": (1, 8), "month": (1, 5), "quarter": (1, 3), "year": (1, 2)}


def random_item(chance: random.Random, number: int) -> Item:
    interval = chance.choice(list(COUNTS))
    is_of_months = interval not in ("day", "week")
    starts_on = BEGIN.date() + timedelta(days=chance.randint(1, 3600))
    if chance.random() < 0.2:  # the ends of months, and of Februaries, more often than chance would have it
        starts_on = chance.choice([date(2016, 1, 31), date(2016, 2, 29), date(2019, 2, 28), date(2020, 2, 29)])
    lasts = chance.choice([None, None, chance.randint(1, 40), chance.randint(1, 2000)])
    item = Item(
        reference=f"item-{number}",
        timezone=chance.choice(ZONES),
        amount=Decimal(chance.randint(1, 99_999)).scaleb(-2),
        quantity=Decimal(chance.choice(["1", "1", "3", "0.5", "2.25"])),
        starts_on=starts_on,
        ends_on=starts_on + timedelta(days=lasts) if lasts else None,
        interval=interval,
        count=chance.randint(*COUNTS[interval]),
        day=chance.choice([None, 1, 15, 28, 29, 30, 31]) if is_of_months else None,
        timing=chance.choice(["advance", "arrears"]),
        proration=chance.choice(["days", "fixed_30", "none"] if is_of_months else ["days", "none"]),
    )
    if chance.random() < 0.3:
        days = sorted(chance.sample(range(1, 2000), k=chance.randint(1, 3)))
        amounts = [Decimal(chance.randint(1, 99_999)).scaleb(-2) for _ in days]
        item.changes = [(starts_on + timedelta(days=day), amount) for day, amount in zip(days, amounts, strict=True)]
    return item


@pytest.fixture
def items() -> list[Item]:
    """The items, in the database too: each currency and zone has a customer."""
    chance = random.Random(SEED)
    made = [random_item(chance, number) for number in range(ITEMS)]
    partner = make_partner()
    customers = {
        (zone, currency): make_customer(partner=partner, timezone=zone, currency=currency)
        for zone in ZONES
        for currency in CURRENCIES
    }
    rows = BillingItem.objects.bulk_create(
        BillingItem(
            customer=customers[item.timezone, CURRENCIES[number % 3]],
            reference=item.reference,
            description="SIP trunk",
            kind="recurring",
            amount=item.amount,
            quantity=item.quantity,
            interval=item.interval,
            interval_count=item.count,
            bill_cycle_day=item.day,
            timing=item.timing,
            proration=item.proration,
            starts_on=item.starts_on,
            ends_on=item.ends_on,
        )
        for number, item in enumerate(made)
    )
    ItemPriceChange.objects.bulk_create(
        ItemPriceChange(item=row, from_date=from_date, amount=amount, changed_by="tests")
        for row, item in zip(rows, made, strict=True)
        for from_date, amount in item.changes
    )
    return made


def run_in_another_process(at: datetime, *, kill_after_entries: int | None) -> bool:
    """A run in a process of its own, killed once it has posted so many entries; whether it has ended by itself."""
    enough = None if kill_after_entries is None else LedgerEntry.objects.count() + kill_after_entries
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            cycle.run_cycle(by="tests", at=at, charges_long_overdue=True, sizes=ChunkSizes(items=40))
            os._exit(0)
        finally:
            os._exit(1)
    if enough is not None:
        while LedgerEntry.objects.count() < enough:
            if (ended := os.waitpid(pid, os.WNOHANG)) != (0, 0):
                return os.waitstatus_to_exitcode(ended[1]) == 0
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.django_db(transaction=True)
def test_a_decade_of_runs_and_kills_charges_what_the_rules_say(items: list[Item]) -> None:
    chance = random.Random(SEED)
    instants = sorted(BEGIN + chance.random() * (END - BEGIN) for _ in range(30))
    killed = 0
    for at in instants:
        while killed < KILLS and chance.random() < 0.75:
            killed += not run_in_another_process(at, kill_after_entries=chance.randint(0, 200))
        assert run_in_another_process(at, kill_after_entries=None), f"the run at {at} failed"
    assert killed == KILLS
    assert run_in_another_process(END, kill_after_entries=None)

    expected = {
        entry.key: (-entry.amount, entry.begin, entry.end, entry.occurred_at)
        for number, item in enumerate(items)
        for entry in reference.entries(item, at=END, digits=currency_digits(CURRENCIES[number % 3]))
    }
    posted = {
        key: rest
        for key, *rest in LedgerEntry.objects.values_list("key", "amount", "period_start", "period_end", "occurred_at")
    }
    assert len(posted) > 20 * ITEMS
    wrong = {
        key: (posted.get(key), expected.get(key))
        for key in posted.keys() | expected.keys()
        if posted.get(key) != (list(expected[key]) if key in expected else None)
    }
    assert wrong == {}, f"{len(wrong)} entries differ"
    assert BillingRun.objects.filter(state=RunState.FAILED).exists(), "no run was killed in its middle"
    assert [found for _, count, found in checks() if count] == []
