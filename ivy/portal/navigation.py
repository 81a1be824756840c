"""The menu of the portal, one entry a line, in the order in which it is read."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse

from ivy.portal.models import Role
from ivy.portal.scope import Scope


@dataclass(frozen=True)
class Entry:
    """A page of the menu: title, route, and whom it is shown to. `below`: routes that are read as part of it."""

    title: str
    route: str
    role: Role = Role.VIEWER
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    title: str
    url: str
    is_current: bool


CUSTOMERS = ("portal:customer", "portal:ledger", "portal:mail", "portal:customer_alerts", "portal:items")

ENTRIES: list[Entry] = [
    Entry("Overview", "portal:overview"),
    Entry("Customers", "portal:customers", below=CUSTOMERS),
    Entry("Calls", "portal:calls", below=("portal:explain",)),
    Entry("Alerts", "portal:alerts"),
    Entry("Requests", "portal:item_requests"),
    Entry("Status", "portal:status"),
    Entry(
        "Statements",
        "portal:statements",
        below=("portal:statements_of_month", "portal:statement", "portal:customer_statements"),
    ),
    Entry("API", "portal:tokens", Role.OWNER, below=("portal:make_token",)),
    Entry("People", "portal:people", Role.OWNER, below=("portal:invite",)),
    Entry("Brand", "portal:brand", Role.OWNER),
]


def lines(scope: Scope, *, current: str, entries: Iterable[Entry] | None = None) -> list[Line]:
    """What this person may open. `current`: the route of the page they are on."""
    return [
        Line(entry.title, reverse(entry.route), current == entry.route or current in entry.below)
        for entry in (ENTRIES if entries is None else entries)
        if scope.sees(entry.role)
    ]
