"""How a program comes in: with a token, as a scope of its own, so often a minute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja.security import HttpBearer

from billing.models import CallRecord, Customer, LedgerEntry
from ivy.portal import tokens
from ivy.portal.models import ApiToken, Resource, Role
from ivy.portal.scope import Scope


class NotAllowed(Exception):
    """The token opens something, but not this; the message is a sentence."""


@dataclass(frozen=True)
class TokenScope(Scope):
    """What a token opens: all of the partner's customers, or those that it is limited to."""

    only: tuple[int, ...] | None = None

    def customers(self) -> QuerySet[Customer]:
        rows = super().customers()
        return rows if self.only is None else rows.filter(pk__in=self.only)

    def entries(self) -> QuerySet[LedgerEntry]:
        rows = super().entries()
        return rows if self.only is None else rows.filter(customer__in=self.only)

    def calls(self) -> QuerySet[CallRecord]:
        rows = super().calls()
        return rows if self.only is None else rows.filter(customer__in=self.only)

    def refuse_when_limited(self) -> None:
        """For what tells of all customers together. Raises NotAllowed."""
        if self.only is not None:
            raise NotAllowed("This token is limited to some customers; ask for one of them.")


class ApiRequest(HttpRequest):
    """A request that came in by a token."""

    auth: ApiToken
    scope: TokenScope


class Token(HttpBearer):
    """`Authorization: Bearer ivy_…`; opens operations of one resource."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self.resource = resource

    def __call__(self, request: HttpRequest) -> Any:
        # Not the base class's own, which writes a header that it does not understand to the log.
        kind, _, text = request.headers.get(self.header, "").partition(" ")
        return self.authenticate(request, text.strip()) if kind.lower() == self.openapi_scheme and text else None

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        """The token, its use counted. Raises TooManyRequests and NotAllowed."""
        found = tokens.find(token)
        if found is None:
            return None
        tokens.count_use(found)
        if self.resource not in found.resources:
            raise NotAllowed(f"This token does not open {self.resource.label.lower()}.")
        cast(ApiRequest, request).scope = scope_of(found)
        return found


def scope_of(token: ApiToken) -> TokenScope:
    only: Sequence[int] | None = list(token.customers.values_list("pk", flat=True)) if token.is_limited else None
    return TokenScope(
        partner=token.partner,
        role=Role.VIEWER,
        user=token.made_by,
        language="en",
        timezone=token.partner.timezone,
        only=None if only is None else tuple(only),
    )
