"""What other programs read: ledger and balances, row by row, in constant memory."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from django.db import connection, transaction

Cell = str | Decimal | datetime | None

LEDGER_COLUMNS = [
    "posted_at",
    "occurred_at",
    "account",
    "kind",
    "amount",
    "currency",
    "key",
    "reverses",
    "description",
    "period_start",
    "period_end",
]
BALANCE_COLUMNS = ["account", "partner", "status", "currency", "balance", "credit_limit", "as_of"]
ROWS_AT_A_TIME = 5_000


def ledger(
    *, account: str | None = None, since: datetime | None = None, until: datetime | None = None
) -> Iterator[dict[str, Cell]]:
    """Ledger entries in the order of posting; `since` to `until` half-open, on `occurred_at`. Times are UTC."""
    yield from _rows(
        LEDGER_COLUMNS,
        """
        SELECT l.posted_at, l.occurred_at, cu.account, l.kind, l.amount, l.currency, l.key, l.reverses, l.description,
            l.period_start::text, l.period_end::text
        FROM billing_ledgerentry l JOIN billing_customer cu ON cu.id = l.customer_id
        WHERE (%(account)s::text IS NULL OR cu.account = %(account)s)
          AND (%(since)s::timestamptz IS NULL OR l.occurred_at >= %(since)s)
          AND (%(until)s::timestamptz IS NULL OR l.occurred_at < %(until)s)
        ORDER BY l.id
        """,
        {"account": account, "since": since, "until": until},
    )


def balances() -> Iterator[dict[str, Cell]]:
    """Every customer's balance, by account, all at one instant (`as_of`, UTC)."""
    yield from _rows(
        BALANCE_COLUMNS,
        """
        SELECT cu.account, p.slug, cu.status, cu.currency, b.balance, cu.credit_limit, now()
        FROM billing_customer cu JOIN billing_partner p ON p.id = cu.partner_id
        JOIN billing_customerbalance b ON b.customer_id = cu.id
        ORDER BY cu.account
        """,
        {},
    )


def _rows(columns: list[str], query: str, values: Mapping[str, str | datetime | None]) -> Iterator[dict[str, Cell]]:
    """Read through a cursor of the server's, which lives as long as its transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DECLARE export NO SCROLL CURSOR FOR {query}", values)
        while True:
            cursor.execute(f"FETCH {ROWS_AT_A_TIME} FROM export")
            rows = cursor.fetchall()
            if not rows:
                cursor.execute("CLOSE export")
                return
            for row in rows:
                yield dict(zip(columns, map(_in_utc, row), strict=True))


def _in_utc(cell: Cell) -> Cell:
    return cell.astimezone(UTC) if isinstance(cell, datetime) else cell
