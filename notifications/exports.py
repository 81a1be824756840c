"""The log as rows for a CSV file."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count

from notifications.models import NotificationLog

COLUMNS = (
    "key", "account", "kind", "recipient", "state", "errant", "created_at", "sent_at", "attempts", "message_id",
)  # fmt: skip


def notifications(
    *, account: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> Iterator[dict[str, object]]:
    """Every mail that Ivy owed, in the order in which it was owed; `since`/`until` half-open on `created_at`.

    In constant memory. The recipient is empty once it was erased.
    """
    rows = NotificationLog.objects.select_related("customer", "content").annotate(attempt_count=Count("attempts"))
    if account is not None:
        rows = rows.filter(customer__account=account)
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    for log in rows.order_by("pk").iterator(chunk_size=2000):
        yield {
            "key": log.key,
            "account": log.customer.account,
            "kind": log.kind,
            "recipient": log.content.recipient,
            "state": log.state,
            "errant": "yes" if log.is_errant else "no",
            "created_at": log.created_at,
            "sent_at": log.sent_at,
            "attempts": log.attempt_count,
            "message_id": log.message_id,
        }
