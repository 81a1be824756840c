"""Keys to a partner's API: made and shown once, found by their hash, counted by the minute, revoked."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Customer, Partner
from ivy.accounts.models import User
from ivy.portal.models import ApiToken, Resource

PREFIX = "ivy_"  # so that scanners for lost secrets know it
HINT_LENGTH = 10


class TooManyRequests(Exception):
    """The token has used up its minute; after `seconds` the next one begins."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"This token has used up its requests of this minute. Go on in {seconds} s.")


def make(
    partner: Partner,
    *,
    name: str,
    by: User,
    resources: Iterable[Resource] = tuple(Resource),
    customers: Sequence[Customer] | None = None,
    rate_per_minute: int = 120,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """A new token, and its text, which is nowhere kept. `customers`: only these, which are the partner's; None: all."""
    assert all(customer.partner_id == partner.pk for customer in customers or ())
    text = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            partner=partner,
            name=name,
            digest=_digest(text),
            hint=text[:HINT_LENGTH],
            resources=sorted(Resource(resource).value for resource in resources),
            is_limited=customers is not None,
            rate_per_minute=rate_per_minute,
            made_by=by,
            expires_at=expires_at,
        )
        token.customers.set(customers or ())
    return token, text


def revoke(token: ApiToken, *, by: str) -> bool:
    """From the next request on the token opens nothing. False if it was revoked already."""
    return bool(ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=Now(), revoked_by=by))


def find(text: str) -> ApiToken | None:
    """The token of this text, if it opens anything: neither revoked nor past its day."""
    is_good = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))
    return ApiToken.objects.select_related("partner", "made_by").filter(is_good, digest=_digest(text)).first()


def count_use(token: ApiToken) -> None:
    """Count a request in the minute under way, by the database's clock. Raises TooManyRequests above its rate."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [token.pk])
        count, seconds = cursor.fetchone()
    if count > token.rate_per_minute:
        raise TooManyRequests(seconds)


_COUNT = """
INSERT INTO portal_apiuse AS used (token_id, minute, request_count, last_used_at)
VALUES (%s, date_trunc('minute', statement_timestamp()), 1, statement_timestamp())
ON CONFLICT (token_id) DO UPDATE SET
    request_count = CASE WHEN used.minute = excluded.minute THEN used.request_count + 1 ELSE 1 END,
    minute = excluded.minute, last_used_at = excluded.last_used_at
RETURNING request_count, ceil(extract(epoch FROM minute + interval '1 minute' - statement_timestamp()))::integer
"""


def _digest(text: str) -> str:
    """A plain hash is enough: the token is random and long, so that there is nothing to guess."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
