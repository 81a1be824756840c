"""Who changed what, read from what the triggers keep and from the audit trail, newest first.

What people did beyond that (orders about mails, corrections, switches) is told by `ivy.staff.deeds`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.db.models.fields.json import KT

from ivy.models import CHANGES, AuditEntry

SHOWN = 200

BELONGING: dict[str, tuple[tuple[str, str], ...]] = {
    "billing.partner": (("billing.partneralert", "partner_id"),),
    "billing.customer": (("billing.callidentity", "customer_id"), ("billing.balancealert", "customer_id")),
    "billing.balancealert": (("billing.alertrecipient", "alert_id"),),
    "billing.billingitem": (("billing.itempricechange", "item_id"), ("billing.itempause", "item_id")),
    "accounts.user": (("accounts.user_groups", "user_id"), ("accounts.user_user_permissions", "user_id")),
}
"""What is looked at together with a thing, by the column that names it."""

VERBS = {"insert": "made", "update": "changed", "delete": "deleted", "found": "as it was found"}


@dataclass(frozen=True)
class Difference:
    """A field with what it held before and holds since; empty text for nothing."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """Something that was done to a thing. `by` is empty where it was the program. Times are UTC.

    `url`: where the thing is looked at; `words`: what the link to it says.
    """

    at: datetime
    by: str
    way: str
    verb: str
    noun: str
    name: str
    differences: list[Difference]
    sentence: str = ""
    reason: str = ""
    url: str = ""
    words: str = ""
    entry_key: str = ""
    """Of the ledger entry that it posted, where it is known."""


def of(label: str, pk: int, *, audited_as: tuple[str, str] | None = None) -> list[Change]:
    """What happened to a thing and what belongs to it. `audited_as`: its noun and name in the audit trail."""
    found = rows_of(label, pk)
    if audited_as is not None:
        noun, name = audited_as
        found += audited(AuditEntry.objects.filter(noun=noun, name=name))
    return newest(found)


def rows_of(label: str, pk: int, *, shown: int = SHOWN) -> list[Change]:
    """The changes of a thing's row and of the rows that belong to it, as the triggers kept them; in no order."""
    found = [*_changes(label, Q(pgh_obj_id=pk), shown)]
    for other, column in BELONGING.get(label, ()):
        found += _changes(other, Q(**{column: pk}), shown)
    return found


def rows_by(person: str) -> list[Change]:
    """The changes of rows that a person made, in the admin or at a terminal; in no order."""
    return [change for label in CHANGES for change in _changes(label, Q(by=person), SHOWN)]


def audited(entries: QuerySet[AuditEntry], *, shown: int = SHOWN) -> list[Change]:
    """The newest of these acts."""
    return [_told(entry) for entry in entries.order_by("-id")[:shown]]


def newest(changes: list[Change], *, shown: int = SHOWN) -> list[Change]:
    """The newest of these, in that order."""
    return sorted(changes, key=attrgetter("at"), reverse=True)[:shown]


def _told(entry: AuditEntry) -> Change:
    differences = [
        Difference(field.replace("_", " "), _text(entry.before.get(field)), _text(entry.after.get(field)))
        for field in {**entry.before, **entry.after}
        if entry.before.get(field) != entry.after.get(field)
    ]
    return Change(
        at=entry.at,
        by=entry.by,
        way="",
        verb=entry.verb,
        noun=entry.noun,
        name=entry.name,
        differences=differences,
        sentence=entry.summary,
        reason=entry.reason,
        entry_key=str(entry.after.get("entry") or ""),
    )


def _changes(label: str, which: Q, shown: int) -> Iterator[Change]:
    """The newest changes that fit, each compared with the one before it of the same row: two queries."""
    table = CHANGES[label]
    rows: list[Any] = list(table.objects.annotate(by=KT("pgh_context__by")).filter(which).order_by("-pgh_id")[:shown])  # type: ignore[attr-defined]
    if not rows:
        return
    earlier: dict[int, list[Any]] = {}
    oldest_first = table.objects.filter(  # type: ignore[attr-defined]
        pgh_obj_id__in={row.pgh_obj_id for row in rows}, pgh_id__lte=rows[0].pgh_id
    ).order_by("-pgh_id")
    for row in islice(oldest_first, shown * 5):
        earlier.setdefault(row.pgh_obj_id, []).append(row)
    for row in rows:
        before = next((other for other in earlier[row.pgh_obj_id] if other.pgh_id < row.pgh_id), None)
        yield _change(row, before)


def _change(row: Any, before: Any | None) -> Change:
    noun = row.pgh_tracked_model._meta.concrete_model._meta
    is_deletion = row.pgh_label == "delete"
    context = row.pgh_context or {}
    return Change(
        at=row.pgh_created_at,
        by=context.get("by", ""),
        way=context.get("path") or context.get("command", ""),
        verb=VERBS.get(row.pgh_label, row.pgh_label),
        noun=str(noun.verbose_name),
        name=_name(row),
        differences=[] if is_deletion else _differences(row, before),
    )


def _name(row: Any) -> str:
    """What people call the thing, of what the row itself holds."""
    for field in ("account", "reference", "slug", "email", "prefix", "value", "address", "name"):
        if getattr(row, field, None):
            return str(getattr(row, field))
    return f"no. {row.pgh_obj_id}"


def _differences(row: Model, before: Model | None) -> list[Difference]:
    """Of the watched fields, those that differ from before; for the first one, those that hold something."""
    differences = []
    for field in row._meta.concrete_fields:
        if field.name.startswith("pgh_") or field.name == "id":
            continue
        was = _text(getattr(before, field.attname)) if before is not None else ""
        now = _text(getattr(row, field.attname))
        if was != now:
            differences.append(Difference(str(field.verbose_name), was, now))
    return differences


def _text(value: object) -> str:
    return "" if value is None else str(value)
