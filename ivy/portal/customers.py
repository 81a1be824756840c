"""A partner's customers, as a list that can be searched and as one page each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from billing import balances
from billing.models import AlertKind, BalanceAlert, Customer, CustomerStatus, Episode, LedgerEntry
from billing.upcoming import Outlook, upcoming
from ivy.portal import words
from ivy.portal.charts import Chart, line
from ivy.portal.scope import Scope
from notifications.facts import paces_of
from notifications.models import NotificationLog

A_PAGE = 50
SHOWN = 10
ZERO = Decimal(0)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)

FINE, LOW, EXHAUSTED, CLOSED = "fine", "low", "exhausted", "closed"
STATES = {FINE: "fine", LOW: "low", EXHAUSTED: "used up", CLOSED: "closed"}
ORDERS = {
    "account": ("account",),
    "name": ("name", "account"),
    "least": ("balance_row__balance", "account"),
    "most": ("-balance_row__balance", "account"),
}


@dataclass(frozen=True)
class Row:
    """A customer with its standing: its state, and in how many days its balance is spent.

    None: not within months, or closed. 0 also where it is spent already.
    """

    customer: Customer
    state: str
    days_left: int | None = None

    @property
    def balance(self) -> Decimal:
        return self.customer.balance_row.balance

    @property
    def state_in_words(self) -> str:
        return STATES[self.state]


@dataclass(frozen=True)
class Line:
    """A ledger entry with the balance that it left behind."""

    entry: LedgerEntry
    balance: Decimal


@dataclass
class Picture:
    """What the page of one customer shows."""

    row: Row
    chart: Chart
    outlook: Outlook
    alerts: list[BalanceAlert]
    falls: list[Episode]
    lines: list[Line]
    items: list[Any] = field(default_factory=list)
    mails: list[NotificationLog] = field(default_factory=list)
    identities: list[Any] = field(default_factory=list)


def listing(scope: Scope, *, text: str = "", state: str = "", order: str = "") -> QuerySet[Customer]:
    """The partner's customers that fit. `text`: the beginning of an account, or part of a name or an address."""
    found = scope.customers().select_related("balance_row").annotate(state=_STATE)
    text = text.strip().replace("\0", "")
    if text:
        found = found.filter(Q(account__startswith=text) | Q(name__icontains=text) | Q(email__icontains=text))
    if state in STATES:
        found = found.filter(state=state)
    return found.order_by(*ORDERS.get(order, ORDERS["account"]))


def rows(customers: Sequence[Customer], *, at: datetime) -> list[Row]:
    """The customers of a page with how long their balances last. One query, however many."""
    paces = paces_of([customer.pk for customer in customers if customer.status != CustomerStatus.CLOSED], at=at)
    return [_row(customer, paces, at=at) for customer in customers]


def look_at(scope: Scope, account: str, *, at: datetime) -> Picture:
    """All there is to tell of one customer. Raises Http404."""
    customer = scope.customer(account)
    customer = scope.customers().select_related("balance_row").annotate(state=_STATE).get(pk=customer.pk)
    alerts = list(scope.alerts().filter(customer=customer, is_active=True).prefetch_related("recipients"))
    low = [alert.threshold for alert in alerts if alert.kind == AlertKind.LOW_BALANCE]
    days = balances.by_day(customer)
    return Picture(
        row=rows([customer], at=at)[0],
        chart=_chart(customer, days, threshold=max(low, default=None)),
        outlook=upcoming(customer, at=at),
        alerts=alerts,
        falls=list(scope.episodes().filter(alert__customer=customer).select_related("alert").order_by("-pk")[:SHOWN]),
        lines=ledger(scope, customer)[0][:SHOWN],
        items=list(scope.items().filter(customer=customer).order_by("reference")[: SHOWN * 5]),
        mails=list(scope.mails().filter(customer=customer).select_related("content").order_by("-pk")[:SHOWN]),
        identities=list(customer.identities.select_related("source").order_by("kind", "value")[: SHOWN * 2]),
    )


def ledger(scope: Scope, customer: Customer, *, before: int | None = None) -> tuple[list[Line], bool]:
    """The customer's entries, the one posted last first, each with the balance behind it; and whether more follow.

    `before`: the id of the last one seen already. One query by index: entries and balance are of one moment, whatever
    is posted meanwhile.
    """
    entries = scope.entries().filter(customer=customer)
    balance_now: Combinable = F("customer__balance_row__balance")
    if before is not None:
        later = LedgerEntry.objects.filter(customer=customer, pk__gte=before).order_by().values("customer")
        sum_of_later = Subquery(later.annotate(amounts=Sum("amount")).values("amounts"))
        balance_now -= Coalesce(sum_of_later, ZERO)
        entries = entries.filter(pk__lt=before)
    found = list(entries.annotate(balance_behind=balance_now).order_by("-pk")[: A_PAGE + 1])
    balance = found[0].balance_behind if found else ZERO
    lines = []
    for entry in found[:A_PAGE]:
        lines.append(Line(entry, balance))
        balance -= entry.amount
    return lines, len(found) > A_PAGE


def _row(customer: Any, paces: Any, *, at: datetime) -> Row:
    left = customer.balance_row.balance + customer.credit_limit
    if left <= 0 and customer.status != CustomerStatus.CLOSED:
        return Row(customer, customer.state, 0)
    days = paces[customer.pk].days_until_spent(left, at=at) if customer.pk in paces else None
    return Row(customer, customer.state, None if days is None else int(days))


def _chart(customer: Customer, days: Sequence[balances.DayBalance], *, threshold: Decimal | None) -> Chart:
    return line(
        "Balance at the end of each day, the last 90 days; today: now",
        description=f"Days are those of {customer.timezone}.",
        points=[(words.midnight(one.day), one.balance) for one in days],
        until=words.midnight(days[-1].day + DAY) - SECOND,
        tell=words.day,
        first_column="Day",
        write=lambda amount: words.money(amount, customer.currency),
        mark=threshold,
        mark_name="Threshold",
    )


_BELOW = BalanceAlert.objects.filter(
    customer=OuterRef("pk"),
    kind=AlertKind.LOW_BALANCE,
    is_active=True,
    threshold__gt=OuterRef("balance_row__balance"),
)
_STATE = Case(
    When(status=CustomerStatus.CLOSED, then=Value(CLOSED)),
    When(balance_row__balance__lt=Value(Decimal(0)) - F("credit_limit"), then=Value(EXHAUSTED)),
    When(Exists(_BELOW), then=Value(LOW)),
    default=Value(FINE),
)
