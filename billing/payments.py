"""A payment or a refund: money that came in or went out. Known by its source and its reference, and posted once.

Once posted it never changes: the same reference with the same account and amount (and time, where one is named) is left
alone, anything else is refused. One that was reversed since is known nevertheless. Never halted, and for closed
customers too.
"""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import transaction

from billing.corrections import Correction, NotCorrectable, lock_balance, post_once, refuse_impossible_amount
from billing.keys import payment_key
from billing.models import Customer, EntryKind, LedgerEntry
from billing.models.fields import name_of_a_thing

EARLY = timedelta(days=1)
LONGEST_REFERENCE = 200


def take_payment(
    account: str,
    amount: Decimal,
    *,
    source: str,
    reference: str,
    at: datetime,
    received: date | datetime | None = None,
    description: str = "",
    reason: str = "",
    by: str = "",
) -> Correction:
    """Post a payment, or a refund where the amount is negative. May be repeated: it is posted once.

    `source` is whose reference it is (`bank`, `till`). `received` is when the money moved: a date means the customer's
    midnight, None means `at`. Raises NotCorrectable for an unknown account, an amount that is zero or that the ledger
    can't hold, a time more than a day ahead of `at`, and a reference that is known with something else behind it.
    """
    refuse_impossible_amount(amount, "A payment")
    _refuse_impossible_name(source, reference)
    with transaction.atomic():
        customer = Customer.objects.filter(account=account).first()
        if customer is None:
            raise NotCorrectable(f"There is no customer “{account}”.")
        moment = moment_of(received, customer)
        if moment is not None and moment > at + EARLY:
            raise NotCorrectable(f"{received} is more than a day ahead: no money has moved yet.")
        lock_balance(customer.pk)
        posted = post_once(
            LedgerEntry(
                key=payment_key(source, reference),
                customer=customer,
                kind=kind_of(amount),
                amount=amount,
                currency=customer.currency,
                occurred_at=moment or at,
                description=description,
                reason=reason,
                entered_by=by,
            )
        )
    entry = posted.entry
    if posted.changed:
        return posted
    account_then = account
    if entry.customer_id != customer.pk:
        account_then = Customer.objects.get(pk=entry.customer_id).account
    difference = in_what_it_differs(
        (account_then, entry.amount, entry.occurred_at), account=customer, amount=amount, received=received
    )
    if difference:
        raise NotCorrectable(
            f"The payment “{reference}” of {source} was posted already, {difference}; a payment never changes."
        )
    return posted


def kind_of(amount: Decimal) -> EntryKind:
    """A payment, or a refund where the customer got money back."""
    return EntryKind.PAYMENT if amount > 0 else EntryKind.REFUND


def moment_of(received: date | datetime | None, customer: Customer) -> datetime | None:
    """When money moved, in UTC: a date means the customer's midnight, a time without zone is UTC."""
    if received is None:
        return None
    if not isinstance(received, datetime):
        return datetime.combine(received, time(), ZoneInfo(customer.timezone)).astimezone(UTC)
    return (received if received.tzinfo else received.replace(tzinfo=UTC)).astimezone(UTC)


def in_what_it_differs(
    posted: tuple[str, Decimal, datetime], *, account: Customer, amount: Decimal, received: date | datetime | None
) -> str:
    """In what a known payment (its account, amount and time) is another than this one, as the end of a sentence.

    Empty: in nothing. A date agrees with every time of that day of the customer's.
    """
    account_then, amount_then, occurred_at = posted
    if account_then != account.account:
        return f"for the account “{account_then}”, not “{account.account}”"
    if amount_then != amount:
        return f"with the amount {_plain(amount_then)}, not {_plain(amount)}"
    if not _agree(received, occurred_at, account):
        assert received is not None
        return f"as received at {occurred_at.isoformat()}, not {received.isoformat()}"
    return ""


def _agree(received: date | datetime | None, occurred_at: datetime, customer: Customer) -> bool:
    if received is None or isinstance(received, datetime):
        return received is None or occurred_at == moment_of(received, customer)
    return occurred_at.astimezone(ZoneInfo(customer.timezone)).date() == received


def _refuse_impossible_name(source: str, reference: str) -> None:
    if not name_of_a_thing.regex.fullmatch(source):  # type: ignore[union-attr]
        raise NotCorrectable(f"“{source}” is no name of a source of payments: {name_of_a_thing.message}")
    if not reference.strip() or len(reference) > LONGEST_REFERENCE:
        raise NotCorrectable(f"A payment has a reference, of at most {LONGEST_REFERENCE} characters.")


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
