"""Two months of calls: who rings whom, when, for how long, and what goes wrong. How switches write it: `switches`."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ivy.demo import fiction
from ivy.demo.dice import Dice
from ivy.demo.people import Customer

CALL_COUNT = 19_000
OUTBOUND, INBOUND = "outbound", "inbound"
ANSWERED, NO_ANSWER, BUSY, FAILED = "ANSWERED", "NO ANSWER", "BUSY", "FAILED"
OUTCOMES = {ANSWERED: 0.8, NO_ANSWER: 0.13, BUSY: 0.05, FAILED: 0.02}
RINGING = (1, 3, 5, 7, 10, 14, 19, 26, 40)

# Where foreign calls go, for everybody; countries that a partner's price list leaves out are left out here too.
ABROAD = {"DE": 5, "GB": 5, "FR": 4, "US": 4, "IE": 2, "SE": 2, "CA": 1, "AU": 1}
NEIGHBOURS = {"US": "CA", "CA": "US"}
NOT_CALLED_FROM = {"sw-newyork": "SE"}


class Call(NamedTuple):
    """A call as a switch sees it. Numbers are digits in international form; `ringing` and `seconds` are seconds.

    `code` and `peer` are what the switch writes for the customer; none of them: nothing but the number.
    `is_group`: it reached the customer through a ring group, which leaves a leg of its own.
    """

    code: str
    peer: str
    direction: str
    from_number: str
    to_number: str
    started_at: datetime
    ringing: int
    seconds: int
    disposition: str
    is_group: bool = False

    @property
    def answered_at(self) -> datetime | None:
        return self.started_at + timedelta(seconds=self.ringing) if self.disposition == ANSWERED else None

    @property
    def ended_at(self) -> datetime:
        return self.started_at + timedelta(seconds=self.ringing + self.seconds)


def calls(customers: Iterable[Customer], opening_on: date, today: date) -> dict[str, list[Call]]:
    """The calls of every customer, by account, that began and ended between the two midnights (UTC)."""
    days_of = {customer: _days_with_calls(customer, opening_on, today) for customer in customers}
    total = sum(weight for days in days_of.values() for _, weight in days)
    return {
        customer.account: _calls_of(customer, days, CALL_COUNT / total, _midnight(opening_on), _midnight(today))
        for customer, days in days_of.items()
    }


def troubles(switch: str, good_calls: list[Call]) -> list[Call]:
    """Calls that Ivy can't charge as they stand, made from good ones by changing the one thing that is wrong."""
    dice = Dice(f"troubles of {switch}")
    answered = [
        call
        for call in good_calls
        if call.direction == OUTBOUND and call.seconds > 0 and call.started_at.hour < 20  # so that it ends that day
    ]

    def some(count: int, spoil: Callable[[Call], Call]) -> Iterator[Call]:
        for _ in range(count):
            call = dice.one_of(answered)
            yield spoil(call._replace(started_at=call.started_at + timedelta(seconds=dice.between(61, 3000))))

    def unknown_account(call: Call) -> Call:
        stranger = fiction.somebodys_number(dice, "GB", is_mobile=False)
        return call._replace(code="ZZ-9041", peer="", from_number=stranger)

    def impossible_number(call: Call) -> Call:
        return call._replace(to_number=call.to_number * 2)  # somebody's redial key

    def no_rate(call: Call) -> Call:
        return call._replace(to_number=fiction.somebodys_number(dice, NOT_CALLED_FROM[switch], is_mobile=True))

    spoilt = [*some(7, unknown_account), *some(4, impossible_number)]
    if switch in NOT_CALLED_FROM:
        spoilt += some(9, no_rate)
    return spoilt


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days_with_calls(customer: Customer, opening_on: date, today: date) -> list[tuple[date, float]]:
    """The customer's days, each with the number of calls it weighs against other customers' days."""
    person, kind = customer.person, customer.kind
    last = (today - opening_on).days if person.left_after is None else person.left_after
    days = (opening_on + timedelta(days=number) for number in range(person.joined_after, last))
    return [(day, kind.volume * person.seats * int(kind.week[day.weekday()])) for day in days]


def _calls_of(
    customer: Customer, days: list[tuple[date, float]], scale: float, begin: datetime, end: datetime
) -> list[Call]:
    dice = Dice(f"calls of {customer.account}")
    zone = ZoneInfo(customer.timezone)
    hours = {hour: float(weight) for hour, weight in enumerate(customer.kind.hours)}
    contacts = _contacts(customer, dice)
    found = []
    for day, weight in days:
        for _ in range(dice.about(weight * scale)):
            clock = time(dice.weighted(hours), dice.between(0, 59), dice.between(0, 59))
            call = _call(customer, dice, contacts, datetime.combine(day, clock, zone).astimezone(UTC))
            if begin <= call.started_at and call.ended_at < end:
                found.append(call)
    return found


def _contacts(customer: Customer, dice: Dice) -> list[str]:
    """The numbers that the customer rings and that ring it, the most frequent first."""
    home = customer.person.country
    foreign = {country: float(weight) for country, weight in ABROAD.items() if country != home}
    foreign.pop(NOT_CALLED_FROM.get(customer.partner.switch, ""), None)
    contacts = []
    for _ in range(12 + 8 * customer.person.seats):
        if dice.falls(customer.kind.abroad):
            country = dice.weighted(foreign)
        else:
            country = NEIGHBOURS[home] if home in NEIGHBOURS and dice.falls(0.08) else home
        contacts.append(fiction.somebodys_number(dice, country, is_mobile=dice.falls(0.45)))
    return contacts


def _call(customer: Customer, dice: Dice, contacts: list[str], started_at: datetime) -> Call:
    called_by, name = customer.person.called_by, customer.name_on_switch
    own, other = dice.one_of(customer.numbers), contacts[int(len(contacts) * dice.share() * dice.share())]
    is_outbound = dice.falls(customer.kind.outbound)
    disposition = dice.weighted(OUTCOMES)
    ringing = dice.along(RINGING)
    return Call(
        code={"account": customer.account, "code": name}.get(called_by, ""),
        peer=name if called_by == "peer" else "",
        direction=OUTBOUND if is_outbound else INBOUND,
        from_number=own if is_outbound else other,
        to_number=other if is_outbound else own,
        started_at=started_at,
        ringing=0 if disposition == FAILED else ringing,
        seconds=dice.along(customer.kind.lengths) if disposition == ANSWERED else 0,
        disposition=disposition,
        is_group=not is_outbound and customer.person.seats >= 4 and dice.falls(0.4),
    )
