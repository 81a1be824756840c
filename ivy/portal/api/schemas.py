"""What the API answers and takes: amounts as decimal strings, times in ISO 8601 with their zone."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Generic, TypeVar

from ninja import Schema
from pydantic import AwareDatetime, BeforeValidator, Field

from billing.models import CustomerStatus, Direction, EntryKind

Item = TypeVar("Item")


def _decimal(amount: object) -> object:
    return f"{amount:f}" if isinstance(amount, Decimal) else amount


Amount = Annotated[
    str, BeforeValidator(_decimal), Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", examples=["-0.034500", "120.000000"])
]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["EUR"])]
Month = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", examples=["2026-03"])]
Account = Annotated[str, Field(max_length=64, examples=["10001"])]
Cursor = Annotated[str, Field(max_length=500, description="From the page before; opaque.")]

# Asked for ------------------------------------------------------------------------------------------------------------


class APage(Schema):
    cursor: Cursor | None = None
    limit: int = Field(100, ge=1, le=500)


class NewEntries(Schema):
    cursor: Cursor | None = None
    after: str | None = Field(None, max_length=500, description="An entry's key: for who has lost the cursor.")
    start: Annotated[str, Field(pattern="^(beginning|now)$")] = "beginning"
    limit: int = Field(500, ge=1, le=1000)


class Calls(Schema):
    since: AwareDatetime = Field(description="Calls that began from here on, at most 31 days of them …")
    until: AwareDatetime = Field(description="… and before here.")
    account: Account | None = None
    direction: Direction | None = None
    cursor: Cursor | None = None


class Lines(APage):
    kind: EntryKind | None = None


# Answered -------------------------------------------------------------------------------------------------------------


class Page(Schema, Generic[Item]):
    """`more`: there is more now, behind `cursor`."""

    items: list[Item]
    cursor: str | None
    more: bool


class Customer(Schema):
    account: str
    name: str
    status: CustomerStatus
    currency: Currency
    timezone: str
    balance: Amount
    credit_limit: Amount
    closed_at: datetime | None


class Balance(Schema):
    account: str
    currency: Currency
    balance: Amount = Field(description="Negative: the customer owes.")
    credit_limit: Amount
    as_of: datetime


class Entry(Schema):
    key: str = Field(description="Never used twice.")
    account: str
    kind: EntryKind
    amount: Amount = Field(description="Negative: the customer owes more.")
    currency: Currency
    occurred_at: datetime
    posted_at: datetime
    description: str
    reverses: str | None = Field(description="The key of the entry that this one takes back.")
    period_start: date | None
    period_end: date | None
    billed_seconds: int | None


class NewPage(Schema):
    """`cursor` is always there: keep it, and come back with it."""

    items: list[Entry]
    cursor: str
    more: bool


class Call(Schema):
    key: str
    account: str
    direction: Direction
    from_number: str
    to_number: str
    started_at: datetime
    seconds: int
    billed_seconds: int | None
    price: Amount = Field(description="What it costs by now, corrections included; positive.")
    currency: Currency
    free_because: str
    is_corrected: bool


class StatementMonth(Schema):
    month: Month
    timezone: str
    starts_at: datetime
    ends_at: datetime
    closed_at: datetime | None = Field(description="Since when it never changes; null while it is open.")


class Months(Schema):
    items: list[StatementMonth]


class Sums(Schema):
    currency: Currency
    opening_balance: Amount
    totals: dict[EntryKind, Amount] = Field(description="Sums of entries by kind; kinds without entries are left out.")
    closing_balance: Amount
    entry_count: int


class Statement(Sums):
    account: str
    month: StatementMonth


class Statements(Schema):
    items: list[Statement]


class PartnerTotal(Sums):
    customer_count: int


class PartnerStatement(Schema):
    month: StatementMonth
    totals: list[PartnerTotal]


class Line(Entry):
    balance: Amount = Field(description="After this entry.")
    belongs_to: Month | None = Field(description="The earlier month in which it occurred, where it is a late one.")


class Process(Schema):
    title: str
    state: Annotated[str, Field(pattern="^(working|behind|halted)$")]
    since: datetime | None
    sentence: str


class OpenIncident(Schema):
    title: str
    state: str
    began_at: datetime


class Status(Schema):
    processes: list[Process]
    billed_through: datetime | None = Field(description="Calls that began before are billed; null: none came yet.")
    incidents: list[OpenIncident]


# Refused --------------------------------------------------------------------------------------------------------------


class Detail(Schema):
    where: str
    message: str


class Problem(Schema):
    code: str
    message: str
    details: list[Detail]


class Error(Schema):
    error: Problem
