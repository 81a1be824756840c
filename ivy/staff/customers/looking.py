"""All there is to tell of a customer, read in so many queries whatever there is of it; each answered by an index."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, Q
from django.http import Http404

from billing import balances, halting
from billing.keys import call_key
from billing.models import (
    CHARGE_KINDS,
    PAYMENT_KINDS,
    BalanceAlert,
    CallRecord,
    Customer,
    EntryKind,
    Episode,
    FreeCall,
    LedgerEntry,
    Process,
    ProcessSwitch,
    QuarantinedCall,
    QuarantineState,
)
from billing.upcoming import Outlook, upcoming
from ivy.accounts.models import User
from ivy.models import CreditRequest, CreditState
from ivy.staff import deeds
from ivy.staff.changes import Change
from ivy.staff.customers import links
from ivy.staff.customers.chart import Chart, draw
from notifications.models import DeliveryAttempt, NotificationHistory, NotificationLog, Outcome, Verb

SHOWN = 10
ENTRIES_SHOWN = 15
IDENTITIES_SHOWN = 20
ALERTS_SHOWN = 20
HAND_OVERS_SHOWN = 100


@dataclass(frozen=True)
class AlertRow:
    """An alert with its open episode (`fall`), if it has one."""

    alert: BalanceAlert
    fall: Episode | None
    recipients: list[str]


@dataclass(frozen=True)
class EntryRow:
    """A ledger entry; `taken_back_by`: the key of its reversal; `may_be_reversed`: it is none and has none."""

    entry: LedgerEntry
    taken_back_by: str = ""

    @property
    def may_be_reversed(self) -> bool:
        return self.entry.kind != EntryKind.REVERSAL and not self.taken_back_by


@dataclass(frozen=True)
class CallRow:
    """A call and what became of it: an entry, free (the reason), quarantine (the reason), or nothing yet."""

    call: CallRecord
    key: str
    entry: LedgerEntry | None = None
    outcome: str = ""


@dataclass(frozen=True)
class MailRow:
    """A mail, and each time it was handed over or perhaps was: when, how that ended, and who ordered it."""

    log: NotificationLog
    url: str
    hand_overs: list[DeliveryAttempt] = field(default_factory=list)
    orders: list[NotificationHistory] = field(default_factory=list)

    @property
    def is_twice(self) -> bool:
        return len(self.hand_overs) > 1


@dataclass
class Picture:
    """What the page of a customer shows. What its viewer may not look at is empty, and `may` says so."""

    customer: Customer
    may: dict[str, bool]
    alerts: list[AlertRow] = field(default_factory=list)
    past_falls: list[Episode] = field(default_factory=list)
    chart: Chart | None = None
    days: list[balances.DayBalance] = field(default_factory=list)
    outlook: Outlook | None = None
    halts: list[ProcessSwitch] = field(default_factory=list)
    entries: list[EntryRow] = field(default_factory=list)
    payments: list[EntryRow] = field(default_factory=list)
    corrections: list[EntryRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    quarantined: list[QuarantinedCall] = field(default_factory=list)
    mails: list[MailRow] = field(default_factory=list)
    requests: list[CreditRequest] = field(default_factory=list)
    identities: list[Any] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)
    done: list[Change] = field(default_factory=list)

    @property
    def open_falls(self) -> list[AlertRow]:
        return [row for row in self.alerts if row.fall is not None]


MAY = {
    "pay": "billing.take_payment",
    "credit": "billing.give_credit",
    "adjust": "billing.adjust_balance",
    "reverse": "billing.reverse_entry",
    "change": "billing.change_customer",
    "add_alert": "billing.add_balancealert",
    "change_alert": "billing.change_balancealert",
    "note": "ivy.add_customernote",
    "see_ledger": "billing.view_ledgerentry",
    "see_calls": "billing.view_callrecord",
    "see_items": "billing.view_billingitem",
    "see_mails": "notifications.view_notificationlog",
    "see_alerts": "billing.view_balancealert",
    "see_identities": "billing.view_callidentity",
    "see_notes": "ivy.view_customernote",
    "see_audit": "ivy.view_auditentry",
    "see_requests": "ivy.view_creditrequest",
    "approve": "billing.approve_credit",
}


def customer_of(account: str) -> Customer:
    """The customer with its partner, balance and decks. Raises Http404, with a sentence."""
    found = (
        Customer.objects.select_related("partner", "balance_row", "rate_deck", "inbound_deck")
        .filter(account=account)
        .first()
    )
    if found is None:
        raise Http404(f"There is no customer “{account}”.")
    return found


def look_at(customer: Customer, user: User, *, at: datetime) -> Picture:
    """Everything that this person may see of the customer, at `at`."""
    picture = Picture(customer, {name: user.has_perm(permission) for name, permission in MAY.items()})
    may = picture.may
    if may["see_alerts"]:
        _alerts(picture)
    if may["see_ledger"]:
        _money(picture)
    if may["see_items"]:
        picture.outlook = upcoming(customer, at=at)
    if may["see_calls"]:
        _calls(picture)
    if may["see_mails"]:
        _mails(picture)
    if may["see_requests"]:
        waiting = CreditRequest.objects.filter(customer=customer, state=CreditState.WAITING)
        picture.requests = list(waiting.select_related("asked_by").order_by("pk")[:SHOWN])
    if may["see_identities"]:
        picture.identities = list(
            customer.identities.select_related("source").order_by("kind", "value", "pk")[:IDENTITIES_SHOWN]
        )
    if may["see_notes"]:
        picture.notes = list(customer.notes.order_by("-pk")[:SHOWN])
    if may["see_audit"]:
        picture.done = deeds.about_customer(customer, shown=SHOWN, mails=may["see_mails"], ledger=may["see_ledger"])
    picture.halts = [
        halt for halt in halting.active_halts(tuple(Process)) if halt.partner_id in {None, customer.partner_id}
    ]
    return picture


def entry_rows(entries: list[LedgerEntry]) -> list[EntryRow]:
    """The entries with what took them back: one query for all."""
    keys = [entry.key for entry in entries]
    taken_back = dict(LedgerEntry.objects.filter(reverses__in=keys).values_list("reverses", "key"))
    return [EntryRow(entry, taken_back.get(entry.key, "")) for entry in entries]


def _alerts(picture: Picture) -> None:
    open_ones = Episode.objects.filter(closed_at__isnull=True)
    alerts = (
        BalanceAlert.objects.filter(customer=picture.customer)
        .prefetch_related(Prefetch("episodes", open_ones, to_attr="open_episodes"), "recipients")
        .order_by("-is_active", "-threshold", "kind")[:ALERTS_SHOWN]
    )
    rows = [
        AlertRow(
            alert,
            next(iter(alert.open_episodes), None),
            sorted(recipient.email for recipient in alert.recipients.all()),
        )
        for alert in alerts
    ]
    picture.alerts = sorted(rows, key=lambda row: row.fall is None)
    picture.past_falls = list(
        Episode.objects.filter(alert__in=[row.alert.pk for row in rows], closed_at__isnull=False)
        .select_related("alert")
        .order_by("-pk")[:5]
    )


def _money(picture: Picture) -> None:
    customer = picture.customer
    picture.days = balances.by_day(customer)
    thresholds = [row.alert.threshold for row in picture.alerts if row.alert.is_active]
    picture.chart = draw(picture.days, thresholds)
    of_customer = LedgerEntry.objects.filter(customer=customer).order_by("-pk")
    # The condition of the index of movements, word by word, so that a million calls are not looked through for them.
    movements = of_customer.filter(~Q(kind__in=CHARGE_KINDS))
    latest = list(of_customer[:ENTRIES_SHOWN])
    payments = list(movements.filter(kind__in=PAYMENT_KINDS)[:SHOWN])
    corrections = list(movements.exclude(kind__in=PAYMENT_KINDS)[:SHOWN])
    rows = {row.entry.pk: row for row in entry_rows([*latest, *payments, *corrections])}
    picture.entries, picture.payments, picture.corrections = (
        [rows[entry.pk] for entry in some] for some in (latest, payments, corrections)
    )


def _mails(picture: Picture) -> None:
    """The newest mails with their hand-overs and what people ordered of them: three queries, each by an index."""
    mails = NotificationLog.objects.filter(customer=picture.customer).select_related("content").order_by("-pk")
    rows = {log.pk: MailRow(log, links.mail(log.pk)) for log in mails[:SHOWN]}
    handed_over = DeliveryAttempt.objects.filter(
        notification__in=list(rows), outcome__in=[Outcome.OPEN, Outcome.ACCEPTED, Outcome.UNKNOWN]
    )
    for attempt in handed_over.order_by("pk")[:HAND_OVERS_SHOWN]:
        rows[attempt.notification_id].hand_overs.append(attempt)
    sent_again = NotificationHistory.objects.filter(
        notification__in=list(rows), order__verb__in=[Verb.RESEND, Verb.RETRY, Verb.APPROVE]
    )
    for line in sent_again.order_by("pk")[:HAND_OVERS_SHOWN]:
        rows[line.notification_id].orders.append(line)
    picture.mails = list(rows.values())


def _calls(picture: Picture) -> None:
    customer = picture.customer
    calls = list(CallRecord.objects.filter(customer=customer).select_related("source").order_by("-started_at")[:SHOWN])
    keys = {call.pk: call_key(call.source.name, call.call_id) for call in calls}
    entries = {entry.key: entry for entry in LedgerEntry.objects.filter(key__in=list(keys.values()))}
    free = {one.call_key: one.get_reason_display() for one in FreeCall.objects.filter(call_key__in=keys.values())}
    waiting = {
        (row.call_key, row.content_hash): row
        for row in QuarantinedCall.objects.filter(call_key__in=list(keys.values())).exclude(
            state=QuarantineState.SETTLED
        )
    }
    for call in calls:
        key = keys[call.pk]
        held = waiting.get((key, call.content_hash))
        if held is not None:
            outcome = f"quarantine: {held.get_reason_display().lower()}"
        elif key in free:
            outcome = f"free: {free[key].lower()}"
        else:
            outcome = ""
        picture.calls.append(CallRow(call, key, None if held else entries.get(key), outcome))
    picture.quarantined = list(
        QuarantinedCall.objects.filter(customer=customer, state=QuarantineState.WAITING).order_by("-since")[:5]
    )
