"""Finding by whatever somebody has in hand: an account, a name, an address, a number, a call's id, a key, a reference.

Every question is answered by an index and reads a few rows, whatever the size of the tables; a kind of thing that the
term can't be is not asked for. What a person may not look at is not found.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Collate, Lower
from django.utils.http import urlencode

from billing.admin.base import money
from billing.imports.numbers import numbers_of
from billing.keys import call_key
from billing.models import (
    PAYMENT_KINDS,
    AlertRecipient,
    BillingItem,
    CallIdentity,
    CallRecord,
    Customer,
    FreeCall,
    IdentityKind,
    LedgerEntry,
    QuarantinedCall,
    Source,
    reference_of_payment,
)
from ivy.accounts.models import User
from ivy.staff import deeds
from ivy.staff.customers import links
from notifications.models import NotificationLog

SHOWN = 10
LONGEST_TERM = 200
SHORTEST_PREFIX = 2  # of a name or an address; fewer letters fit a large part of all customers
SHORTEST_NUMBER = 5  # digits; fewer are an extension or an account

M = TypeVar("M", bound=Model)

_NUMBER = re.compile(r"\+?[\d\s\u00a0()./-]+")
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Hit:
    """Something found, and the page that tells of it. `is_exact`: the term is its very name."""

    title: str
    description: str
    url: str
    is_exact: bool = False


@dataclass(frozen=True)
class Group:
    """Things of one kind, the exact ones first. `is_cut`: there are more than are shown."""

    name: str
    icon: str
    hits: list[Hit]
    is_cut: bool = False


def find(term: str, user: User) -> list[Group]:
    """What the term may mean, grouped by kind; kinds without anything are left out."""
    term = term.replace("\x00", "").strip()[:LONGEST_TERM]
    if not term:
        return []
    groups = []
    for name, icon, permission, look in KINDS:
        if user.has_perm(permission):
            found = _once(look(term))
            found.sort(key=lambda hit: not hit.is_exact)
            if found:
                groups.append(Group(name, icon, found[:SHOWN], len(found) > SHOWN))
    return groups


def only_one(groups: Iterable[Group]) -> str | None:
    """The page of the one thing whose very name the term is; None where there is none, or where there are several."""
    exact = {hit.url for group in groups for hit in group.hits if hit.is_exact}
    return exact.pop() if len(exact) == 1 else None


def with_way_back(url: str, term: str) -> str:
    """The address of a page that was found, which then offers the way back to all that was."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'searched': term})}"


def _once(hits: Iterable[Hit]) -> list[Hit]:
    """Each page once, as the best that was said of it; one more than is shown, to know that there are more."""
    found: dict[str, Hit] = {}
    for hit in hits:
        known = found.get(hit.url)
        if known is None or (hit.is_exact and not known.is_exact):
            found[hit.url] = hit
    return list(found.values())


def _customers(term: str) -> Iterator[Hit]:
    rows = Customer.objects.select_related("partner")
    for customer in _some(rows.filter(account__startswith=term).order_by("account")):
        yield _customer(customer, "account", is_exact=customer.account == term)
    lower = term.lower()
    if len(term) >= SHORTEST_PREFIX and not term.isdecimal():
        by_email = rows.annotate(address=Collate(Lower("email"), "C")).filter(address__startswith=lower)
        for customer in _some(by_email.order_by("address")):
            yield _customer(customer, customer.email, is_exact=customer.email.lower() == lower)
        recipients = AlertRecipient.objects.annotate(address=Collate(Lower("email"), "C")).filter(
            address__startswith=lower
        )
        for recipient in _some(recipients.select_related("alert__customer__partner").order_by("address")):
            yield _customer(recipient.alert.customer, f"mails to {recipient.email}")
    words = _WORDS.findall(term)
    if words and "@" not in term and any(len(word) >= SHORTEST_PREFIX and not word.isdecimal() for word in words):
        query = SearchQuery(" & ".join(f"'{word}':*" for word in words), config="simple", search_type="raw")
        named = rows.annotate(words=SearchVector("name", config="simple")).filter(words=query)
        # In an order that no index has: with one, PostgreSQL would walk along it and read each name for a few that fit.
        for customer in _some(named.order_by(Lower("name"), "pk")):
            yield _customer(customer, "name", is_exact=customer.name.lower() == lower)


def _identities(term: str) -> Iterator[Hit]:
    numbers = _numbers_meant(term)
    rows = CallIdentity.objects.select_related("customer__partner", "source")
    exact = Q(kind=IdentityKind.NUMBER, value__in=numbers) | Q(
        kind__in=[IdentityKind.CODE, IdentityKind.PEER], value=term
    )
    for identity in _some(rows.filter(exact).order_by("kind", "value", "pk")):
        yield _identity(identity, is_exact=True)
    for number in numbers:
        longer = rows.filter(kind=IdentityKind.NUMBER, value__startswith=number).exclude(value=number)
        for identity in _some(longer.order_by("value")):
            yield _identity(identity)


def _numbers_meant(term: str) -> list[str]:
    """What a phone number may be, written in any way: as international digits. Empty: it is no number.

    National numbers are read by the dialling rules of the sources' regions, as the numbers of their calls are.
    """
    if not _NUMBER.fullmatch(term):
        return []
    digits = re.sub(r"\D", "", term)
    if len(digits) < SHORTEST_NUMBER:
        return []
    said = term.replace("(0)", "") if term.lstrip().startswith(("+", "00")) else term
    regions = Source.objects.exclude(region="").values_list("region", flat=True).distinct().order_by("region")[:10]
    meant = [re.sub(r"\D", "", said).removeprefix("00"), digits]
    meant += [numbers_of(region)[said] for region in regions]
    return list(dict.fromkeys(number for number in meant if number.isdecimal()))


def _entries(term: str) -> Iterator[Hit]:
    if ":" in term:
        begun = LedgerEntry.objects.filter(key__startswith=term).select_related("customer").order_by("key")
        for entry in _some(begun):
            yield _entry(entry, is_exact=entry.key == term)
        for free in FreeCall.objects.filter(call_key=term):
            yield Hit(term, f"free call: {free.get_reason_display().lower()}", links.explain(term), is_exact=True)
        for row in QuarantinedCall.objects.filter(call_key=term)[:1]:
            reason = row.get_reason_display().lower()
            yield Hit(term, f"call in quarantine: {reason}", links.explain(term), is_exact=True)
    # In no order: by id, PostgreSQL would rather walk the ledger backwards, hoping to meet ten of them soon.
    paid = LedgerEntry.objects.annotate(reference=reference_of_payment()).filter(kind__in=PAYMENT_KINDS, reference=term)
    for entry in sorted(_some(paid.select_related("customer")), key=lambda entry: -entry.pk):
        yield _entry(entry, is_exact=True)


def _calls(term: str) -> Iterator[Hit]:
    for call in _some(CallRecord.objects.filter(call_id=term).select_related("source", "customer").order_by("-pk")):
        whose = call.customer.account if call.customer else "nobody we know of"
        yield Hit(
            call.call_id,
            f"call of {whose} at {call.started_at:%Y-%m-%d %H:%M} UTC, from {call.source.name}",
            links.explain(call_key(call.source.name, call.call_id)),
            is_exact=True,
        )


def _items(term: str) -> Iterator[Hit]:
    for item in _some(
        BillingItem.objects.filter(reference__startswith=term).select_related("customer").order_by("reference")
    ):
        yield Hit(
            item.reference,
            f"{item.description}, of {item.customer.account}",
            links.item(item.pk),
            is_exact=item.reference == term,
        )


def _mails(term: str) -> Iterator[Hit]:
    ids = {term, f"<{term.strip('<>')}>", term.strip("<>")}
    named = NotificationLog.objects.filter(Q(message_id__in=ids) | Q(key=term)).select_related("customer")
    for log in _some(named.order_by("pk")):
        yield Hit(
            log.message_id,
            f"{log.kind} to {log.customer.account}: {log.get_state_display()}",
            links.mail(log.pk),
            is_exact=True,
        )


def _colleagues(term: str) -> Iterator[Hit]:
    """Staff by address, for what they did; also who is no user, where something is kept under that name."""
    if "@" not in term:
        return
    names = [user.email for user in _some(User.objects.filter(is_staff=True, email__startswith=term).order_by("email"))]
    if term not in names and deeds.by_person(term):
        names.append(term)
    for name in names:
        yield Hit(name, "what they did", links.person(name), is_exact=name == term)


def _some(rows: QuerySet[M]) -> QuerySet[M]:
    return rows[: SHOWN + 1]


def _customer(customer: Customer, because: str, *, is_exact: bool = False) -> Hit:
    status = "" if customer.status == "active" else f", {customer.status}"
    found_by = "" if because in {"account", "name"} else f" · {because}"
    return Hit(
        f"{customer.account} · {customer.name}",
        f"customer of {customer.partner.name}{status}{found_by}",
        links.customer(customer.account),
        is_exact,
    )


def _identity(identity: CallIdentity, *, is_exact: bool = False) -> Hit:
    of = f" at {identity.source.name}" if identity.source else ""
    plus = "+" if identity.kind == IdentityKind.NUMBER else ""
    until = f", until {identity.valid_to:%Y-%m-%d}" if identity.valid_to else ""
    return Hit(
        f"{identity.customer.account} · {identity.customer.name}",
        f"{identity.get_kind_display()} {plus}{identity.value}{of}{until}",
        links.customer(identity.customer.account),
        is_exact,
    )


def _entry(entry: LedgerEntry, *, is_exact: bool = False) -> Hit:
    return Hit(
        entry.key,
        f"{entry.get_kind_display().lower()}, {money(entry.amount, entry.currency)}, account {entry.customer.account}",
        links.explain(entry.key),
        is_exact,
    )


Look = Callable[[str], Iterator[Hit]]

KINDS: list[tuple[str, str, str, Look]] = [
    ("Customers", "person", "billing.view_customer", _customers),
    ("Numbers, peers and codes", "call", "billing.view_callidentity", _identities),
    ("Ledger and payments", "receipt_long", "billing.view_ledgerentry", _entries),
    ("Calls", "call_log", "billing.view_callrecord", _calls),
    ("Items", "event_repeat", "billing.view_billingitem", _items),
    ("Mails", "mail", "notifications.view_notificationlog", _mails),
    ("Colleagues", "badge", "ivy.view_auditentry", _colleagues),
]
