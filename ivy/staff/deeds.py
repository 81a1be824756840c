"""What people did, of whatever kind and by whichever way, in one list: about a customer, and by a person.

An act on a page stands in the audit trail, a command's does not; but orders about mails, corrections, re-ratings,
switches and incidents keep their own histories, with a name, a time and a reason, whoever did it. Here all of them are
put together, and what stands in two of them is told once: by the audit trail.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils.http import urlencode

from billing.amounts import money
from billing.models import CHARGE_KINDS, Customer, HaltCause, LedgerEntry, Rerating, SwitchHistory
from ivy.models import AuditEntry, IncidentUpdate
from ivy.staff import changes
from ivy.staff.changes import SHOWN, Change
from notifications.models import NotificationHistory, NotificationLog, StaffOrder, Verb

MAILS_LOOKED_AT = 100
RERATED_LOOKED_AT = 500
AT_MOST_APART = timedelta(minutes=2)
"""An act is noted in the transaction in which it is done: an order of 50,000 mails takes some seconds until then."""
ROWS_APART = timedelta(seconds=2)

ORDERED = {
    Verb.APPROVE: "approved, to go out after all",
    Verb.RETRY: "tried again",
    Verb.RESEND: "sent again, perhaps a second time",
    Verb.DELIVERED: "marked as delivered",
    Verb.SUPPRESS: "suppressed, not to be sent any more",
    Verb.ERRANT: "marked as errant",
    Verb.APOLOGISE: "apologised for",
    Verb.RELEASE: "released after a reset of the breaker",
}


def about_customer(customer: Customer, *, shown: int, mails: bool, ledger: bool) -> list[Change]:
    """What was done about a customer by somebody with a name, the newest first.

    `mails`, `ledger`: whether whoever looks may see those. So many queries whatever there is, each by an index.
    """
    acts = changes.audited(AuditEntry.objects.filter(noun="customer", name=customer.account), shown=shown)
    rows = [change for change in changes.rows_of("billing.customer", customer.pk, shown=shown) if change.by]
    found = [row for row in rows if not any(_is_row_of(act, row) for act in acts)]
    if mails:
        found += _orders_about(customer, shown)
    if ledger:
        found += _not_told_by(acts, _corrections_of(customer, shown))
    return changes.newest([*acts, *found], shown=shown)


def by_person(person: str) -> list[Change]:
    """What a person did, the newest first: on pages, by commands, in SQL. The name is as histories write it."""
    acts = changes.audited(AuditEntry.objects.filter(by=person))
    found = chain(
        map(_order, StaffOrder.objects.filter(by=person).order_by("-pk")[:SHOWN]),
        # The condition of the index of entries by person, word by word.
        _entries(LedgerEntry.objects.filter(~Q(entered_by=""), entered_by=person, rerating_id=None), SHOWN),
        map(_rerating, Rerating.objects.filter(entered_by=person).order_by("-pk")[:SHOWN]),
        map(_switch, SwitchHistory.objects.filter(changed_by=person).select_related("partner").order_by("-pk")[:SHOWN]),
        map(_update, IncidentUpdate.objects.filter(by=person).select_related("incident").order_by("-pk")[:SHOWN]),
    )
    return changes.newest([*acts, *changes.rows_by(person), *_not_told_by(acts, found)])


def _not_told_by(acts: list[Change], found: Iterable[Change]) -> Iterator[Change]:
    """What the audit trail does not tell already."""
    for change in found:
        if not any(_is_of(act, change) for act in acts):
            yield change


def _is_of(act: Change, change: Change) -> bool:
    """Whether it is what that act did: it posted the entry; or the same person, moment and reason."""
    if change.entry_key:
        return act.entry_key == change.entry_key
    return (
        bool(change.reason)
        and (act.by, act.reason) == (change.by, change.reason)
        and abs(act.at - change.at) <= AT_MOST_APART
    )


def _is_row_of(act: Change, change: Change) -> bool:
    """Whether a change of a row is told by that act about the same customer, which says what was before and after."""
    return act.by == change.by and bool(act.differences) and abs(act.at - change.at) <= ROWS_APART


# Mails ---------------------------------------------------------------------------------------------------------------


def _orders_about(customer: Customer, shown: int) -> Iterator[Change]:
    """What people ordered of the customer's newest mails."""
    mails = NotificationLog.objects.filter(customer=customer).order_by("-pk").values_list("pk", flat=True)
    done = (
        NotificationHistory.objects.filter(notification__in=list(mails[:MAILS_LOOKED_AT]), order__isnull=False)
        .select_related("notification__content", "order")
        .order_by("-pk")[:shown]
    )
    for line in done:
        mail, order = line.notification, line.order
        assert order is not None
        content = getattr(mail, "content", None)
        subject = (content.subject if content else "") or mail.kind.replace("_", " ")
        whole = f", with {order.count - 1:,} more in one order" if order.count > 1 else ""
        yield Change(
            at=line.at,
            by=line.by,
            way="",
            verb=line.verb,
            noun="mail",
            name=f"“{subject}”",
            differences=[],
            sentence=f"The mail “{subject}” was {ORDERED[Verb(order.verb)]}{whole}.",
            reason=line.reason,
            url=reverse("admin:review_mail", args=[mail.pk]),
            words="The mail",
        )


def _order(order: StaffOrder) -> Change:
    mails = "One mail was" if order.count == 1 else f"{order.count:,} mails were"
    return Change(
        at=order.at,
        by=order.by,
        way="",
        verb=order.verb,
        noun="order",
        name=f"no. {order.pk}",
        differences=[],
        sentence=f"{mails} {ORDERED[Verb(order.verb)]}.",
        reason=order.reason,
        url=reverse("admin:notifications_stafforder_change", args=[order.pk]),
        words="The order",
    )


# Money ---------------------------------------------------------------------------------------------------------------


def _corrections_of(customer: Customer, shown: int) -> Iterator[Change]:
    """Entries that somebody posted by hand, and the re-ratings of the customer's newest calls that were taken back."""
    # The condition of the index of movements, word by word, so that a million calls are not looked through for them.
    by_hand = (
        LedgerEntry.objects.filter(~Q(kind__in=CHARGE_KINDS), customer=customer).exclude(entered_by="").order_by("-pk")
    )
    yield from _entries_told(list(by_hand.filter(rerating_id=None)[:shown]), {})
    newest = by_hand.filter(rerating_id__isnull=False).values_list("rerating_id", flat=True)[:RERATED_LOOKED_AT]
    yield from map(_rerating, Rerating.objects.filter(pk__in=set(newest)))


def _entries(entries: QuerySet[LedgerEntry], shown: int) -> Iterator[Change]:
    """The newest of these, each with its account: two queries."""
    found = list(entries.order_by("-pk")[:shown])
    accounts = Customer.objects.in_bulk([entry.customer_id for entry in found])
    return _entries_told(found, {pk: customer.account for pk, customer in accounts.items()})


def _entries_told(entries: Iterable[LedgerEntry], accounts: dict[int, str]) -> Iterator[Change]:
    for entry in entries:
        of_whom = f" of {accounts[entry.customer_id]}" if entry.customer_id in accounts else ""
        what = f": {entry.description}" if entry.description else ""
        yield Change(
            at=entry.posted_at,
            by=entry.entered_by,
            way="",
            verb="posted",
            noun="ledger entry",
            name=entry.key,
            differences=[],
            sentence=f"{entry.get_kind_display().capitalize()}{of_whom}, {money(entry.amount, entry.currency)}{what}.",
            reason=entry.reason,
            url=f"{reverse('admin:explain')}?{urlencode({'key': entry.key})}",
            words="The entry",
            entry_key=entry.key,
        )


def _rerating(rerating: Rerating) -> Change:
    return Change(
        at=rerating.began_at,
        by=rerating.entered_by,
        way="rerate",
        verb="made",
        noun="re-rating",
        name=f"no. {rerating.pk}",
        differences=[],
        sentence=(
            f"Calls were charged again, answered from {_minute(rerating.since)} until {_minute(rerating.until)}:"
            f" {rerating.reversed_count:,} charges taken back, {rerating.charged_count:,} posted."
        ),
        reason=rerating.reason,
        url=reverse("admin:billing_rerating_change", args=[rerating.pk]),
        words="The re-rating",
    )


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


# Switches and incidents ----------------------------------------------------------------------------------------------


def _switch(line: SwitchHistory) -> Change:
    whom = line.partner.name if line.partner else "everyone"
    how = " as the breaker was reset" if line.cause == HaltCause.BREAKER and not line.is_halted else ""
    done = "halted" if line.is_halted else "resumed"
    return Change(
        at=line.changed_at,
        by=line.changed_by,
        way="",
        verb=done,
        noun="process",
        name=line.process,
        differences=[],
        sentence=f"{line.process.capitalize()} of {whom} were {done}{how}.",
        reason=line.reason,
        url=reverse("admin:billing_switchhistory_changelist"),
        words="History of switches",
    )


def _update(update: IncidentUpdate) -> Change:
    return Change(
        at=update.at,
        by=update.by,
        way="",
        verb="told" if update.is_shown else "noted",
        noun="incident",
        name=f"“{update.incident}”",
        differences=[],
        sentence=f"{update.get_state_display().capitalize()}: {update.text}",
        url=reverse("admin:ivy_incident_change", args=[update.incident_id]),
        words="The incident",
    )
