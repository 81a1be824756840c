"""The demo world as files in Ivy's own formats, made for any day.

world = build(date(2026, 11, 23))
# register world.sources, then import in this order:
# rates of every deck, partners, customers, items, payments, call files
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from ivy.demo.calls import ANSWERED, INBOUND, Call, calls, troubles
from ivy.demo.csvtext import csv_text
from ivy.demo.items import Item, expected_charges, items
from ivy.demo.payments import Account, Payment, account_of
from ivy.demo.people import PARTNERS, SWITCHES, Customer, Switch, customers
from ivy.demo.rates import Deck, decks
from ivy.demo.switches import CallFile, deliveries

PARTNER_COLUMNS = ("slug", "name", "sender", "reply_to", "timezone", "currency", "language", "rate_deck")
CUSTOMER_COLUMNS = (
    "account", "partner", "name", "email", "currency", "timezone", "status", "rate_deck", "inbound_deck",
    "low_balance_threshold", "credit_limit", "opening_balance", "call_identities",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """Texts of CSV files, and what has to be said beside them. Everything begins on `opening_on`, two months before
    `today`; calls end before the midnight (UTC) that begins `today`.

    `expected_balances`: by account, what a billing run at noon (UTC) of `today` should leave, worked out apart from it.
    """

    today: date
    opening_on: date
    sources: tuple[Switch, ...]
    decks: tuple[Deck, ...]
    partners: str
    customers: str
    items: str
    payments: str
    call_files: tuple[CallFile, ...]
    expected_balances: dict[str, Decimal]


def build(today: date) -> World:
    """Make the world as it stands on a day; the same day gives the same world on every machine."""
    opening_on = _two_months_before(today)
    middle = opening_on + (today - opening_on) // 2
    everybody = customers()
    all_decks = {deck.name: deck for deck in decks(repriced_on=middle)}
    all_items = items(everybody, opening_on, today)
    calls_of = calls(everybody, opening_on, today)
    accounts = {}
    for customer in everybody:
        own_items = (item for item in all_items if item.account == customer.account)
        spending = _spending(customer, own_items, calls_of[customer.account], all_decks, today)
        accounts[customer.account] = account_of(customer, spending, opening_on, today)
    return World(
        today=today,
        opening_on=opening_on,
        sources=SWITCHES,
        decks=tuple(all_decks.values()),
        partners=csv_text(PARTNER_COLUMNS, _partner_rows()),
        customers=csv_text(CUSTOMER_COLUMNS, (_customer_row(one, accounts[one.account]) for one in everybody)),
        items=csv_text(Item._fields, all_items),
        payments=csv_text(Payment._fields, _by_time(accounts.values())),
        call_files=tuple(_call_files(everybody, calls_of, datetime.combine(middle, time(), UTC))),
        expected_balances={account: chosen.expected_balance for account, chosen in accounts.items()},
    )


def _two_months_before(today: date) -> date:
    """The same day two months ago, or the last one of that month."""
    year, month = divmod(today.year * 12 + today.month - 1 - 2, 12)
    first = date(year, month + 1, 1)
    last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(today.day, last.day))


def _spending(
    customer: Customer, own_items: Iterable[Item], own_calls: Iterable[Call], by_name: dict[str, Deck], today: date
) -> dict[date, Decimal]:
    """What a customer should be charged, by day."""
    spending: dict[date, Decimal] = {}
    for item in own_items:
        for day, amount in expected_charges(item, customer.currency, today):
            spending[day] = spending.get(day, Decimal(0)) + amount
    for call in own_calls:
        deck = customer.person.inbound_deck if call.direction == INBOUND else customer.deck
        if call.disposition != ANSWERED or call.seconds == 0 or not deck:
            continue
        price = by_name[deck].expected_price(call.to_number, call.answered_at or call.started_at, call.seconds)
        assert price is not None, f"{deck} has no price for {call.to_number}"
        spending[call.started_at.date()] = spending.get(call.started_at.date(), Decimal(0)) + price
    return spending


def _partner_rows() -> Iterable[tuple[str, ...]]:
    for one in PARTNERS:
        sender, reply_to = f"billing@{one.domain}", f"support@{one.domain}"
        yield one.slug, one.name, sender, reply_to, one.timezone, one.currency, one.language, one.rate_deck


def _customer_row(customer: Customer, account: Account) -> tuple[str, ...]:
    person = customer.person
    return (
        customer.account,
        customer.partner.slug,
        person.name,
        customer.email,
        customer.currency,
        customer.timezone,
        person.status,
        person.deck,
        person.inbound_deck,
        customer.kind.threshold,
        person.credit_limit,
        str(account.opening_balance),
        customer.call_identities,
    )


def _by_time(accounts: Iterable[Account]) -> list[Payment]:
    payments = (payment for account in accounts for payment in account.payments)
    return sorted(payments, key=lambda payment: (payment.received_at, payment.reference))


def _call_files(
    everybody: Iterable[Customer], calls_of: dict[str, list[Call]], split_at: datetime
) -> Iterable[CallFile]:
    by_switch: dict[str, list[Call]] = {switch.name: [] for switch in SWITCHES}
    for customer in everybody:
        by_switch[customer.partner.switch] += calls_of[customer.account]
    for switch in SWITCHES:
        good = by_switch[switch.name]
        yield from deliveries(switch, [*good, *troubles(switch.name, good)], split_at)
