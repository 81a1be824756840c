"""What customers are charged for besides calls: numbers, trunks, seats, extras, one-off things, credits."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from billing.periods import Schedule, currency_digits, periods, price
from ivy.demo.dice import Dice
from ivy.demo.kinds import Need
from ivy.demo.people import Customer

BILL_CYCLE_DAYS = (1, 1, 1, 15, 31, 28, 10, None)
NUMBER_RENT = Need("Phone number", "1.20", per="numbers")
FREEPHONE_RENT = Need("Freephone number", "4.00")
RECURRING, ONE_OFF = "recurring", "one_off"


class Item(NamedTuple):
    """A line of an items file. `interval` and what belongs to it are empty for one-off items."""

    reference: str
    account: str
    description: str
    kind: str
    amount: str
    quantity: int
    starts_on: date
    ends_on: date | None = None
    interval: str = ""
    interval_count: int = 1
    bill_cycle_day: int | None = None
    timing: str = "advance"
    proration: str = "days"


def items(customers: Iterable[Customer], opening_on: date, today: date) -> list[Item]:
    """Everybody's items, numbered through. Who is closed has none: Ivy refuses new ones."""
    found: list[Item] = []
    for customer in customers:
        if customer.person.status != "closed":
            for item in _items_of(customer, opening_on, today):
                found.append(item._replace(reference=f"DEMO-{len(found) + 1:04}"))
    return found


def expected_charges(item: Item, currency: str, through: date) -> list[tuple[date, Decimal]]:
    """Day and amount of everything that is due for the item by then."""
    amount, quantity = Decimal(item.amount), Decimal(item.quantity)
    if item.kind == ONE_OFF:
        return [(item.starts_on, amount * quantity)] if item.starts_on <= through else []
    schedule = Schedule(
        starts_on=item.starts_on,
        ends_on=item.ends_on,
        interval=item.interval,
        interval_count=item.interval_count,
        bill_cycle_day=item.bill_cycle_day,
        timing=item.timing,
        proration=item.proration,
    )
    digits = currency_digits(currency)
    return [
        (period.due_on, price(amount, quantity, period, digits))
        for period in periods(schedule, after=None, due_through=through)
    ]


def _items_of(customer: Customer, opening_on: date, today: date) -> Iterator[Item]:
    dice = Dice(f"items of {customer.account}")
    begins_on = opening_on + timedelta(days=customer.person.joined_after + dice.between(0, 6))
    bill_cycle_day = dice.one_of(BILL_CYCLE_DAYS)
    needs = [NUMBER_RENT, *customer.kind.needs]
    if customer.person.inbound_deck:
        needs.append(FREEPHONE_RENT)
    for need in needs:
        yield _recurring(customer, need, begins_on, bill_cycle_day)
    yield _one_off(customer, "Set-up", "29.00", begins_on)
    if dice.falls(0.25):
        yield _one_off(
            customer, "Desk phone", "64.50", begins_on + timedelta(days=dice.between(8, 20)), dice.between(1, 3)
        )
    if dice.falls(0.12):
        yield _one_off(
            customer, "Goodwill after the outage", "-15.00", begins_on + timedelta(days=dice.between(12, 18))
        )
    if dice.falls(0.15):
        first_of_next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield _recurring(customer, Need("Mobile app seat", "3.90", per="seats"), first_of_next_month, 1)
    if dice.falls(0.1):
        yield _one_off(customer, "Training on site", "120.00", today + timedelta(days=dice.between(6, 25)))


def _recurring(customer: Customer, need: Need, begins_on: date, bill_cycle_day: int | None) -> Item:
    quantities = {"customer": 1, "seats": customer.person.seats, "numbers": customer.person.number_count}
    runs_by_days = need.interval in {"day", "week"}
    return Item(
        reference="",
        account=customer.account,
        description=need.description,
        kind=RECURRING,
        amount=need.amount,
        quantity=quantities[need.per],
        starts_on=begins_on + timedelta(days=need.starts_after),
        ends_on=None if need.ends_after is None else begins_on + timedelta(days=need.ends_after),
        interval=need.interval,
        interval_count=need.interval_count,
        bill_cycle_day=None if runs_by_days else bill_cycle_day,
        timing=need.timing,
        proration=need.proration,
    )


def _one_off(customer: Customer, description: str, amount: str, on: date, quantity: int = 1) -> Item:
    return Item("", customer.account, description, ONE_OFF, amount, quantity, on)
