"""The call identities that a file gives to customers: what the cell says, and what follows for those in the database.

`code:X`, `peer:301@pbx-north`, `number:+49…`, separated by semicolons; a bare word is an account code. What stands
behind the last @ is the source that writes it; without one, any source does. Codes may have an @ of their own, so that
it counts there only before the name of a registered source. A number loses its +, and nothing else.
"""

import re
from collections.abc import Mapping
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


class Added(NamedTuple):
    customer: Customer
    identity: Identity
    valid_from: datetime | None


@dataclass(slots=True)
class Given:
    """The identities that a row gives to a customer: these and no others from now on."""

    row: Row
    customer: Customer
    identities: list[Identity]


@dataclass
class Plan:
    """What is to be written: the ids of identities that end and of those that are withdrawn, and the new ones."""

    at: datetime
    ended: list[int] = field(default_factory=list)
    withdrawn: list[int] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    customer_ids: set[int] = field(default_factory=set)  # of those who were known before and whose identities change

    def write(self) -> None:
        """What ends before what begins: a value may go from one customer to another."""
        bulk.found_by(CallIdentity.objects.all(), "pk", self.withdrawn).delete()
        bulk.found_by(CallIdentity.objects.all(), "pk", self.ended).update(valid_to=self.at)
        bulk.insert_values(
            CallIdentity,
            ["customer_id", "source_id", "kind", "value", "valid_from"],
            ((customer.pk, *identity, valid_from) for customer, identity, valid_from in self.added),
        )


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
    made = Plan(at)
    customers = {each.customer.pk: set(each.identities) for each in given if each.customer.pk}
    kept: dict[int, set[Identity]] = {pk: set() for pk in customers}
    named_before: set[Identity] = set()
    still_valid = CallIdentity.objects.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=at))
    for pk, customer_id, valid_from, *rest in bulk.found_by(
        still_valid.values_list("pk", "customer_id", "valid_from", *Identity._fields), "customer_id", customers
    ):
        identity = Identity(*rest)
        if identity in customers[customer_id]:
            kept[customer_id].add(identity)
            continue
        made.customer_ids.add(customer_id)
        if valid_from is not None and valid_from >= at:
            made.withdrawn.append(pk)
        else:
            made.ended.append(pk)
            named_before.add(identity)

    new = [
        (each, identity)
        for each in given
        for identity in each.identities
        if identity not in kept.get(each.customer.pk, ())
    ]
    before, taken = _holders({identity for _, identity in new}, {*made.ended, *made.withdrawn}, at)
    named_before |= before
    first_given = _refuse_shared(sheet, given)
    for each, identity in new:
        if identity in taken and first_given[identity] is each:
            words = f"call_identities “{_words(identity)}” names the customer “{taken[identity]}” already"
            sheet.refuse(each.row, f"{words}.")
        made.added.append(Added(each.customer, identity, at if identity in named_before else None))
        if each.customer.pk:
            made.customer_ids.add(each.customer.pk)
    return made


def _holders(wanted: set[Identity], gone: set[int], at: datetime) -> tuple[set[Identity], dict[Identity, str]]:
    """Which of the identities have named somebody before `at`, and whose account they name at `at` or later."""
    before: set[Identity] = set()
    taken: dict[Identity, str] = {}
    for pk, account, valid_to, *rest in bulk.found_by(
        CallIdentity.objects.values_list("pk", "customer__account", "valid_to", *Identity._fields),
        "value",
        {identity.value for identity in wanted},
    ):
        identity = Identity(*rest)
        if identity not in wanted or pk in gone:
            continue
        if valid_to is None or valid_to > at:
            taken[identity] = account
        else:
            before.add(identity)
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


def _words(identity: Identity) -> str:
    return shown(f"{identity.kind}:{identity.value}")
