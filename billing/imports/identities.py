"""The call identities that a file gives to customers: what the cell says, and what follows for those in the database.

`code:X`, `peer:301@pbx-north`, `number:+49…`, separated by semicolons; a bare word is an account code. What stands
behind the last @ is the source that writes it; without one, any source does. Codes may have an @ of their own, so that
it counts there only before the name of a registered source. A number loses its +, and nothing else.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from billing.imports import bulk
from billing.imports.csvfile import BadCell, Row, Sheet, shown
from billing.models import CallIdentity, Customer, IdentityKind

KINDS = frozenset(IdentityKind.values)
LONGEST_VALUE = 200


class Identity(NamedTuple):
    source_id: int | None
    kind: str
    value: str


@dataclass(slots=True)
class Given:
    """The identities that a row gives to a customer: these and no others from now on."""

    row: Row
    customer: Customer
    identities: list[Identity]


@dataclass
class Plan:
    """What is to be written, and for which customers."""

    ended: list[CallIdentity] = field(default_factory=list)
    withdrawn: list[CallIdentity] = field(default_factory=list)
    added: list[CallIdentity] = field(default_factory=list)

    @property
    def accounts(self) -> set[str]:
        """The accounts whose identities change."""
        return {identity.customer.account for identity in [*self.ended, *self.withdrawn, *self.added]}

    def write(self) -> None:
        """What ends before what begins: a value may go from one customer to another."""
        CallIdentity.objects.filter(pk__in=[identity.pk for identity in self.withdrawn]).delete()
        bulk.update((identity, {"valid_to"}) for identity in self.ended)
        for identity in self.added:
            identity.customer = identity.customer  # again: a new one's id is known only now
        bulk.insert(self.added)


def parse(cell: str, sources: Mapping[str, int]) -> list[Identity]:
    """What the cell says; `sources` are the ids of the registered ones by name. Raises BadCell."""
    parts = [part.strip() for part in cell.split(";")]
    return list(dict.fromkeys(_identity(part, sources) for part in parts if part))


def _identity(part: str, sources: Mapping[str, int]) -> Identity:
    kind, colon, value = part.partition(":")
    if not colon:
        return Identity(None, IdentityKind.CODE.value, _value(part, part))
    if kind not in KINDS:
        raise BadCell(f"“{shown(part)}” is of no known kind: write code:, peer: or number: before it")
    source_id = None
    before, at_sign, source = value.rpartition("@")
    if at_sign:
        source_id = sources.get(source)
        if source_id is not None:
            value = before
        elif kind != IdentityKind.CODE:
            raise BadCell(f"“{shown(part)}” names the source “{shown(source)}”, which is not registered")
    if kind == IdentityKind.NUMBER:
        value = value.strip().removeprefix("+")
        if not re.fullmatch("[0-9]+", value):
            raise BadCell(f"“{shown(part)}” is not a phone number: write its digits in international form")
    return Identity(source_id, kind, _value(value.strip(), part))


def _value(value: str, part: str) -> str:
    if not value:
        raise BadCell(f"“{shown(part)}” says no value")
    if len(value) > LONGEST_VALUE:
        raise BadCell(f"“{shown(part)}” is longer than {LONGEST_VALUE} characters")
    return value


def plan(sheet: Sheet, given: list[Given], *, at: datetime) -> Plan:
    """Compare with what the database knows; a value that names another customer is an error of its line.

    An identity that is missing from the list ends at `at`; one that would only begin later is withdrawn. A new one
    holds from the beginning, so that late records of earlier calls find their customer, unless its value has named
    somebody before: then from `at`.
    """
    made = Plan()
    customers = {each.customer.pk: each for each in given if each.customer.pk}
    current: dict[int, set[Identity]] = {pk: set() for pk in customers}
    still_valid = CallIdentity.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=at)).select_related("customer")
    for identity in bulk.found_by(still_valid, "customer_id", customers):
        if _key(identity) in customers[identity.customer_id].identities:
            current[identity.customer_id].add(_key(identity))
        elif identity.valid_from is not None and identity.valid_from >= at:
            made.withdrawn.append(identity)
        else:
            identity.valid_to = at
            made.ended.append(identity)

    new = [
        (each, identity)
        for each in given
        for identity in each.identities
        if identity not in current.get(each.customer.pk, ())
    ]
    gone = {identity.pk for identity in [*made.ended, *made.withdrawn]}
    named_before, taken = _holders((identity for _, identity in new), gone, at)
    named_before |= {_key(identity) for identity in made.ended}
    first_given = _refuse_shared(sheet, given)
    for each, identity in new:
        if identity in taken and first_given[identity] is each:
            other = taken[identity].account
            sheet.refuse(each.row, f"call_identities “{_words(identity)}” names the customer “{other}” already.")
        valid_from = at if identity in named_before else None
        made.added.append(CallIdentity(customer=each.customer, valid_from=valid_from, **identity._asdict()))
    return made


def _holders(
    identities: Iterable[Identity], gone: set[int], at: datetime
) -> tuple[set[Identity], dict[Identity, Customer]]:
    """Which of the identities have named somebody before `at`, and which name a customer at or after it."""
    wanted = set(identities)
    before: set[Identity] = set()
    taken: dict[Identity, Customer] = {}
    values = {identity.value for identity in wanted}
    for held in bulk.found_by(CallIdentity.objects.select_related("customer"), "value", values):
        if _key(held) not in wanted or held.pk in gone:
            continue
        if held.valid_to is None or held.valid_to > at:
            taken[_key(held)] = held.customer
        else:
            before.add(_key(held))
    return before, taken


def _refuse_shared(sheet: Sheet, given: list[Given]) -> dict[Identity, Given]:
    """Who is given an identity first; giving it to a second customer is an error of the later line."""
    first_given: dict[Identity, Given] = {}
    for each in given:
        for identity in each.identities:
            first = first_given.setdefault(identity, each)
            if first is not each:
                sheet.refuse(
                    each.row,
                    f"call_identities “{_words(identity)}” is given to the customer “{first.customer.account}” in line"
                    f" {first.row.line} already.",
                )
    return first_given


def _key(identity: CallIdentity) -> Identity:
    return Identity(identity.source_id, identity.kind, identity.value)


def _words(identity: Identity) -> str:
    return shown(f"{identity.kind}:{identity.value}")
