"""Opening balances and payments, chosen so that balances come out as the list of people says.

What a customer spends is known beforehand. A prepaid customer tops up by round amounts when little is left, so the
opening balance is what the spending and the wanted balance leave between them.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from ivy.demo.dice import Dice
from ivy.demo.people import Customer

CENT = Decimal("0.01")
CLOSING_REFUND = Decimal("40.00")


class Payment(NamedTuple):
    """A line of a payments file; a negative amount is a refund."""

    reference: str
    account: str
    amount: Decimal
    received_at: str
    description: str


class Account(NamedTuple):
    """What a customer starts with, pays in, and should have after everything due on the last day was charged."""

    opening_balance: Decimal
    payments: list[Payment]
    expected_balance: Decimal


def account_of(customer: Customer, spending: Mapping[date, Decimal], opening_on: date, today: date) -> Account:
    """Make the payments of one customer, given what it spends on each day through `today`."""
    dice = Dice(f"payments of {customer.account}")
    spent = sum(spending.values(), Decimal(0))
    refund = CLOSING_REFUND if customer.person.status == "closed" else Decimal(0)
    wanted = _wanted_balance(customer, dice)
    top_up = Decimal(customer.kind.top_up)
    count = max(0, int((spent + refund + min(wanted, Decimal(0)) - Decimal(customer.kind.threshold)) / top_up))
    opening_balance = (wanted + spent + refund - count * top_up).quantize(CENT)
    joined_on = opening_on + timedelta(days=customer.person.joined_after)
    left_on = today if customer.person.left_after is None else opening_on + timedelta(days=customer.person.left_after)
    membership = [joined_on + timedelta(days=number) for number in range((left_on - joined_on).days)]
    days = _days_of_top_ups(customer, count, opening_balance, spending, membership)
    days += [dice.one_of(membership) for _ in range(count - len(days))]
    paid = [(day, top_up, "Top-up") for day in sorted(days)]
    if refund:
        paid.append((left_on, -refund, "Refund on closing the account"))
    payments = [
        Payment(f"DEMO-{customer.account}-{number:02}", customer.account, amount, _morning(day, dice), description)
        for number, (day, amount, description) in enumerate(paid, start=1)
    ]
    return Account(opening_balance, payments, opening_balance + count * top_up - refund - spent)


def _wanted_balance(customer: Customer, dice: Dice) -> Decimal:
    threshold = Decimal(customer.kind.threshold)
    match customer.person.ends:
        case "low":
            return threshold - Decimal(dice.between(40, 380)) / 100
        case "hovering":
            return threshold + Decimal(dice.between(60, 450)) / 100
        case "overdrawn":
            return -Decimal(dice.between(500, 2500)) / 100
        case "closed":
            return Decimal(dice.between(50, 400)) / 100
    return threshold * Decimal(dice.between(150, 300)) / 100 + Decimal(dice.between(500, 9000)) / 100


def _days_of_top_ups(
    customer: Customer, count: int, balance: Decimal, spending: Mapping[date, Decimal], membership: list[date]
) -> list[date]:
    """The days on which the balance would fall below the threshold, and somebody tops up; at most `count` times."""
    days: list[date] = []
    for day in membership:
        balance -= spending.get(day, Decimal(0))
        while len(days) < count and balance < Decimal(customer.kind.threshold):
            days.append(day)
            balance += customer.kind.top_up
    return days


def _morning(day: date, dice: Dice) -> str:
    return f"{day}T{dice.between(6, 8):02}:{dice.between(0, 59):02}:{dice.between(0, 59):02}Z"
