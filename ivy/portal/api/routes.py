"""The addresses of the API: every one reads, none writes."""

from collections.abc import Callable
from datetime import UTC, date, timedelta
from functools import wraps
from inspect import signature
from typing import Any, get_type_hints

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from ninja import NinjaAPI, Path, Query

from billing import feed, statements
from billing.models import Customer, LedgerEntry
from billing.statements import Month, Sheet
from ivy.portal import calls as billed_calls
from ivy.portal import overview, status, words
from ivy.portal.api import cursors, errors
from ivy.portal.api import schemas as told
from ivy.portal.api.doors import ApiRequest, Token, TokenScope
from ivy.portal.api.errors import BadInput
from ivy.portal.models import Resource

LONGEST_RANGE = timedelta(days=billed_calls.LONGEST_DAYS)

api = NinjaAPI(
    title="Ivy for partners",
    version="1.0",
    description="What the portal shows, for programs. Amounts are decimal strings, times are ISO 8601 with a zone.",
    urls_namespace="portal_api",
)
errors.handle_in(api)


def _opens(resource: Resource, answer: Any, *, at: str, may_miss: bool = False) -> Callable[[Any], Any]:
    """An address that a token with this resource opens. `may_miss`: it names something that may not be there."""
    refusals = dict.fromkeys((401, 403, 422, 429, *([404] if may_miss else [])), told.Error)
    operation = api.get(at, auth=Token(resource), response={200: answer, **refusals}, tags=[resource.value])
    return lambda view: operation(_strict(view))


def _strict(view: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what stands behind the path and is not asked for, so that no filter is passed over in silence."""
    known = set(get_type_hints(view)["asked"].model_fields) if "asked" in signature(view).parameters else set()

    @wraps(view)
    def door(request: ApiRequest, *args: Any, **kwargs: Any) -> Any:
        for name in request.GET:
            if name not in known:
                raise BadInput(name, "Nobody asks for this here.")
        return view(request, *args, **kwargs)

    return door


# Customers ------------------------------------------------------------------------------------------------------------


@_opens(Resource.CUSTOMERS, told.Page[told.Customer], at="/customers", may_miss=False)
def customers(request: ApiRequest, asked: Query[told.APage]) -> dict[str, Any]:
    """All customers, in the order in which they came."""
    found, page = _page_of_customers(request.scope, asked, "customers")
    return page | {"items": [_customer(one) for one in found]}


@_opens(Resource.CUSTOMERS, told.Customer, at="/customers/{account}", may_miss=True)
def customer(request: ApiRequest, account: Path[told.Account]) -> dict[str, Any]:
    """One customer."""
    return _customer(request.scope.customer(account))


@_opens(Resource.BALANCES, told.Page[told.Balance], at="/balances")
def balances(request: ApiRequest, asked: Query[told.APage]) -> dict[str, Any]:
    """What each customer has."""
    as_of = timezone.now()
    found, page = _page_of_customers(request.scope, asked, "balances")
    return page | {
        "items": [
            {
                "account": one.account,
                "currency": one.currency,
                "balance": one.balance_row.balance,
                "credit_limit": one.credit_limit,
                "as_of": as_of,
            }
            for one in found
        ]
    }


# Ledger ---------------------------------------------------------------------------------------------------------------


@_opens(Resource.LEDGER, told.NewPage, at="/ledger", may_miss=True)
def ledger(request: ApiRequest, asked: Query[told.NewEntries]) -> dict[str, Any]:
    """Ledger entries of all customers as they were posted, each once: come back with `cursor` for what is new.

    None is missed and none repeated, also while several are posting. A page may be empty although there is more.
    """
    scope = request.scope
    if asked.cursor is not None:
        posted_in, entry = cursors.read(scope, "ledger", asked.cursor)
        after = feed.Position(int(posted_in), int(entry))
    elif asked.after is not None:
        after = feed.position_of(scope.entry(asked.after))
    else:
        after = feed.end() if asked.start == "now" else feed.BEGINNING
    page = feed.read(partner_id=scope.partner.pk, after=after, customers=scope.only, limit=asked.limit)
    return {
        "items": [_entry(entry, entry.customer) for entry in page.entries],
        "cursor": cursors.write(scope, "ledger", page.position),
        "more": page.more,
    }


@_opens(Resource.LEDGER, told.Page[told.Entry], at="/customers/{account}/ledger", may_miss=True)
def ledger_of_customer(request: ApiRequest, account: Path[told.Account], asked: Query[told.APage]) -> dict[str, Any]:
    """A customer's ledger entries, the latest first."""
    scope = request.scope
    of = scope.customer(account)
    of_list = f"ledger of {of.pk}"
    entries = scope.entries().filter(customer=of).order_by("-pk")
    if asked.cursor is not None:
        entries = entries.filter(pk__lt=cursors.read(scope, of_list, asked.cursor)[0])
    found = list(entries[: asked.limit + 1])
    return _page(scope, of_list, found, asked.limit) | {"items": [_entry(one, of) for one in found[: asked.limit]]}


# Calls ----------------------------------------------------------------------------------------------------------------


@_opens(Resource.CALLS, told.Page[told.Call], at="/calls", may_miss=True)
def calls(request: ApiRequest, asked: Query[told.Calls]) -> dict[str, Any]:
    """Calls that were billed or found free, the latest first: of a month at most, of one customer or of all."""
    scope = request.scope
    if asked.account is None:
        scope.refuse_when_limited()
    if not timedelta(0) < asked.until - asked.since <= LONGEST_RANGE:
        raise BadInput("until", f"It lies behind `since`, by at most {LONGEST_RANGE.days} days.")
    if asked.since < billed_calls.EARLIEST or asked.until > billed_calls.LATEST:
        raise BadInput("since", "There were no calls then.")
    wanted = billed_calls.Asked(
        since=asked.since.astimezone(UTC),  # zones may be written farther off than PostgreSQL reads
        until=asked.until.astimezone(UTC),
        account=scope.customer(asked.account).account if asked.account is not None else "",
        direction=asked.direction or "",
    )
    of_list = f"calls {wanted.since.timestamp()} {wanted.until.timestamp()} {wanted.account} {wanted.direction}"
    after = None
    if asked.cursor is not None:
        at, last_id = cursors.read(scope, of_list, asked.cursor)
        after = (asked.since.fromisoformat(str(at)), int(last_id))
    found, more = billed_calls.page(scope, wanted, after=after)
    place = cursors.write(scope, of_list, [found[-1].started_at.isoformat(), found[-1].id]) if more else None
    return {"items": found, "cursor": place, "more": more}


# Statements -----------------------------------------------------------------------------------------------------------


@_opens(Resource.STATEMENTS, told.Months, at="/statements")
def months(request: ApiRequest) -> dict[str, Any]:
    """Months, the latest first."""
    return {"items": [_month(month) for month in request.scope.months()]}


@_opens(Resource.STATEMENTS, told.PartnerStatement, at="/statements/{month}", may_miss=True)
def statement_of_all(request: ApiRequest, month: Path[told.Month]) -> dict[str, Any]:
    """A month of all customers together, by currency."""
    scope = request.scope
    scope.refuse_when_limited()
    found = scope.month(_first_day(month))
    totals = statements.totals_of(scope.partner, found)
    return {
        "month": _month(found),
        "totals": [_sums(one) | {"currency": one.currency, "customer_count": one.customer_count} for one in totals],
    }


@_opens(Resource.STATEMENTS, told.Statements, at="/customers/{account}/statements", may_miss=True)
def statements_of_customer(request: ApiRequest, account: Path[told.Account]) -> dict[str, Any]:
    """A customer's statements, the latest first."""
    return {"items": [_sheet(sheet) for sheet in statements.sheets_of(request.scope.customer(account))]}


@_opens(Resource.STATEMENTS, told.Statement, at="/customers/{account}/statements/{month}", may_miss=True)
def statement(request: ApiRequest, account: Path[told.Account], month: Path[told.Month]) -> dict[str, Any]:
    """A customer's statement of a month."""
    return _sheet(request.scope.sheet(account, _first_day(month)))


@_opens(Resource.STATEMENTS, told.Page[told.Line], at="/customers/{account}/statements/{month}/lines", may_miss=True)
def lines(
    request: ApiRequest, account: Path[told.Account], month: Path[told.Month], asked: Query[told.Lines]
) -> dict[str, Any]:
    """The lines behind a statement, as they were posted, with the balance after each."""
    scope = request.scope
    sheet = scope.sheet(account, _first_day(month))
    of_list = f"lines of {sheet.customer.pk} in {sheet.month.first} {asked.kind or ''}"
    after = int(cursors.read(scope, of_list, asked.cursor)[0]) if asked.cursor is not None else 0
    found = list(statements.lines_of([sheet], kind=asked.kind, after=after, limit=asked.limit + 1))
    more = len(found) > asked.limit
    return {
        "items": [_line(line, sheet) for line in found[: asked.limit]],
        "cursor": cursors.write(scope, of_list, [found[asked.limit - 1].entry_id]) if more else None,
        "more": more,
    }


# Status ---------------------------------------------------------------------------------------------------------------


@_opens(Resource.STATUS, told.Status, at="/status")
def how_things_stand(request: ApiRequest) -> dict[str, Any]:
    """What works, what is halted, and up to when calls are billed."""
    partner = request.scope.partner
    with words.written_for("en", partner.timezone):
        processes = [
            {
                "title": one.title,
                "state": "halted" if one.is_halted else "working" if one.since is None else "behind",
                "since": one.since,
                "sentence": f"{one.sentence} {one.meanwhile}".strip(),
            }
            for one in status.processes(partner)
        ]
    return {
        "processes": processes,
        "billed_through": overview.billed_through(partner.pk).at,
        "incidents": [
            {"title": one.title, "state": one.state, "began_at": one.began_at} for one in status.open_incidents(partner)
        ],
    }


# ----------------------------------------------------------------------------------------------------------------------


def _page_of_customers(scope: TokenScope, asked: told.APage, of_list: str) -> tuple[list[Customer], dict[str, Any]]:
    rows = scope.customers().select_related("balance_row").order_by("pk")
    if asked.cursor is not None:
        rows = rows.filter(pk__gt=cursors.read(scope, of_list, asked.cursor)[0])
    found = list(rows[: asked.limit + 1])
    return found[: asked.limit], _page(scope, of_list, found, asked.limit)


def _page(scope: TokenScope, of_list: str, found: list[Any], limit: int) -> dict[str, Any]:
    """`found`: one more than fits, if there is one."""
    more = len(found) > limit
    return {"cursor": cursors.write(scope, of_list, [found[limit - 1].pk]) if more else None, "more": more}


def _customer(one: Customer) -> dict[str, Any]:
    names = ("account", "name", "status", "currency", "timezone", "credit_limit", "closed_at")
    return {name: getattr(one, name) for name in names} | {"balance": one.balance_row.balance}


ENTRY = ("key", "kind", "amount", "occurred_at", "posted_at", "description", "reverses", "period_start", "period_end",
         "billed_seconds")  # fmt: skip


def _entry(entry: "LedgerEntry | statements.Line", of: Customer) -> dict[str, Any]:
    told_of_both = {name: getattr(entry, name) for name in ENTRY}
    return told_of_both | {"account": of.account, "currency": of.currency}


def _line(line: statements.Line, sheet: Sheet) -> dict[str, Any]:
    belongs_to = f"{line.belongs_to:%Y-%m}" if line.belongs_to else None
    return _entry(line, sheet.customer) | {"balance": line.balance, "belongs_to": belongs_to}


def _month(month: Month) -> dict[str, Any]:
    return {
        "month": f"{month.first:%Y-%m}",
        "timezone": month.timezone,
        "starts_at": month.starts_at,
        "ends_at": month.ends_at,
        "closed_at": month.closed_at,
    }


def _sums(of: "Sheet | statements.Total") -> dict[str, Any]:
    return {
        "opening_balance": of.opening_balance,
        "totals": of.totals,
        "closing_balance": of.closing_balance,
        "entry_count": of.entry_count,
    }


def _sheet(sheet: Sheet) -> dict[str, Any]:
    whose = {"account": sheet.customer.account, "currency": sheet.currency, "month": _month(sheet.month)}
    return whose | _sums(sheet)


def _first_day(month: str) -> date:
    try:
        return date.fromisoformat(f"{month}-01")
    except ValueError:
        raise Http404 from None  # the year 0


def in_one_form(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Also what is not an operation is refused in the one form; and nothing is kept on the way."""

    @wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        answer = view(request, *args, **kwargs)
        if answer.status_code == 405:
            allowed = answer["Allow"]
            answer = errors.problem(405, "This address is only read: GET.")
            answer["Allow"] = allowed
        add_never_cache_headers(answer)
        return answer

    door.csrf_exempt = True  # type: ignore[attr-defined]
    return door


def nowhere(_request: HttpRequest, **_path: str) -> HttpResponse:
    """For every address below the API's that is none."""
    return errors.problem(404, "There is nothing at this address.")
