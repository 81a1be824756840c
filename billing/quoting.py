"""What a call would cost that nobody has made: the same rates and the same price as those that are charged."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.explain import WHY_FREE, deck_now, steps_of_price, why_this_prefix
from billing.imports.numbers import numbers_of
from billing.models import Customer, Direction, FreeReason, Rate, RateDeck
from billing.rating import rate_of

LONGEST_NUMBER = 20


@dataclass
class Quote:
    """`outcome`: charge, free, or quarantine. `steps`: sentences. `price`: positive, in the deck's currency."""

    number: str
    outcome: str
    steps: list[str] = field(default_factory=list)
    deck: RateDeck | None = None
    rate: Rate | None = None
    price: Decimal | None = None


def quote(
    written: str,
    *,
    at: datetime,
    seconds: int,
    customer: Customer | None = None,
    deck: RateDeck | None = None,
    direction: str = Direction.OUTBOUND.value,
    region: str = "",
) -> Quote:
    """What a call of so many answered seconds, answered at `at`, to the number would cost; by a deck, or a customer's.

    `written`: the number as a person writes it; dialled in `region` (two letters), where that is given, else in
    international form. Raises UnknownRegion.
    """
    number = numbers_of(region)[written]
    told = Quote(number, "quarantine")
    if number != written:
        told.steps.append(f"“{written}” is the number {number}{f', dialled in {region}' if region else ''}.")
    if seconds == 0:
        told.outcome = "free"
        told.steps.append(f"The call is free: {WHY_FREE[FreeReason.ZERO_SECONDS]}")
        return told
    told.deck = deck or (deck_now(customer, direction) if customer else None)
    if customer is not None and deck is None:
        told.steps += _whose_deck(customer, told.deck, direction)
    if told.deck is None and direction == Direction.INBOUND:
        told.outcome = "free"
    elif why_not := _why_not(told, at=at, customer=customer):
        told.steps.append(f"{why_not}: the call would wait in quarantine.")
    else:
        _add_price(told, at=at, seconds=seconds)
    return told


def _why_not(told: Quote, *, at: datetime, customer: Customer | None) -> str:
    """Why the call could not be charged; empty: it can. In the order in which a run asks."""
    number = told.number
    if customer is not None and customer.closed_at is not None and customer.closed_at <= at:
        return "The account was closed by then"
    if not (number.isascii() and number.isdecimal() and len(number) <= LONGEST_NUMBER):
        return f"“{number}” can't be a telephone number"
    if told.deck is None:
        return "So there is no price"
    told.rate = rate_of(told.deck, number, at=at)
    if told.rate is None:
        return f"The price list “{told.deck}” has no prefix for {number} that is valid at that time"
    return ""


def _add_price(told: Quote, *, at: datetime, seconds: int) -> None:
    assert told.rate is not None
    told.steps.append(why_this_prefix(told.rate, told.number, at=at, valid="is valid at that time"))
    told.price = _price(told, seconds)
    told.outcome = "charge" if told.price else "free"
    if not told.price:
        is_zero = not (told.rate.price_per_minute or told.rate.connect_fee or told.rate.minimum_charge)
        why = WHY_FREE[FreeReason.ZERO_RATE if is_zero else FreeReason.ROUNDS_TO_ZERO]
        told.steps.append(f"The call is free: {why}")


def _whose_deck(customer: Customer, deck: RateDeck | None, direction: str) -> Iterator[str]:
    whose = f"{customer.name} (account {customer.account})"
    if deck is None and direction == Direction.INBOUND:
        yield f"Incoming calls cost {whose} nothing: there is no price list for them."
    elif deck is None:
        nor = f"nor one of {customer.partner.name} in {customer.currency}"
        yield f"There is no price list for {whose}, {nor}."
    elif deck.pk in {customer.rate_deck_id, customer.inbound_deck_id}:
        yield f"The price list of {whose} is “{deck}”, its own."
    else:
        yield f"The price list of {whose} is “{deck}”, that of {customer.partner.name}: it has none of its own."


def _price(told: Quote, seconds: int) -> Decimal:
    """Add the steps from seconds to price; the price."""
    assert told.rate is not None
    steps = steps_of_price(told.rate, seconds, billed=None)
    while True:
        try:
            told.steps.append(next(steps))
        except StopIteration as end:
            return end.value
