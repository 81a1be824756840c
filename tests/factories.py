"""The smallest valid row of each noun, for tests that are about something else.

Every call makes one new row; what it hangs on and is not given is found or made once: the partner `harbour`, the switch
`pbx-north`, the deck `standard`, the customer who is called next. Fields are overridden by keyword:

    lindqvist = make_customer(balance=Decimal("12.50"), status="suspended")
    call = make_call(customer=lindqvist, seconds=61)
    make_call_charge(call, amount=Decimal("-0.04"))

Numbers come from the ranges that Ofcom keeps for drama, addresses from example domains.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group

from billing.models import (
    AlertRecipient,
    ArrivalBatch,
    BalanceAlert,
    BatchKind,
    BatchProgress,
    BillingChunk,
    BillingItem,
    BillingRun,
    BillingWorker,
    CallIdentity,
    CallRecord,
    Customer,
    Delivery,
    Direction,
    EntryKind,
    Episode,
    FreeCall,
    FreeReason,
    IdentityKind,
    ItemKind,
    ItemPause,
    ItemPeriod,
    ItemPriceChange,
    LedgerEntry,
    LedgerSum,
    LedgerSumMark,
    MonthClosing,
    Partner,
    PartnerAlert,
    Process,
    ProcessSwitch,
    QuarantinedCall,
    QuarantineReason,
    Rate,
    RateDeck,
    Rerating,
    RunState,
    Source,
    SourceFormat,
    Statement,
    UnparsableLine,
)
from billing.periods import Interval, Kind
from ivy.accounts.models import User
from ivy.portal.models import PortalUser, Role
from ivy.staff import roles

MARCH_BEGIN = date(2026, 3, 1)
MARCH_END = date(2026, 4, 1)
MORNING = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PASSWORD = "a long walk along the quay"

PARTNERS = ["Harbour", "Lighthouse", "Quayside", "Meridian", "Fjord"]
CUSTOMERS = [
    "Café Lindqvist",
    "Okafor Bakery",
    "Van den Berg Cycles",
    "Müller & Söhne",
    "Patel Dental Practice",
    "Rossi Ceramics",
    "Nakamura Books",
    "Clínica Fernández",
]
PEOPLE = ["Astrid Holm", "Samuel Adeyemi", "Ines Duarte", "Jonas Weber", "Mei Tanaka"]

_numbers = count(1)


def _next() -> int:
    return next(_numbers)


def _one_of(names: list[str], number: int) -> str:
    return names[(number - 1) % len(names)]


def _month(at: datetime) -> date:
    return at.astimezone(UTC).date().replace(day=1)


def mobile(number: int) -> str:
    """A British mobile number that belongs to nobody, as digits."""
    return f"447700900{number % 1000:03d}"


def landline(number: int) -> str:
    """A London number that belongs to nobody, as digits."""
    return f"442079460{number % 1000:03d}"


# People


def make_user(**fields: Any) -> User:
    """A person who can log in with PASSWORD, without staff rights unless told."""
    number = _next()
    name = fields.pop("name", _one_of(PEOPLE, number))
    email = fields.pop("email", f"{name.split()[0].lower()}.{number}@example.com")
    if "password" in fields:
        return get_user_model().objects.create_user(email, name=name, **fields)
    return get_user_model().objects.create(email=email, name=name, password=_hashed(PASSWORD), **fields)


@cache
def _hashed(password: str) -> str:
    """Hashed once: it is meant to take long."""
    return make_password(password)


def role(name: str) -> Group:
    """The group of this role; made anew where a test with real commits has emptied the table."""
    if not Group.objects.exists():
        roles.install()
    return Group.objects.get(name=name)


def make_superuser(**fields: Any) -> User:
    """A member of staff who may do everything."""
    return make_user(is_staff=True, is_superuser=True, **fields)


def make_portal_user(**fields: Any) -> PortalUser:
    """A person with a place in a partner's portal, as its owner unless told; `user=` for one who is there already."""
    partner = fields.pop("partner", None) or harbour()
    user = fields.pop("user", None) or make_user()
    return PortalUser.objects.create(user=user, partner=partner, **{"role": Role.OWNER} | fields)


# Partners and customers


def harbour() -> Partner:
    """The partner whom everything belongs to that is not given one; made at the first call."""
    return Partner.objects.filter(slug="harbour").first() or make_partner(slug="harbour", name="Harbour")


def make_partner(**fields: Any) -> Partner:
    number = _next()
    name = _one_of(PARTNERS, number)
    defaults: dict[str, Any] = {
        "slug": f"{name.lower()}-{number}",
        "name": name,
        "sender": f"billing@{name.lower()}.example",
        "timezone": "Europe/London",
        "currency": "GBP",
    }
    return Partner.objects.create(**defaults | fields)


def make_customer(*, balance: Decimal | int = 0, **fields: Any) -> Customer:
    """A customer with its balance row and built-in alert (by trigger), and an opening entry unless `balance` is 0."""
    number = _next()
    partner = fields.pop("partner", None) or harbour()
    defaults: dict[str, Any] = {
        "account": f"{10_000 + number}",
        "name": _one_of(CUSTOMERS, number),
        "email": f"accounts.{number}@example.net",
        "currency": partner.currency,
        "timezone": partner.timezone,
    }
    customer = Customer.objects.create(partner=partner, **defaults | fields)
    if balance:
        make_entry(
            customer=customer, kind=EntryKind.OPENING, key=f"opening:{customer.account}", amount=Decimal(balance)
        )
    customer.refresh_from_db()
    return customer


def make_alert(**fields: Any) -> BalanceAlert:
    customer = fields.pop("customer", None) or make_customer()
    return BalanceAlert.objects.create(customer=customer, **{"threshold": Decimal(10)} | fields)


def make_recipient(**fields: Any) -> AlertRecipient:
    alert = fields.pop("alert", None) or make_alert()
    return AlertRecipient.objects.create(alert=alert, **{"email": f"manager.{_next()}@example.net"} | fields)


def make_default_alert(**fields: Any) -> PartnerAlert:
    """What new customers of a partner get who come without an alert."""
    partner = fields.pop("partner", None) or harbour()
    return PartnerAlert.objects.create(partner=partner, **{"threshold": Decimal(10)} | fields)


def make_episode(**fields: Any) -> Episode:
    """An open episode, a penny below the threshold of its alert."""
    alert = fields.pop("alert", None) or make_alert()
    defaults = {
        "opened_business_at": MORNING,
        "opened_threshold": alert.threshold,
        "opened_balance": alert.threshold - Decimal("0.01"),
    }
    return Episode.objects.create(alert=alert, **defaults | fields)


# Switches of the telephone kind, and what they deliver


def pbx_north() -> Source:
    """The source of every delivery that is not given one; made at the first call."""
    return Source.objects.filter(name="pbx-north").first() or make_source(name="pbx-north")


def make_source(**fields: Any) -> Source:
    defaults = {"name": f"pbx-{_next()}", "format": SourceFormat.IVY}
    return Source.objects.create(**defaults | fields)


def make_identity(**fields: Any) -> CallIdentity:
    """A phone number that names a customer, for any source."""
    customer = fields.pop("customer", None) or make_customer()
    defaults = {"kind": IdentityKind.NUMBER, "value": landline(_next())}
    return CallIdentity.objects.create(customer=customer, **defaults | fields)


def make_delivery(**fields: Any) -> Delivery:
    source = fields.pop("source", None) or pbx_north()
    defaults: dict[str, Any] = {"file_name": f"calls-{_next()}.csv", "finished_at": MORNING}
    return Delivery.objects.create(source=source, **defaults | fields)


def make_batch(**fields: Any) -> ArrivalBatch:
    """An open batch of one call."""
    kind = fields.get("kind", BatchKind.ARRIVAL)
    delivery = fields.pop("delivery", None)
    if kind == BatchKind.ARRIVAL:
        delivery = delivery or make_delivery()
    return ArrivalBatch.objects.create(delivery=delivery, **{"call_count": 1} | fields)


def make_call(**fields: Any) -> CallRecord:
    """An answered outbound call of a minute, in an open batch of its own, without an outcome."""
    number = _next()
    source = fields.pop("source", None) or pbx_north()
    batch = fields.pop("batch", None) or make_batch(delivery=make_delivery(source=source))
    customer = fields.pop("customer") if "customer" in fields else make_customer()
    started_at = fields.pop("started_at", MORNING)
    seconds = fields.pop("seconds", 60)
    defaults: dict[str, Any] = {
        "line_number": number,
        "call_id": f"leg-{number}",
        "content_hash": uuid.uuid4(),
        "direction": Direction.OUTBOUND,
        "from_number": landline(number),
        "to_number": mobile(number),
        "answered_at": started_at + timedelta(seconds=5),
        "ended_at": started_at + timedelta(seconds=5 + seconds),
        "is_answered": True,
        "is_internal": False,
        "booked_month": _month(started_at),
    }
    return CallRecord.objects.create(
        source=source, batch=batch, customer=customer, started_at=started_at, seconds=seconds, **defaults | fields
    )


def key_of(call: CallRecord) -> str:
    """The natural key of a call, as the SQL function `call_key` writes it."""
    return f"call:{call.source.name}:{call.call_id.replace('%', '%25').replace('#', '%23')}"


def make_unparsable_line(**fields: Any) -> UnparsableLine:
    delivery = fields.pop("delivery", None) or make_delivery()
    defaults: dict[str, Any] = {
        "line_number": 7,
        "raw": b"leg-9;10001;outb\xfcnd",
        "reason": "The line is not UTF-8.",
        "content_hash": uuid.uuid4(),
    }
    return UnparsableLine.objects.create(source=delivery.source, delivery=delivery, **defaults | fields)


# Prices


def standard_deck() -> RateDeck:
    """The deck of every rate that is not given one, in pounds; made at the first call."""
    return RateDeck.objects.filter(name="standard").first() or make_deck(name="standard")


def make_deck(**fields: Any) -> RateDeck:
    return RateDeck.objects.create(**{"name": f"deck-{_next()}", "currency": "GBP"} | fields)


def make_rate(**fields: Any) -> Rate:
    """British mobiles at three pence a minute, from the beginning of time, by the second."""
    deck = fields.pop("deck", None) or standard_deck()
    defaults: dict[str, Any] = {
        "prefix": "447",
        "destination": "United Kingdom, mobile",
        "price_per_minute": Decimal("0.03"),
    }
    return Rate.objects.create(deck=deck, **defaults | fields)


# Items


def make_item(**fields: Any) -> BillingItem:
    """A monthly item at ten a month from 1 March 2026; a one-off one with `kind=ItemKind.ONE_OFF`."""
    customer = fields.pop("customer", None) or make_customer()
    kind = fields.pop("kind", ItemKind.RECURRING)
    defaults: dict[str, Any] = {
        "reference": f"item-{_next()}",
        "description": "SIP trunk" if kind == ItemKind.RECURRING else "Porting fee",
        "amount": Decimal(10),
        "interval": Interval.MONTH.value if kind == ItemKind.RECURRING else "",
        "starts_on": MARCH_BEGIN,
    }
    item = BillingItem.objects.create(customer=customer, kind=kind, **defaults | fields)
    item.refresh_from_db()
    return item


def make_period(**fields: Any) -> ItemPeriod:
    """March, charged whole, as a run leaves it: the item is charged through to its end. No ledger entry."""
    item = fields.pop("item", None) or make_item()
    start_on = fields.pop("start_on", item.starts_on)
    end_on = fields.pop("end_on", MARCH_END)
    days = (end_on - start_on).days
    defaults: dict[str, Any] = {
        "previous_end": item.charged_through,
        "kind": Kind.WHOLE.value,
        "days": days,
        "whole_days": days,
        "amount": item.amount,
        "quantity": item.quantity,
    }
    period = ItemPeriod.objects.create(item=item, start_on=start_on, end_on=end_on, **defaults | fields)
    BillingItem.objects.filter(pk=item.pk).update(charged_through=end_on, next_due_on=end_on)
    item.refresh_from_db()
    return period


def make_price_change(**fields: Any) -> ItemPriceChange:
    """Twelve a month instead of ten, from April on."""
    item = fields.pop("item", None) or make_item()
    defaults: dict[str, Any] = {"from_date": MARCH_END, "amount": Decimal(12), "changed_by": "astrid.holm@example.com"}
    return ItemPriceChange.objects.create(item=item, **defaults | fields)


def make_pause(**fields: Any) -> ItemPause:
    """From April on, until further notice."""
    item = fields.pop("item", None) or make_item()
    defaults: dict[str, Any] = {"starts_on": MARCH_END, "changed_by": "astrid.holm@example.com"}
    return ItemPause.objects.create(item=item, **defaults | fields)


# Money


def make_entry(**fields: Any) -> LedgerEntry:
    """A payment of ten, unless told what else; the trigger moves the customer's balance."""
    customer = fields.pop("customer", None) or make_customer()
    occurred_at = fields.pop("occurred_at", MORNING)
    defaults: dict[str, Any] = {
        "key": f"payment:bank:{_next()}",
        "kind": EntryKind.PAYMENT,
        "amount": Decimal(10),
        "currency": customer.currency,
        "booked_month": _month(occurred_at),
    }
    return LedgerEntry.objects.create(customer=customer, occurred_at=occurred_at, **defaults | fields)


def make_call_charge(call: CallRecord, **fields: Any) -> LedgerEntry:
    """The charge that is a call's outcome: three pence for a minute, at a rate that need not exist."""
    BatchProgress.objects.create(batch=call.batch, outcome_count=1)
    defaults: dict[str, Any] = {
        "key": key_of(call),
        "kind": EntryKind.CALL,
        "amount": Decimal("-0.03"),
        "rate_id": 1,
        "billed_seconds": max(call.seconds, 1),
    }
    return make_entry(customer=call.customer, occurred_at=call.started_at, **defaults | fields)


def make_reversal(entry: LedgerEntry, **fields: Any) -> LedgerEntry:
    """The entry that takes another one back."""
    defaults: dict[str, Any] = {
        "key": f"reversal:{entry.key}",
        "kind": EntryKind.REVERSAL,
        "amount": -entry.amount,
        "reverses": entry.key,
        "reason": "Charged in error.",
        "entered_by": "astrid.holm@example.com",
    }
    return make_entry(customer=entry.customer, occurred_at=entry.occurred_at, **defaults | fields)


def make_sum(**fields: Any) -> LedgerSum:
    """What calls of a quarter of an hour come to."""
    partner = fields.pop("partner", None) or harbour()
    defaults: dict[str, Any] = {
        "begins_at": MORNING,
        "currency": partner.currency,
        "kind": EntryKind.CALL,
        "amount": Decimal("-0.03"),
        "entry_count": 1,
    }
    return LedgerSum.objects.create(partner=partner, **defaults | fields)


def make_sum_mark(**fields: Any) -> LedgerSumMark:
    """A partner's entries are summed up to this morning, the seventh entry."""
    partner = fields.pop("partner", None) or harbour()
    defaults: dict[str, Any] = {"through": MORNING, "after_id": 7, "sampled_at": MORNING, "sampled_id": 7}
    return LedgerSumMark.objects.create(partner=partner, **defaults | fields)


def make_closing(**fields: Any) -> MonthClosing:
    """February, closed with all that was ever committed or will be."""
    partner = fields.pop("partner", None) or harbour()
    defaults: dict[str, Any] = {
        "month": date(2026, 2, 1),
        "timezone": partner.timezone,
        "ends_at": datetime(2026, 3, 1, tzinfo=UTC),
        "run_id": 1,
        "last_entry_id": 0,
        "snapshot": f"{10**12}:{10**12}:",
    }
    return MonthClosing.objects.create(partner=partner, **defaults | fields)


def make_statement(**fields: Any) -> Statement:
    """A month in which nothing happened, that began and ended with ten."""
    customer = fields.pop("customer", None) or make_customer()
    closing = fields.pop("closing", None) or make_closing(partner=customer.partner)
    defaults: dict[str, Any] = {
        "month": closing.month,
        "currency": customer.currency,
        "opening_balance": Decimal(10),
        "closing_balance": Decimal(10),
        **dict.fromkeys(EntryKind.values, Decimal(0)),
        "entry_count": 0,
        "next_entry_id": closing.last_entry_id + 1,
    }
    return Statement.objects.create(customer=customer, closing=closing, **defaults | fields)


# Outcomes of calls that are no charge


def make_free_call(call: CallRecord | None = None, **fields: Any) -> FreeCall:
    call = call or make_call(seconds=0, is_answered=False)
    BatchProgress.objects.create(batch=call.batch, outcome_count=1)
    defaults: dict[str, Any] = {
        "call_key": key_of(call),
        "customer": call.customer,
        "reason": FreeReason.NOT_ANSWERED,
        "run_id": 1,
    }
    return FreeCall.objects.create(**defaults | fields)


def make_quarantined_call(call: CallRecord | None = None, **fields: Any) -> QuarantinedCall:
    call = call or make_call()
    defaults: dict[str, Any] = {
        "call_key": key_of(call),
        "content_hash": call.content_hash,
        "reason": QuarantineReason.NO_RATE,
        "detail": f"No prefix of the deck fits {call.to_number}.",
        "customer": call.customer,
    }
    return QuarantinedCall.objects.create(**defaults | fields)


# Runs and halting


def make_run(**fields: Any) -> BillingRun:
    """A run that is done; `state=RunState.RUNNING` makes one under way."""
    state = fields.pop("state", RunState.DONE)
    defaults: dict[str, Any] = {
        "started_by": "schedule",
        "business_at": MORNING,
        "processes": [Process.CALLS.value, Process.ITEMS.value],
        "ended_at": None if state == RunState.RUNNING else datetime.now(UTC),
    }
    return BillingRun.objects.create(state=state, **defaults | fields)


def make_worker(**fields: Any) -> BillingWorker:
    run = fields.pop("run", None) or make_run()
    defaults: dict[str, Any] = {"host": "worker-a.example.net", "pid": 4711, "process_started": "8812"}
    return BillingWorker.objects.create(run=run, **defaults | fields)


def make_chunk(**fields: Any) -> BillingChunk:
    run = fields.pop("run", None) or make_run()
    defaults: dict[str, Any] = {"process": Process.CALLS.value, "first_customer": 1, "last_customer": 500}
    return BillingChunk.objects.create(run=run, **defaults | fields)


def make_rerating(**fields: Any) -> Rerating:
    """A re-rating that is done, of a day's calls; `ended_at=None` makes one that was interrupted."""
    defaults: dict[str, Any] = {
        "since": MORNING - timedelta(days=1),
        "until": MORNING,
        "entered_by": "Astrid Holm",
        "ended_at": datetime.now(UTC),
    }
    return Rerating.objects.create(**defaults | fields)


def make_switch(**fields: Any) -> ProcessSwitch:
    """Calls halted for everyone, and (by trigger) the line of history that says so. For `halt` itself see its tests."""
    defaults: dict[str, Any] = {
        "process": Process.CALLS,
        "is_halted": True,
        "reason": "The new deck charges mobiles as landlines.",
        "changed_by": "astrid.holm@example.com",
    }
    return ProcessSwitch.objects.create(**defaults | fields)
