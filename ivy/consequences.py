"""What would follow if something were done to a customer: it is done, looked at, and taken back, in one transaction.

So it is told by the very rules that would do it, triggers included. Nothing is kept; the customer is locked for some
milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db import transaction

from billing import episodes, halting
from billing.corrections import lock_balance
from billing.models import BalanceAlert, BillingItem, Customer, CustomerBalance, Episode, Process
from notifications import owing
from notifications.models import NotificationLog, State

MAILS_AT_MOST = 50
ITEMS_AT_MOST = 100


@dataclass(frozen=True)
class Fall:
    """An alert whose episode would open or close. `was_told`: the customer had heard of it."""

    alert: BalanceAlert
    was_told: bool = False


@dataclass(frozen=True)
class Mail:
    """A mail that would go out by the next pass, or one that would not any more."""

    kind: str
    recipient: str


@dataclass(frozen=True)
class Consequences:
    """How the customer's balance, episodes, mails and items would be moved.

    `waits`: an episode would open, but only once everything that is due has been charged; `halted`: mails wait, since
    notifications are halted, and why. `ended_items`: with the day on which each would end.
    """

    balance_before: Decimal
    balance_after: Decimal
    opens: list[Fall] = field(default_factory=list)
    closes: list[Fall] = field(default_factory=list)
    stays: list[Fall] = field(default_factory=list)
    waits: bool = False
    mails: list[Mail] = field(default_factory=list)
    mails_stopped: list[Mail] = field(default_factory=list)
    ended_items: list[BillingItem] = field(default_factory=list)
    halted: str = ""

    @property
    def world(self) -> dict[str, object]:
        """What must be the same when it is really done."""
        return {
            "balance": [self.balance_before, self.balance_after],
            # Not by ids: that of an alert which is about to be added is another one each time.
            "episodes": [
                sorted((fall.alert.kind, fall.alert.threshold) for fall in some)
                for some in (self.opens, self.closes, self.stays)
            ],
            "waits": self.waits,
            "mails": sorted((mail.kind, mail.recipient) for mail in [*self.mails, *self.mails_stopped]),
            "items": [item.reference for item in self.ended_items],
        }


def consequences(customer: Customer, change: Callable[[], object], *, at: datetime) -> Consequences:
    """What would follow of `change`, judged at business time `at`. What `change` raises goes to the caller."""
    with transaction.atomic():
        lock_balance(customer.pk)
        balance_before = _balance(customer)
        open_before = _open_episodes(customer)
        items_before = _items(customer)
        change()
        judged = episodes.judge_here(customer.pk, at=at)
        open_after = _open_episodes(customer)
        status = Customer.objects.values_list("status", flat=True).get(pk=customer.pk)
        opened = {pk: one for pk, one in open_after.items() if pk not in open_before}
        closed = {pk: one for pk, one in open_before.items() if pk not in open_after}
        found = Consequences(
            balance_before=balance_before,
            balance_after=_balance(customer),
            opens=[Fall(one.alert) for one in opened.values()],
            closes=[Fall(one.alert, one.told_at is not None) for one in closed.values()],
            stays=[Fall(one.alert, one.told_at is not None) for pk, one in open_after.items() if pk in open_before],
            waits=bool(judged.waiting),
            mails=_mails(customer, set(opened)),
            mails_stopped=_stopped(customer, set(closed), is_active=status == "active"),
            ended_items=_ended(items_before, _items(customer)),
            halted=_halted(customer),
        )
        transaction.set_rollback(True)
    return found


def _balance(customer: Customer) -> Decimal:
    return CustomerBalance.objects.values_list("balance", flat=True).get(customer=customer)


def _open_episodes(customer: Customer) -> dict[int, Episode]:
    found = Episode.objects.filter(alert__customer=customer, closed_at__isnull=True).select_related("alert")
    return {one.pk: one for one in found.order_by("alert__threshold")}


def _items(customer: Customer) -> dict[int, BillingItem]:
    found = BillingItem.objects.filter(customer=customer, next_due_on__isnull=False)
    return {item.pk: item for item in found.order_by("reference")[:ITEMS_AT_MOST]}


def _ended(before: dict[int, BillingItem], after: dict[int, BillingItem]) -> list[BillingItem]:
    return [after[pk] for pk, item in before.items() if pk in after and after[pk].ends_on != item.ends_on]


def _mails(customer: Customer, opened: set[int]) -> list[Mail]:
    """Mails about falls that opened just now, and about recoveries that nobody was told of yet."""
    falls = [fall for fall in owing.falls_to_take_up() if fall.episode_id in opened]
    restored = [one for one in owing.recoveries() if one.fall.customer_id == customer.pk]
    owed = [*owing.mails_of_falls(falls), *restored]
    firsts = owing.lowest(owed)
    told = [one for one in owed if owing.told_by(one, firsts) is None]
    return [Mail(one.kind.name, one.recipient or "nobody: no address is known") for one in told]


def _stopped(customer: Customer, closed: set[int], *, is_active: bool) -> list[Mail]:
    """Mails that are owed and would not go out any more."""
    owed = NotificationLog.objects.filter(
        customer=customer, state__in=[State.PENDING, State.CLAIMED, State.HELD]
    ).select_related("content")
    if is_active:
        owed = owed.filter(episode__in=closed)
    return [Mail(log.kind, log.content.recipient) for log in owed.order_by("pk")[:MAILS_AT_MOST]]


def _halted(customer: Customer) -> str:
    for halt in halting.active_halts((Process.NOTIFICATIONS,)):
        if halt.partner_id in {None, customer.partner_id}:
            return halt.reason
    return ""
