"""Where a person does what is to be done."""

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode


@dataclass(frozen=True)
class Link:
    """`id`: where the keyboard's focus stays when a live part is shown anew."""

    text: str
    url: str
    id: str


def address(name: str, *args: Any, **query: str) -> str:
    """The address of a page of the admin, with a query."""
    found = reverse(f"admin:{name}", args=args)
    return f"{found}?{urlencode(query)}" if query else found


def list_of(model: str, **lookups: str | int) -> str:
    """The address of the list of `app.model`, narrowed."""
    return address(f"{model.replace('.', '_')}_changelist", **{name: str(value) for name, value in lookups.items()})
