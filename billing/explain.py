"""What became of a call, of an item's period, of any entry: step by step, in words that a customer understands.

Nothing here computes a price by itself: calls ask the SQL functions that billing asks, items the functions of
`billing.periods`, each with the rate, the seconds, the days and the amounts that were kept with the outcome.
"""

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Q

from billing.models import (
    CallRecord,
    Customer,
    Direction,
    EntryKind,
    FreeCall,
    FreeReason,
    ItemKind,
    ItemPeriod,
    LedgerEntry,
    QuarantinedCall,
    QuarantineReason,
    QuarantineState,
    Rate,
    RateDeck,
    Rounding,
    Timing,
)
from billing.models.deck import LONGEST_PREFIX
from billing.periods import Kind, Period, Proration, currency_digits, price

SHOWN_DECIMALS = 8
ITEM_CREDITS = "credit:item:"


class UnknownKey(Exception):
    """Nothing has this key; the message is a sentence."""


# What to call the person who entered something; empty where nobody did.
Who = Callable[[LedgerEntry], str]


@dataclass(frozen=True)
class Explanation:
    """`outcome`: the kind of the entry, or `free`, `quarantine`, `pending`. `steps`: sentences, in order."""

    key: str
    outcome: str
    steps: list[str]


def explain(key: str, *, names_staff: bool = True) -> Explanation:
    """Tell how the ledger entry, the free call or the call in quarantine with this key came about.

    Times are the customer's. `names_staff`: by name, and not only as staff. Raises UnknownKey.
    """
    who = _by_name if names_staff else _by_office
    entry = LedgerEntry.objects.filter(key=key).first()
    if entry is not None:
        customer = Customer.objects.select_related("partner").get(pk=entry.customer_id)
        steps = [*_steps_of(entry, customer, who), *_effect(entry, customer), *_aftermath(entry, customer, who)]
        return Explanation(key, entry.kind, steps)
    free = FreeCall.objects.filter(call_key=key).first()
    if free is not None:
        return Explanation(key, "free", list(_free_call(free)))
    waiting = list(QuarantinedCall.objects.filter(call_key=key).exclude(state=QuarantineState.SETTLED).order_by("pk"))
    if waiting:
        return Explanation(key, "quarantine", [step for row in waiting for step in _quarantined_call(row)])
    call = _find_call(key)
    if call is not None:
        return Explanation(key, "pending", [*_who_called_whom(call), "It has not been billed yet: the next run does."])
    raise UnknownKey(f"Nothing has the key “{key}”: no ledger entry, no free call, no call in quarantine.")


def _by_name(entry: LedgerEntry) -> str:
    return entry.entered_by


def _by_office(entry: LedgerEntry) -> str:
    return "Staff" if entry.entered_by else ""


def _steps_of(entry: LedgerEntry, customer: Customer, who: Who) -> Iterator[str]:
    match entry.kind:
        case EntryKind.CALL:
            yield from _call_charge(entry)
        case EntryKind.RECURRING | EntryKind.ONE_OFF:
            yield from _item_charge(entry, customer)
        case EntryKind.REVERSAL:
            yield from _reversal(entry, customer, who)
        case EntryKind.CREDIT:
            yield from _credit(entry, customer, who)
        case _:
            yield from _movement(entry, customer, who)


# Calls


@dataclass(frozen=True)
class _Call:
    """A call record, and for whom and in which direction it is billed: what a release from quarantine found, else its
    own."""

    record: CallRecord
    customer: Customer | None
    direction: str

    @property
    def zone(self) -> str:
        return self.customer.timezone if self.customer else "UTC"

    @property
    def rated_at(self) -> datetime:
        return self.record.answered_at or self.record.started_at


def _call_charge(entry: LedgerEntry) -> Iterator[str]:
    call = _find_call(entry.key)
    rate = _rate(entry.rate_id)
    if call is None or rate is None or call.customer is None:
        yield f"{_sentence(entry.description)} Its call record or its rate is not there any more."
        return
    yield from _who_called_whom(call)
    yield from _why_this_rate(call, rate)
    rounded = yield from steps_of_price(rate, call.record.seconds, billed=entry.billed_seconds)
    if rounded != -entry.amount:
        charged = _money(-entry.amount, entry.currency)
        yield f"Charged was {charged}: the price list rounded otherwise when the call was billed."
    yield from _others_with_this_key(entry.key, call)


def _free_call(free: FreeCall) -> Iterator[str]:
    call = _find_call(free.call_key)
    if call is not None:
        yield from _who_called_whom(call)
        rate = _rate(free.rate_id)
        if rate is not None:
            yield from _why_this_rate(call, rate)
            yield from steps_of_price(rate, call.record.seconds, billed=free.billed_seconds)
    yield f"The call is free: {WHY_FREE[FreeReason(free.reason)]}"
    if call is not None:
        yield from _others_with_this_key(free.call_key, call)


def _quarantined_call(row: QuarantinedCall) -> Iterator[str]:
    call = _find_call(row.call_key, row=row)
    if call is not None:
        yield from _who_called_whom(call)
    why, remedy = WHY_QUARANTINED[QuarantineReason(row.reason)]
    if call is not None and call.customer is not None and row.reason == QuarantineReason.NO_RATE:
        deck = _deck_of(call)
        name = f"The price list “{deck}”" if deck else "The customer's price list"
        why = f"{name} has no prefix for {call.record.to_number} that was valid at the time of the call."
    yield f"The call was not charged. {why}{f' {_sentence(row.detail)}' if row.detail else ''}"
    since = _moment(row.since, call.zone if call else "UTC")
    match row.state:
        case QuarantineState.DISMISSED:
            yield f"{row.dismissed_by} put it away for good: {_sentence(row.dismissed_because)} It is never charged."
        case QuarantineState.RELEASED:
            yield "It was let go since, and is billed like any other call by the next run."
        case _:
            yield f"It has waited in quarantine since {since}."
            yield f"What to do: {remedy}"


def _who_called_whom(call: _Call) -> Iterator[str]:
    record = call.record
    whose = f"{call.customer.name} (account {call.customer.account})" if call.customer else "nobody we know of"
    caller, called = record.from_number or record.from_peer or "Somebody", record.to_number or record.to_peer or "?"
    kind = "an incoming call to" if call.direction == Direction.INBOUND else "a call by"
    started = _moment(record.started_at, call.zone)
    yield f"{caller} called {called} on {started} ({call.zone}), {kind} {whose}."
    reported = f"the switch {record.source.name} reported it as {record.call_id}"
    if not record.is_answered:
        yield f"Nobody answered; {reported}."
    elif record.answered_at is None:
        yield f"It was answered and lasted {_seconds(record.seconds)}; {reported}."
    else:
        answered = f"{record.answered_at.astimezone(ZoneInfo(call.zone)):%H:%M:%S}"
        yield f"It was answered at {answered} and lasted {_seconds(record.seconds)}; {reported}."


def _why_this_rate(call: _Call, rate: Rate) -> Iterator[str]:
    deck, customer, number = rate.deck, call.customer, call.record.to_number
    assert customer is not None
    if call.direction == Direction.INBOUND and deck.pk == customer.inbound_deck_id:
        why = "the customer's own for incoming calls"
    elif call.direction == Direction.OUTBOUND and deck.pk == customer.rate_deck_id:
        why = "the customer's own"
    elif call.direction == Direction.OUTBOUND and deck.pk == customer.partner.rate_deck_id:
        why = f"that of {customer.partner.name}, " + (
            "since the customer has none of its own"
            if customer.rate_deck_id is None
            else "as the customer then had none"
        )
    else:
        why = "the one that held for the customer when the call was billed; now it is another"
    yield f"Its price comes from the price list “{deck}”: {why}."

    valid = f"was valid when the call {'was answered' if call.record.answered_at else 'began'}"
    yield why_this_prefix(rate, number, at=call.rated_at, valid=valid)


def why_this_prefix(rate: Rate, number: str, *, at: datetime, valid: str) -> str:
    """Why the number has this rate of its deck; `valid` says when: “is valid on that day”."""
    prefixes = [number[:length] for length in range(1, LONGEST_PREFIX + 1) if length <= len(number)]
    is_valid = Q(valid_from__isnull=True) | Q(valid_from__lte=at)
    is_valid &= Q(valid_to__isnull=True) | Q(valid_to__gt=at)
    others = rate.deck.rates.filter(is_valid, prefix__in=prefixes).exclude(pk=rate.pk)
    shorter = sorted((one for one in others if len(one.prefix) < len(rate.prefix)), key=lambda one: -len(one.prefix))
    later = [one.prefix for one in others if len(one.prefix) >= len(rate.prefix)]
    told = f"{number} begins with {_prefix(rate)}, the longest prefix in it that {valid}."
    if shorter:
        told += f" Shorter ones that would fit: {', '.join(map(_prefix, shorter))}."
    if later:
        were = "was" if len(later) == 1 else "were"
        told += f" ({', '.join(later)} {were} entered only after the call was billed.)"
    return told


def steps_of_price(rate: Rate, answered_seconds: int, *, billed: int | None) -> Generator[str, None, Decimal]:
    """Yield the steps from seconds to price; what comes out is returned. `billed`: where they were kept."""
    deck, first, step = rate.deck, rate.first_increment, rate.increment
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT seconds, exact_call_price(seconds, ppm, fee, 0), exact_call_price(seconds, ppm, fee, minimum),
                rounded(exact_call_price(seconds, ppm, fee, minimum), %(decimals)s, %(rounding)s)
            FROM (
                SELECT coalesce(%(billed)s, billed_seconds(%(seconds)s, %(first)s, %(step)s)) AS seconds,
                    %(price)s::numeric AS ppm, %(fee)s::numeric AS fee, %(minimum)s::numeric AS minimum
            ) said
            """,
            {
                "billed": billed,
                "seconds": answered_seconds,
                "first": first,
                "step": step,
                "price": rate.price_per_minute,
                "fee": rate.connect_fee,
                "minimum": rate.minimum_charge,
                "decimals": deck.decimals,
                "rounding": deck.rounding,
            },
        )
        seconds, before_minimum, exact, rounded = cursor.fetchone()
    how = f"at least {first}, then in steps of {step}" if first != step else f"in steps of {step}"
    how = "second by second" if first == step == 1 else how
    yield f"{_seconds(answered_seconds)} are billed as {seconds} seconds: {how}."
    fee = f"{_figure(rate.connect_fee)} connection fee + " if rate.connect_fee else ""
    per_minute = f"{_figure(rate.price_per_minute)} a minute × {seconds} / 60"
    yield f"Price: {fee}{per_minute} = {_money(before_minimum, deck.currency)}."
    if rate.minimum_charge > before_minimum:
        yield f"A call costs at least {_money(rate.minimum_charge, deck.currency)}: so this one does."
    elif rate.minimum_charge:
        yield f"That is not below the minimum charge of {_money(rate.minimum_charge, deck.currency)}."
    yield (
        f"Rounded once, to {deck.decimals} decimals, {_ROUNDINGS[Rounding(deck.rounding)]}:"
        f" {_money(rounded, deck.currency)}{'' if rounded != exact else ' (nothing to round)'}."
    )
    return rounded


def _others_with_this_key(key: str, call: _Call) -> Iterator[str]:
    """What quarantine has to say of a call that has its outcome: why it once waited, and who shares its id."""
    for row in QuarantinedCall.objects.filter(call_key=_cause(key)).order_by("pk"):
        if row.content_hash == call.record.content_hash:
            waited = QuarantineReason(row.reason).label.lower()
            yield f"Before, it had waited in quarantine since {_moment(row.since, call.zone)}: {waited}."
        else:
            yield (
                "Another record with the same id and other content is in quarantine"
                f" ({row.get_state_display().lower()}): it was not charged."
            )


def _rate(rate_id: int | None) -> Rate | None:
    return Rate.objects.select_related("deck").filter(pk=rate_id).first() if rate_id else None


def _find_call(key: str, *, row: QuarantinedCall | None = None) -> _Call | None:
    """The call with this key: the record that the quarantine row is about, else the one that got the outcome."""
    found = re.fullmatch(r"call:([^:]+):(.+)", _cause(key), re.DOTALL)
    if found is None:
        return None
    source, call_id = found[1], found[2].replace("%23", "#").replace("%25", "%")
    kept = {one.content_hash: one for one in QuarantinedCall.objects.filter(call_key=_cause(key))}
    for record in (
        CallRecord.objects.filter(source__name=source, call_id=call_id).select_related("source").order_by("pk")
    ):
        one = kept.get(record.content_hash)
        is_meant = one is None or one.state == QuarantineState.SETTLED
        if row is not None:
            is_meant = record.content_hash == row.content_hash
        if is_meant:
            customer_id = record.customer_id if one is None else one.customer_id or record.customer_id
            customer = Customer.objects.select_related("partner").get(pk=customer_id) if customer_id else None
            return _Call(record, customer, (one.direction if one else "") or record.direction)
    return None


def _deck_of(call: _Call) -> RateDeck | None:
    """The price list that the call would be charged by now."""
    assert call.customer is not None
    return deck_now(call.customer, call.direction)


def deck_now(customer: Customer, direction: str) -> RateDeck | None:
    """The price list of the customer's calls in this direction: its own, else its partner's. None: there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT deck_of_call(%s, %s, %s, %s, %s, %s)",
            [
                direction,
                customer.rate_deck_id,
                customer.inbound_deck_id,
                customer.currency,
                customer.partner.rate_deck_id,
                customer.partner.currency,
            ],
        )
        return RateDeck.objects.filter(pk=cursor.fetchone()[0]).first()


# Items


def _item_charge(entry: LedgerEntry, customer: Customer) -> Iterator[str]:
    period = _find_period(entry.key)
    if period is None:
        yield f"{_sentence(entry.description)} How its price was made was not kept."
        return
    item = period.item
    named = f"{item.description} (item {item.reference}) of {customer.name}, account {customer.account}"
    if item.kind == ItemKind.ONE_OFF:
        yield f"{named}: charged once, on {_day(period.start_on)}."
    else:
        every = item.interval if item.interval_count == 1 else f"{item.interval_count} {item.interval}s"
        when = "afterwards" if item.timing == Timing.ARREARS else "in advance"
        yield f"{named}: charged every {every}, {when}."
        yield from _which_days(period, every)
    yield from _what_it_costs(period, entry)
    due_on = entry.occurred_at.astimezone(ZoneInfo(customer.timezone)).date()
    late = (entry.posted_at.astimezone(ZoneInfo(customer.timezone)).date() - due_on).days
    if item.kind == ItemKind.ONE_OFF:
        due = f"It was due on {_day(due_on)}"
    elif item.timing == Timing.ARREARS:
        due = f"It was due when its last day was over, on {_day(due_on)}"
    else:
        due = f"It was due on its first day, {_day(due_on)}"
    yield due + (f", and caught up with {late} day{'s' * (late != 1)} later." if late > 0 else ".")


def _find_period(key: str) -> ItemPeriod | None:
    """The charged period whose entry has this key."""
    found = re.fullmatch(r"item:(.+):([0-9]{4}-[0-9]{2}-[0-9]{2})", _cause(key), re.DOTALL)
    if found is None:
        return None
    reference = found[1].replace("%23", "#").replace("%25", "%")
    return ItemPeriod.objects.select_related("item").filter(item__reference=reference, start_on=found[2]).first()


def _which_days(period: ItemPeriod, every: str) -> Iterator[str]:
    item = period.item
    days = f"From {_day(period.start_on)} to {_day(period.end_on - timedelta(days=1))}"
    match Kind(period.kind):
        case Kind.WHOLE:
            yield f"{days}: a whole period of {every if item.interval_count > 1 else f'one {every}'}."
            return
        case Kind.LEADING_STUB:
            yield f"{days}: the days from the item's start to its first billing date, {_day(period.end_on)}."
        case Kind.TRAILING_STUB:
            yield f"{days}: the days from its last billing date to its end on {_day(period.end_on)}."
        case Kind.SHORT_STUB:
            yield f"{days}: all its days, since it ended before its first billing date."
        case Kind.PART:
            pauses = item.pauses.filter(Q(starts_on=period.end_on) | Q(ends_on=period.start_on)).order_by("starts_on")
            told = [
                f"paused from {_day(one.starts_on)}"
                f" {f'to {_day(one.ends_on - timedelta(days=1))}' if one.ends_on else 'on'}"
                for one in pauses
            ]
            why = f"it was {' and '.join(told)}" if told else "what a pause, or an end that was moved, left of it"
            yield f"{days}: a part of a period; {why}."
    if item.proration == Proration.NONE:
        full = "in full" if period.days else "with another part of the same period already"
        yield f"Parts of a period are not reckoned by days with this item: this one is charged {full}."
    elif item.proration == Proration.FIXED_30:
        yield f"Every month counts thirty days here: these are {period.days} of {period.whole_days}."
    elif (count := (period.end_on - period.start_on).days) > period.days:
        yield (
            f"These are {count} days, and {period.days} of them are charged: no parts of a period cost more than a"
            f" whole one, which has {period.whole_days} days."
        )
    else:
        yield f"These are {period.days} of the {period.whole_days} days of a whole period."


def _what_it_costs(period: ItemPeriod, entry: LedgerEntry) -> Iterator[str]:
    item = period.item
    kept = Period(period.start_on, period.end_on, Kind(period.kind), period.start_on, period.days, period.whole_days)
    since = item.price_changes.filter(from_date__lte=period.start_on).order_by("from_date").last()
    if since is not None and since.amount == period.amount:
        yield f"It costs {_money(period.amount, entry.currency)} since {_day(since.from_date)}."
    formula = _figure(period.amount)
    if period.quantity != 1:
        formula += f" × {period.quantity.normalize():f}"
    if period.days != period.whole_days:
        formula += f" × {period.days} / {period.whole_days}"
    digits = currency_digits(entry.currency)
    exact = price(period.amount, period.quantity, kept, SHOWN_DECIMALS)
    rounded = price(period.amount, period.quantity, kept, digits)
    more = "" if price(period.amount, period.quantity, kept, SHOWN_DECIMALS + 12) == exact else "…"
    yield f"Price: {formula} = {_figure(exact)}{more} {entry.currency}."
    if rounded != exact or more:
        yield f"Rounded once, to {digits} decimals, half up: {_money(rounded, entry.currency)}."
    if rounded != -entry.amount:
        yield f"Charged was {_money(-entry.amount, entry.currency)}."


# Everything else


def _reversal(entry: LedgerEntry, customer: Customer, who: Who) -> Iterator[str]:
    wrong = LedgerEntry.objects.filter(key=entry.reverses).first()
    if wrong is None:
        yield f"This takes back {entry.reverses}, which is not there any more."
        return
    posted = _moment(wrong.posted_at, customer.timezone)
    what = wrong.description or EntryKind(wrong.kind).label.lower()
    yield f"This takes back {wrong.key} ({what}), which {_moved(wrong, 'the balance')} on {posted}."
    yield f"{who(entry)} decided so on {_moment(entry.posted_at, customer.timezone)}: {_sentence(entry.reason)}"


def _credit(entry: LedgerEntry, customer: Customer, who: Who) -> Iterator[str]:
    if not entry.key.startswith(ITEM_CREDITS):
        amount, whose = _money(entry.amount, entry.currency), f"{customer.name}, account {customer.account}"
        yield f"A credit of {amount} for {whose} ({_name_in(entry.key)}). {_sentence(entry.description)}"
        posted = _moment(entry.posted_at, customer.timezone)
        yield f"{who(entry)} gave it on {posted}: {_sentence(entry.reason)}"
        return
    yield f"Something is given back to {customer.name}, account {customer.account}: {_sentence(entry.description)}"
    yield from (_sentence(part) for part in entry.reason.split("; ") if part)
    if who(entry):
        yield f"{who(entry)} ended it on {_moment(entry.posted_at, customer.timezone)}."


def _movement(entry: LedgerEntry, customer: Customer, who: Who) -> Iterator[str]:
    whose = f"{customer.name}, account {customer.account}"
    at = _moment(entry.occurred_at, customer.timezone)
    amount = _money(abs(entry.amount), entry.currency)
    name = _name_in(entry.key)
    match entry.kind:
        case EntryKind.PAYMENT:
            yield f"A payment of {amount} by {whose}, received on {at}{f' ({name})' * bool(name)}."
        case EntryKind.REFUND:
            yield f"A refund of {amount} to {whose}, paid on {at}{f' ({name})' * bool(name)}."
        case EntryKind.OPENING:
            yield f"The balance that {whose}, brought along when the account came to Ivy."
        case _:
            favour = "in favour of" if entry.amount > 0 else "owed by"
            yield f"An adjustment of {amount} {favour} {whose}{f' ({name})' * bool(name)}."
    if entry.description:
        yield _sentence(entry.description)
    if who(entry):
        posted = _moment(entry.posted_at, customer.timezone)
        yield f"{who(entry)} posted it on {posted}: {_sentence(entry.reason)}"


def _effect(entry: LedgerEntry, customer: Customer) -> Iterator[str]:
    balance = f"the balance of account {customer.account}"
    yield f"On {_moment(entry.posted_at, customer.timezone)} it {_moved(entry, balance)}."


def _aftermath(entry: LedgerEntry, customer: Customer, who: Who) -> Iterator[str]:
    """Yield what was done about the entry later: taken back, charged again."""
    reversal = LedgerEntry.objects.filter(reverses=entry.key).first()
    if entry.charge_number > 1:
        yield f"This is charge number {entry.charge_number} of the same cause: the one before was taken back."
    if reversal is None:
        return
    at = _moment(reversal.posted_at, customer.timezone)
    yield f"{who(reversal)} took it back on {at}: {_sentence(reversal.reason)} ({reversal.key})"
    again = LedgerEntry.objects.filter(key=f"{_cause(entry.key)}#{entry.charge_number + 1}").first()
    if again is not None:
        yield f"It was charged again, {_money(-again.amount, again.currency)}: {again.key}."


# Words


_ROUNDINGS = {Rounding.HALF_UP: "half up", Rounding.UP: "always up", Rounding.HALF_EVEN: "half to even"}

WHY_FREE = {
    FreeReason.NOT_ANSWERED: "nobody answered, and only answered calls cost something.",
    FreeReason.ZERO_SECONDS: "it lasted no second; then not even a connection fee is due.",
    FreeReason.INTERNAL: "it is an internal leg of the switch, not a call to anybody.",
    FreeReason.INBOUND: "incoming calls cost this customer nothing, as there is no price list for them.",
    FreeReason.ZERO_RATE: "the price list says zero for this destination.",
    FreeReason.ROUNDS_TO_ZERO: "its price is so small that it rounds to zero.",
}

_BY_ITSELF = "the call then comes back by itself with the next run."
_RELEASE = "If it is to be charged as it stands, release it (release_quarantine); if not, dismiss it."

WHY_QUARANTINED = {
    QuarantineReason.NO_CUSTOMER: (
        "Neither account code nor peer nor number in its record names a customer.",
        f"give the customer the call identity that is missing; {_BY_ITSELF}",
    ),
    QuarantineReason.AMBIGUOUS_CUSTOMER: (
        "What its record says names two different customers.",
        f"correct the call identities, so that they name one; {_BY_ITSELF}",
    ),
    QuarantineReason.NO_DECK: (
        "There is no price list for it: neither the customer has one, nor the partner one in the customer's currency.",
        f"give the customer or the partner a price list; {_BY_ITSELF}",
    ),
    QuarantineReason.NO_RATE: (
        "The price list has no prefix for the number that was valid at the time of the call.",
        f"add a rate for it, valid at that time; {_BY_ITSELF}",
    ),
    QuarantineReason.IMPOSSIBLE_NUMBER: (
        "What was called can't be a telephone number.",
        "have the switch corrected, and dismiss the call (dismiss_quarantine): it has no price.",
    ),
    QuarantineReason.IMPOSSIBLE_TIME: (
        "Its times can't be right.",
        f"look at the switch's clock. {_RELEASE}",
    ),
    QuarantineReason.CONTRADICTORY: (
        "Its record contradicts itself.",
        f"compare it with the switch. {_RELEASE}",
    ),
    QuarantineReason.CONFLICTING_DUPLICATE: (
        "Another call with the same id and other content came before it; one id is never charged twice.",
        "find out which of the two is right; dismiss this one if the other was charged rightly.",
    ),
    QuarantineReason.POSSIBLE_DUPLICATE: (
        "The same content came from another switch already: perhaps it is the same call.",
        f"find out whether it is. {_RELEASE}",
    ),
    QuarantineReason.CUSTOMER_CLOSED: (
        "The customer's account was closed when the call began.",
        "find out who made it; dismiss it (dismiss_quarantine), or open the account again.",
    ),
}


def _cause(key: str) -> str:
    """The key without the number of a second or later charge."""
    return re.sub(r"#[0-9]+$", "", key)


def _name_in(key: str) -> str:
    """What a key says besides its kind and account, as it came from outside: `bank 4711`."""
    parts = key.removeprefix("credit:").split(":", 2)
    parts = parts[1:] if key.startswith("payment:") else parts[2:]
    return " ".join(part.replace("%23", "#").replace("%25", "%") for part in parts)


def _prefix(rate: Rate) -> str:
    return f"{rate.prefix} ({rate.destination})" if rate.destination else rate.prefix


def _moved(entry: LedgerEntry, balance: str) -> str:
    """What the entry did to the balance: “took 5.00 GBP from the balance”."""
    if entry.amount == 0:
        return f"left {balance} as it was"
    amount = _money(abs(entry.amount), entry.currency)
    return f"added {amount} to {balance}" if entry.amount > 0 else f"took {amount} from {balance}"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _seconds(count: int) -> str:
    if count < 60:
        return f"{count} second{'s' * (count != 1)}"
    hours, rest = divmod(count, 3600)
    clock = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
    return f"{count} seconds ({clock})"


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


def _moment(at: datetime, zone: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%A} {_day(local.date())} at {local:%H:%M:%S}"


def _figure(amount: Decimal) -> str:
    """A number with at least two decimals and no needless zeros; cut, with dots, after so many."""
    shown = amount.quantize(Decimal(1).scaleb(-SHOWN_DECIMALS), ROUND_DOWN)
    whole, _, decimals = f"{shown:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}{'' if shown == amount else '…'}"


def _money(amount: Decimal, currency: str) -> str:
    return f"{_figure(amount)} {currency}"
