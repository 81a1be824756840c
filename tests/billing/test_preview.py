"""A preview tells what the run that follows will charge, to the last decimal; and it writes nothing."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing import cycle, episodes, halting
from billing.models import (
    BalanceAlert,
    BillingRun,
    Customer,
    ItemKind,
    LedgerEntry,
    Partner,
    Process,
    RateDeck,
    Rounding,
)
from billing.preview import TOP_CUSTOMERS, Preview, preview
from tests.billing.at_once import locked_balances, real_commits
from tests.factories import (
    harbour,
    make_alert,
    make_call,
    make_customer,
    make_deck,
    make_entry,
    make_identity,
    make_item,
    make_partner,
    make_quarantined_call,
    make_rate,
)

NOON = datetime(2026, 5, 15, 12, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


class World:
    """Two partners and their customers, with calls and items of every sort, not charged yet; the same each time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.partners = [self.make_partner("fjord", "GBP"), self.make_partner("meridian", "EUR")]
        self.customers = [self.make_customer(partner) for partner in self.partners for _ in range(7)]
        for customer in self.customers:
            self.fill(customer)
        self.make_nobodys_calls()
        self.charge_a_part()

    def money(self, highest: int, digits: int = 2) -> Decimal:
        return Decimal(self.chance.randint(1, highest * 10**digits)).scaleb(-digits)

    def make_deck(self, name: str, currency: str) -> RateDeck:
        deck = make_deck(
            name=name,
            currency=currency,
            decimals=self.chance.choice([2, 4, 6]),
            rounding=self.chance.choice(list(Rounding)),
        )
        for prefix in ("4", "44", "4477", "447700900"):
            changes = self.chance.random() < 0.5
            prices = {
                "connect_fee": self.chance.choice([0, self.money(1)]),
                "minimum_charge": self.chance.choice([0, self.money(1, 3)]),
                "first_increment": self.chance.choice([1, 30, 60]),
                "increment": self.chance.choice([1, 6, 60]),
            }
            make_rate(deck=deck, prefix=prefix, price_per_minute=self.money(1, 6), valid_to=APRIL if changes else None)
            if changes:
                make_rate(deck=deck, prefix=prefix, price_per_minute=self.money(1, 5), valid_from=APRIL, **prices)
        make_rate(deck=deck, prefix="440", price_per_minute=0)
        return deck

    def make_partner(self, slug: str, currency: str) -> Partner:
        return make_partner(slug=slug, currency=currency, rate_deck=self.make_deck(f"{slug}-deck", currency))

    def make_customer(self, partner: Partner) -> Customer:
        decks = RateDeck.objects.filter(currency=partner.currency)
        customer = make_customer(
            partner=partner,
            timezone=self.chance.choice(["Pacific/Pago_Pago", "Europe/Berlin", "Pacific/Kiritimati"]),
            status=self.chance.choice(["active", "active", "active", "suspended"]),
            rate_deck=self.chance.choice([None, decks.first()]),
            inbound_deck=self.chance.choice([None, decks.last()]),
            credit_limit=self.chance.choice([0, 50]),
            balance=self.money(60) - 10,
        )
        if self.chance.random() < 0.7:
            make_alert(customer=customer, threshold=self.money(20), is_active=self.chance.random() < 0.8)
        if self.chance.random() < 0.3:
            make_identity(customer=customer)
        return customer

    def fill(self, customer: Customer) -> None:
        for _ in range(self.chance.randint(0, 12)):
            self.make_call(customer)
        for _ in range(self.chance.randint(0, 4)):
            self.make_item(customer)

    def make_call(self, customer: Customer | None) -> None:
        seconds = self.chance.choice([0, 1, 29, 31, 60, 61, self.chance.randint(1, 4000)])
        call = make_call(
            customer=customer,
            seconds=seconds,
            started_at=APRIL + timedelta(hours=self.chance.randint(-900, 900)),
            direction=self.chance.choice(["outbound", "outbound", "outbound", "inbound"]),
            to_number=self.chance.choice(["447700900123", "447911123456", "442079460000", "4400", "110", "", "+49"]),
            is_answered=self.chance.random() < 0.9,
            is_internal=self.chance.random() < 0.05,
        )
        if self.chance.random() < 0.1:
            make_quarantined_call(call)  # for want of a rate, which may have been saved since

    def make_item(self, customer: Customer) -> None:
        starts_on = date(2026, 5, 15) - timedelta(days=self.chance.randint(-20, 450))
        fields: dict[str, Any] = {
            "customer": customer,
            "starts_on": starts_on,
            "amount": self.money(30, 4) * self.chance.choice([1, 1, -1]),
            "quantity": self.chance.choice([1, 3, Decimal("0.5")]),
            "ends_on": self.chance.choice([None, None, starts_on + timedelta(days=self.chance.randint(0, 200))]),
        }
        if self.chance.random() < 0.25:
            make_item(kind=ItemKind.ONE_OFF, **fields)
            return
        interval = self.chance.choice(["day", "week", "month", "month", "quarter", "year"])
        in_months = interval not in ("day", "week")
        make_item(
            interval=interval,
            interval_count=self.chance.choice([1, 1, 2]),
            bill_cycle_day=self.chance.choice([None, 1, 31]) if in_months else None,
            timing=self.chance.choice(["advance", "arrears"]),
            proration=self.chance.choice(["days", "none", "fixed_30"] if in_months else ["days", "none"]),
            **fields,
        )

    def make_nobodys_calls(self) -> None:
        for _ in range(3):
            self.make_call(None)

    def charge_a_part(self) -> None:
        """Some of it was charged earlier, and there are episodes already."""
        cycle.run_cycle(by="Mei Tanaka", at=NOON - timedelta(days=40), max_periods=2, processes=[Process.ITEMS])
        for customer in self.chance.sample(self.customers, 3):
            self.fill(customer)
            make_entry(customer=customer, amount=Decimal(5))


def what_was_charged(run: BillingRun) -> dict[str, tuple[int, dict[str, Decimal]]]:
    """By kind: how many entries the run made, and how much by currency, positive."""
    found: dict[str, tuple[int, dict[str, Decimal]]] = {}
    for entry in LedgerEntry.objects.filter(run_id=run.pk):
        count, amounts = found.get(entry.kind, (0, defaultdict(Decimal)))
        amounts[entry.currency] -= entry.amount
        found[entry.kind] = (count + 1, amounts)
    return found


def who_was_charged(run: BillingRun) -> dict[str, tuple[str, Decimal]]:
    """By account: currency and amount, positive."""
    found: dict[str, tuple[str, Decimal]] = {}
    for entry in LedgerEntry.objects.filter(run_id=run.pk).select_related("customer"):
        _, before = found.get(entry.customer.account, ("", Decimal(0)))
        found[entry.customer.account] = (entry.currency, before - entry.amount)
    return found


def assert_foretold(foretold: Preview, run: BillingRun) -> None:
    charges = {kind: (charges.count, dict(charges.amount)) for kind, charges in foretold.charges.items()}
    assert charges == what_was_charged(run)
    charged = who_was_charged(run)
    assert {account: (currency, amount) for account, currency, amount in foretold.top_customers}.items() <= (
        charged.items()
    )
    largest = sorted((amount for _, amount in charged.values()), reverse=True)[:TOP_CUSTOMERS]
    assert [amount for _, _, amount in foretold.top_customers] == largest
    assert foretold.episodes_to_open == run.episodes_opened


def everything_stored() -> dict[str, tuple[int, str]]:
    """Of each table of the database: how many rows, and a digest of what they hold."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
        for (table,) in cursor.fetchall():
            cursor.execute(
                f"SELECT count(*), coalesce(md5(string_agg(t::text, ' ' ORDER BY t::text)), '') FROM {table} t"
            )
            found[table] = cursor.fetchone()
    return found


@real_commits
class TestAPreview:
    @pytest.mark.parametrize("seed", [2019, 2020, 2021])
    def test_tells_what_the_run_charges_and_writes_nothing(self, seed: int) -> None:
        World(seed)
        before = everything_stored()

        foretold = preview(at=NOON)
        assert preview(at=NOON) == foretold
        assert everything_stored() == before

        run = cycle.run_cycle(by="Astrid Holm", at=NOON)
        assert run.calls_billed > 10
        assert run.item_charges > 10
        assert_foretold(foretold, run)
        nothing = preview(at=NOON)
        assert (nothing.charges, nothing.top_customers, nothing.episodes_to_open) == ({}, [], 0)

    @pytest.mark.parametrize(
        "options",
        [
            {"max_periods": 1},
            {"charges_long_overdue": True},
            {"processes": [Process.CALLS]},
            {"processes": [Process.ITEMS]},
            {"partner": "meridian"},
            {"partner": "fjord", "processes": [Process.ITEMS], "max_periods": 3, "charges_long_overdue": True},
        ],
        ids=str,
    )
    def test_takes_the_options_of_a_run(self, options: dict[str, Any]) -> None:
        World(2022)
        if "partner" in options:
            options = options | {"partner": Partner.objects.get(slug=options["partner"])}
        foretold = preview(at=NOON, **options)
        run = cycle.run_cycle(by="Astrid Holm", at=NOON, **options)
        assert what_was_charged(run)
        assert_foretold(foretold, run)

    def test_tells_while_halted_what_follows_the_restart(self) -> None:
        World(2023)
        foretold = preview(at=NOON)
        for process in halting.BILLING:
            halting.halt(process, reason="Wrong prices.", by="Astrid Holm")
        assert preview(at=NOON) == foretold
        assert cycle.run_cycle(by="Mei Tanaka", at=NOON).state == "halted"
        assert preview(at=NOON) == foretold

        for process in halting.BILLING:
            halting.resume(process, reason="Mended.", by="Astrid Holm")
        assert_foretold(foretold, cycle.run_cycle(by="Mei Tanaka", at=NOON))

    def test_waits_for_nobody(self) -> None:
        item = make_item()
        with locked_balances(item.customer_id), connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            try:
                assert preview(at=NOON).charges["recurring"].count == 3
            finally:
                cursor.execute("RESET lock_timeout")

    def test_leaves_out_what_the_run_only_shows(self) -> None:
        make_item(starts_on=date(2024, 1, 1))
        make_item(customer=make_customer(timezone="europe/london"))
        assert preview(at=NOON).charges == {}
        assert preview(at=NOON, charges_long_overdue=True).charges["recurring"].count == 29

    def test_lists_the_ten_largest_customers_largest_first(self) -> None:
        for amount in range(1, 13):
            make_item(customer=make_customer(account=f"C{amount}"), amount=amount, interval="year")
        make_item(customer=Customer.objects.get(account="C3"), amount=20, interval="year")
        top = preview(at=NOON).top_customers
        assert top[0] == ("C3", "GBP", Decimal("23.00"))
        assert [account for account, _, _ in top[1:]] == [f"C{n}" for n in range(12, 3, -1)]


@real_commits
class TestTheEpisodesToOpen:
    def test_are_counted_by_alert_on_the_final_balance(self) -> None:
        falls = make_customer(balance=Decimal(15), credit_limit=100)
        for threshold in (10, 7, 2):
            make_alert(customer=falls, threshold=threshold)
        make_item(customer=falls, amount=8, interval="year")
        make_item(customer=falls, amount=Decimal("-1.5"), interval="year")
        is_below_already = make_customer(balance=Decimal(5), credit_limit=100)
        make_alert(customer=is_below_already, threshold=10)
        episodes.judge(at=NOON, customer_ids=[is_below_already.pk])
        make_item(customer=is_below_already, interval="year")
        hears_nothing = make_customer(balance=Decimal(5), credit_limit=100, status="suspended")
        make_alert(customer=hears_nothing, threshold=10)
        make_item(customer=hears_nothing, interval="year")

        assert preview(at=NOON).episodes_to_open == 1  # 8.50 is below ten only
        assert cycle.run_cycle(by="Mei Tanaka", at=NOON).episodes_opened == 1

    def test_count_a_changed_threshold(self) -> None:
        alert = make_alert(customer=make_customer(balance=Decimal(15)), threshold=10)
        episodes.judge(at=NOON)
        BalanceAlert.objects.filter(pk=alert.pk).update(threshold=20)
        assert preview(at=NOON).episodes_to_open == 1
        assert cycle.run_cycle(by="Mei Tanaka", at=NOON).episodes_opened == 1

    def test_leave_out_who_still_waits_for_what_was_not_asked_for(self) -> None:
        """A run of calls alone does not open episodes of customers whose items are due."""
        alert = make_alert(customer=make_customer(balance=Decimal(5), credit_limit=100), threshold=10)
        make_item(customer=alert.customer)
        calls_alone: dict[str, Any] = {"processes": [Process.CALLS], "partner": harbour()}
        assert preview(at=NOON, **calls_alone).episodes_to_open == 0
        assert cycle.run_cycle(by="Mei Tanaka", at=NOON, **calls_alone).episodes_opened == 0
