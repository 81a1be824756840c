"""What a customer's items will charge next and when, by the very rules that a run charges by. Writes nothing.

Asked is what a run at a later day would charge: `items.charges_of` is handed that day as today. So what is told here is
what is charged, unless somebody changes the item, halts items, or lets the run come late (then it is charged late, with
the same periods and amounts).
"""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import Prefetch

from billing.items import NOT_CHARGEABLE, Charge, DueItems, charges_of
from billing.keys import item_key
from billing.models import BillingItem, Customer, ItemPause, ItemPriceChange
from billing.periods import Pause

DAYS_AHEAD = 30
CHARGES_AN_ITEM = 3
ITEMS_AT_MOST = 500
LONGEST_INTERVAL_DAYS = 366


@dataclass(frozen=True)
class Coming:
    """One charge to come. `amount`: positive, in the customer's currency; negative for a credit.

    `due_on` is the day, in the customer's time zone, on which a run charges it; `is_due`: that day has come already.
    """

    key: str
    start_on: date
    end_on: date
    due_on: date
    occurred_at: datetime
    amount: Decimal
    is_due: bool

    @property
    def last_day(self) -> date:
        return self.end_on - timedelta(days=1)


@dataclass(frozen=True)
class ItemOutlook:
    """An item with its next charges, the earliest first. `problem`: why no run charges it, in words; empty: runs do."""

    item: BillingItem
    charges: list[Coming]
    problem: str = ""


@dataclass(frozen=True)
class Outlook:
    """What is coming for a customer. `total`: what falls due within the days ahead, or is due already.

    `is_cut`: the customer has more items than were looked at, and the total is of those that are due first.
    """

    items: list[ItemOutlook] = field(default_factory=list)
    total: Decimal = Decimal(0)
    count: int = 0
    through: date = date.min
    is_cut: bool = False


def upcoming(
    customer: Customer, *, at: datetime, days_ahead: int = DAYS_AHEAD, charges_an_item: int = CHARGES_AN_ITEM
) -> Outlook:
    """The next charges of each item that still charges anything, and what the coming days cost together.

    Days are the customer's, counted from its date at `at`. Items stand in the order of their next charge; those that no
    run charges come last and count nothing. Three queries, however many items.
    """
    today = at.astimezone(ZoneInfo(customer.timezone)).date()
    through = today + timedelta(days=days_ahead)
    found = list(
        BillingItem.objects.filter(customer=customer, next_due_on__isnull=False)
        .prefetch_related(
            Prefetch("price_changes", ItemPriceChange.objects.order_by("from_date")),
            Prefetch("pauses", ItemPause.objects.order_by("starts_on")),
        )
        .order_by("next_due_on", "pk")[: ITEMS_AT_MOST + 1]
    )
    outlooks = []
    total, count = Decimal(0), 0
    for item in found[:ITEMS_AT_MOST]:
        due = _as_due(item, customer, today)
        try:
            charges_of(due)  # what holds a run up today holds it up tomorrow
            within = charges_of(replace(due, today=through), charges_long_overdue=True)[0]
            coming = within if len(within) >= charges_an_item else _next_charges(item, due, charges_an_item)
        except NOT_CHARGEABLE as problem:
            outlooks.append(ItemOutlook(item, [], str(problem)))
            continue
        total += sum((charge.amount for charge in within), Decimal(0))
        count += len(within)
        outlooks.append(ItemOutlook(item, [_coming(item, charge, today) for charge in coming[:charges_an_item]]))
    outlooks.sort(key=lambda one: one.charges[0].due_on if one.charges else date.max)
    return Outlook(outlooks, total, count, through, is_cut=len(found) > ITEMS_AT_MOST)


def next_charges(item: BillingItem, count: int = 12) -> list[Charge]:
    """The next charges of one item as it stands, saved or not, oldest first, what is overdue among them.

    Raises what `charges_of` does where no item can run like this.
    """
    is_known = item.pk is not None
    due = _as_due(item, item.customer, date.max, has_changes=is_known)
    return charges_of(due, max_periods=count, charges_long_overdue=True)[0]


def _next_charges(item: BillingItem, due: DueItems, number: int) -> list[Charge]:
    """The next charges of an item, whenever they fall due: looked for through so many of its intervals."""
    begin = max(due.today, item.next_due_on or due.today).toordinal()
    far = min(begin + LONGEST_INTERVAL_DAYS * item.interval_count * (number + 1), date.max.toordinal())
    return charges_of(replace(due, today=date.fromordinal(far)), max_periods=number, charges_long_overdue=True)[0]


def _as_due(item: BillingItem, customer: Customer, today: date, *, has_changes: bool = True) -> DueItems:
    """The item as a run takes it. `has_changes`: it is saved, so that its amount may change, and it may be paused."""
    amounts = [(change.from_date, change.amount) for change in item.price_changes.all()] if has_changes else []
    pauses = [Pause(pause.starts_on, pause.ends_on) for pause in item.pauses.all()] if has_changes else []
    return DueItems(
        item_ids=[item.pk] if has_changes else [],
        customer_ids=[customer.pk],
        kind=item.kind,
        amount=item.amount,
        quantity=item.quantity,
        interval=item.interval,
        interval_count=item.interval_count,
        bill_cycle_day=item.bill_cycle_day,
        timing=item.timing,
        proration=item.proration,
        starts_on=item.starts_on,
        ends_on=item.ends_on,
        charged_through=item.charged_through,
        currency=customer.currency,
        timezone=customer.timezone,
        today=today,
        amounts=tuple(sorted(amounts)),
        pauses=tuple(sorted(pauses)),
    )


def _coming(item: BillingItem, charge: Charge, today: date) -> Coming:
    due_on = charge.period.due_on
    return Coming(
        key=item_key(item.reference, charge.period.start),
        start_on=charge.period.start,
        end_on=charge.period.end,
        due_on=due_on,
        occurred_at=charge.occurred_at,
        amount=charge.amount,
        is_due=due_on <= today,
    )
