"""Charging calls again after a price list was wrong: what was charged is reversed, and charged as a run would today.

Calls answered within the range are priced by the deck that their customer has now, as it stands now. A call whose price
stays the same is left alone, and so is one that was reversed by a person, that was free by another rule than its rate,
or that could not be priced today: nothing becomes free because something is missing.

Each chunk is one transaction behind the halting barrier of `calls`. Which calls are done shows in the ledger itself, so
that a re-rating can be killed at any point and simply begun again; begun again when it is done, it finds no difference.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from billing import decks, episodes, halting
from billing.models import Customer, Partner, Process, RateDeck, Rerating
from billing.rating import rated

CALLS_AT_A_TIME = 5_000
TOP_CUSTOMERS = 10
TRIES = 5
LOCK_NOT_AVAILABLE = "55P03"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Scope:
    """Calls answered in `[since, until)`, of one customer or all, that `deck` charged or would charge now, or any."""

    since: datetime
    until: datetime
    customer: Customer | None = None
    deck: RateDeck | None = None


@dataclass
class Outcome:
    """What was, or would be, done. Amounts by currency, positive where customers are charged more than before.

    `left`: calls that can't be priced today, by the reason why. `halted`: partners whose calls are halted. `falls`: the
    alerts whose episodes would open, in a preview.
    """

    rerating: int | None = None
    looked_at: int = 0
    reversed: int = 0
    charged: int = 0
    customers: set[int] = field(default_factory=set)
    amount: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    left: Counter[str] = field(default_factory=Counter)
    halted: list[str] = field(default_factory=list)
    top_customers: list[tuple[str, str, Decimal]] = field(default_factory=list)
    falls: list[int] = field(default_factory=list)


class CallsBusy(Exception):
    """Somebody else keeps changing these customers' balances or this deck: try again in a moment. Nothing is lost."""


def preview(scope: Scope, *, at: datetime) -> Outcome:
    """What `rerate` would do at `at`, to the last decimal, were nothing halted. One snapshot; writes nothing."""
    found = Outcome()
    differences: dict[int, Decimal] = defaultdict(Decimal)
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for partner_id, chunk in _plan(scope):
            decks.make_slices(_stretches(), for_preview=True)
            rows = _look(_PREVIEW, partner_id, chunk)
            _add(found, rows, differences)
        found.falls = episodes.falls_to_come(differences, at=at)
        transaction.set_rollback(True)
    _name_the_largest(found, differences)
    return found


def rerate(scope: Scope, *, reason: str, by: str, progress: Progress | None = None) -> Outcome:
    """Reverse and charge again what is priced otherwise today. Safe to repeat, safe to kill.

    Goes on with an interrupted re-rating of the same scope. Raises ProcessHalted, before anything is written, while
    calls are halted for everyone; partners that are halted are left out and named. Raises CallsBusy.
    """
    halting.refuse_when_halted(Process.CALLS, partner_id=None)
    done = Outcome()
    differences: dict[int, Decimal] = defaultdict(Decimal)
    halted: set[int] = set()
    rerating = _begin(scope, reason=reason, by=by)
    done.rerating = rerating.pk
    try:
        plan = _plan(scope)
        decks.make_slices(_stretches())
        for partner_id, chunk in plan:
            try:
                rows = _post_patiently(rerating, partner_id, chunk)
            except halting.ProcessHalted as halt:
                if halt.is_for_everyone:
                    raise
                halted.add(partner_id)
                continue
            before = done.looked_at
            _add(done, rows, differences)
            if progress is not None:
                progress(done.looked_at - before)
    finally:
        _forget_plan()
    done.halted = list(Partner.objects.filter(pk__in=halted).order_by("slug").values_list("slug", flat=True))
    if not halted:
        Rerating.objects.filter(pk=rerating.pk).update(ended_at=Now())
    _name_the_largest(done, differences)
    return done


def _begin(scope: Scope, *, reason: str, by: str) -> Rerating:
    """The interrupted re-rating of the same scope, or a new one."""
    asked = {"since": scope.since, "until": scope.until, "customer": scope.customer, "deck": scope.deck}
    interrupted = Rerating.objects.filter(**asked, ended_at=None).order_by("pk").last()
    return interrupted or Rerating.objects.create(**asked, reason=reason, entered_by=by)


def _plan(scope: Scope) -> list[tuple[int, int]]:
    """Note the calls that come into question, in chunks of customers of one partner: `(partner, chunk)`."""
    _forget_plan()
    limits = {
        "since": scope.since,
        "until": scope.until,
        "customer": scope.customer.pk if scope.customer else None,
        "deck": scope.deck.pk if scope.deck else None,
        "size": CALLS_AT_A_TIME,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CANDIDATES, limits)
        cursor.execute("SELECT DISTINCT partner_id, chunk FROM rerating_call ORDER BY partner_id, chunk")
        return cursor.fetchall()


def _forget_plan() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS pg_temp.rerating_call")


def _stretches() -> list[tuple[int, datetime, datetime]]:
    """For each deck and day the first and the last time of a call that comes into question."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT deck_id, min(rated_at), max(rated_at) FROM rerating_call WHERE deck_id IS NOT NULL"
            " GROUP BY deck_id, date_trunc('day', rated_at)"
        )
        return cursor.fetchall()


def _post_patiently(rerating: Rerating, partner_id: int, chunk: int) -> list[Any]:
    """Post the chunk; again where a run has its customers just now, or its deck has changed meanwhile."""
    for _ in range(TRIES):
        try:
            with halting.chunk(Process.CALLS, partner_id=partner_id):
                return _post(rerating, partner_id, chunk)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                raise
        except _DeckChanged:
            decks.make_slices(_stretches())
    raise CallsBusy


class _DeckChanged(Exception):
    """A call could not be decided: the slice of its deck is stale."""


def _post(rerating: Rerating, partner_id: int, chunk: int) -> list[Any]:
    limits = {"partner": partner_id, "chunk": chunk}
    with connection.cursor() as cursor:
        # In a statement before the one that looks what was charged: whoever waits here sees what the other has posted.
        cursor.execute(
            "SELECT FROM billing_customerbalance WHERE customer_id IN (SELECT customer_id FROM rerating_call"
            " WHERE partner_id = %(partner)s AND chunk = %(chunk)s) ORDER BY customer_id FOR UPDATE",
            limits,
        )
    why = f"Re-rating {rerating.pk}{': ' if rerating.reason else ''}{rerating.reason}"
    rows = _look(_POST, partner_id, chunk, rerating=rerating.pk, why=why, by=rerating.entered_by)
    tally = Outcome()
    _add(tally, rows, defaultdict(Decimal))
    if tally.reversed or tally.charged:
        current = Rerating.objects.select_for_update().get(pk=rerating.pk)
        current.reversed_count += tally.reversed
        current.charged_count += tally.charged
        for currency, amount in tally.amount.items():
            current.amount[currency] = str(Decimal(current.amount.get(currency, 0)) + amount)
        current.save()
    return rows


def _look(text: str, partner_id: int, chunk: int, **values: Any) -> list[Any]:
    """Rate the calls of the chunk, and do with them what `text` does."""
    whose = "p.plan_partner = %(partner)s AND p.chunk = %(chunk)s"
    with connection.cursor() as cursor:
        cursor.execute(
            text.format(rated=rated(whose, of=_CALLS), changes=_CHANGES),
            {"partner": partner_id, "chunk": chunk, **values},
        )
        rows = cursor.fetchall()
    if any(change == "undecided" for change, *_ in rows):
        raise _DeckChanged
    return rows


def _add(outcome: Outcome, rows: list[Any], differences: dict[int, Decimal]) -> None:
    for change, reason, customer_id, currency, calls, reversals, charges, difference in rows:
        outcome.looked_at += calls
        outcome.reversed += reversals
        outcome.charged += charges
        if change == "left":
            outcome.left[reason] += calls
        elif change != "same":
            outcome.customers.add(customer_id)
            outcome.amount[currency] += difference
            differences[customer_id] += difference


def _name_the_largest(outcome: Outcome, differences: dict[int, Decimal]) -> None:
    largest = sorted(differences, key=lambda customer: (-abs(differences[customer]), customer))[:TOP_CUSTOMERS]
    names = {
        row[0]: row[1:] for row in Customer.objects.filter(pk__in=largest).values_list("pk", "account", "currency")
    }
    outcome.top_customers = [(*names[customer], differences[customer]) for customer in largest]


# The last charge of a call, and whether it stands. Keys of second and later charges lie between `key#` and `key$`;
# a `#` of a call's own id is escaped in its key.
_LAST_CHARGE = """
    LEFT JOIN LATERAL (
        SELECT l.key, l.charge_number, l.amount, l.rate_id, l.description, l.occurred_at,
            r.id IS NULL AS stands, r.rerating_id IS NOT NULL AS was_rerated
        FROM billing_ledgerentry l LEFT JOIN billing_ledgerentry r ON r.reverses = l.key
        WHERE l.key = {key} OR (l.key > {key} || '#' AND l.key < {key} || '$')
        ORDER BY l.charge_number DESC LIMIT 1
    ) last ON true
    LEFT JOIN billing_freecall f ON f.call_key = {key} AND f.reason IN ('zero_rate', 'rounds_to_zero')
"""
_MAY_CHANGE = "(last.stands OR last.was_rerated OR (last.key IS NULL AND f.id IS NOT NULL))"

_CANDIDATES = f"""
CREATE TEMPORARY TABLE rerating_call AS
WITH call AS (
    SELECT c.id AS record_id, k.call_key, coalesce(q.customer_id, c.customer_id) AS customer_id,
        coalesce(nullif(q.direction, ''), c.direction) AS direction,
        coalesce(c.answered_at, c.started_at) AS rated_at
    FROM billing_callrecord c
    JOIN billing_source s ON s.id = c.source_id
    CROSS JOIN LATERAL (SELECT call_key(s.name, c.call_id) AS call_key OFFSET 0) k
    LEFT JOIN billing_quarantinedcall q ON q.call_key = k.call_key AND q.content_hash = c.content_hash
    WHERE coalesce(c.answered_at, c.started_at) >= %(since)s AND coalesce(c.answered_at, c.started_at) < %(until)s
      AND c.is_answered AND NOT c.is_internal AND c.seconds > 0
      AND coalesce(q.state, 'settled') = 'settled'
      AND (%(customer)s::bigint IS NULL OR coalesce(q.customer_id, c.customer_id) = %(customer)s)
), rated_once AS (
    SELECT call.*, cu.partner_id,
        deck_of_call(call.direction, cu.rate_deck_id, cu.inbound_deck_id, cu.currency, pa.rate_deck_id, pa.currency)
            AS deck_id,
        coalesce(last.rate_id, f.rate_id) AS rate_id
    FROM call
    JOIN billing_customer cu ON cu.id = call.customer_id JOIN billing_partner pa ON pa.id = cu.partner_id
    {_LAST_CHARGE.format(key="call.call_key")}
    WHERE {_MAY_CHANGE}
)
SELECT record_id, call_key, customer_id, direction, partner_id, deck_id, rated_at,
    (row_number() OVER (PARTITION BY partner_id ORDER BY customer_id, record_id) - 1) / %(size)s AS chunk
FROM rated_once
WHERE %(deck)s::bigint IS NULL OR deck_id = %(deck)s
   OR rate_id IN (SELECT id FROM billing_rate WHERE deck_id = %(deck)s)
"""  # noqa: S608 - texts of ours

# In the columns of billing_pendingcall, and what was charged so far.
_CALLS = f"""(
    SELECT c.id, c.batch_id, t.customer_id, t.call_key, c.content_hash, t.direction, c.from_number, c.to_number,
        c.started_at, c.answered_at, c.seconds, c.is_answered, c.is_internal, c.booked_month,
        t.partner_id AS plan_partner, t.chunk,
        last.key AS charged_key, coalesce(last.charge_number, 0) AS charged_number,
        coalesce(last.stands, false) AS stands, CASE WHEN last.stands THEN -last.amount ELSE 0 END AS charged,
        last.description AS charged_description, last.occurred_at AS charged_at
    FROM rerating_call t
    JOIN billing_callrecord c ON c.id = t.record_id
    {_LAST_CHARGE.format(key="t.call_key")}
    WHERE {_MAY_CHANGE}
)"""  # noqa: S608 - texts of ours

_CHANGES = """
    changes AS MATERIALIZED (
        SELECT rated.*,
            CASE
                WHEN outcome IS NULL THEN 'undecided'
                WHEN outcome = 'quarantine' THEN CASE WHEN stands THEN 'left' ELSE 'same' END
                WHEN outcome = 'charge' AND price <> charged THEN 'charge'
                WHEN outcome = 'free' AND stands THEN 'free'
                ELSE 'same'
            END AS change
        FROM rated
    )
"""

_TALLY = """
SELECT change, CASE change WHEN 'left' THEN reason END, customer_id, currency, count(*),
    count(*) FILTER (WHERE change IN ('charge', 'free') AND stands),
    count(*) FILTER (WHERE change = 'charge'),
    coalesce(sum(CASE change WHEN 'charge' THEN price - charged WHEN 'free' THEN -charged END), 0)
FROM changes GROUP BY change, CASE change WHEN 'left' THEN reason END, customer_id, currency
"""

_PREVIEW = "WITH {rated}, {changes}" + _TALLY

# Reversals and charges in one INSERT: the ledger's trigger, which looks for the reversal of the charge before, fires
# once for both.
_POST = (
    """
WITH {rated}, {changes}, corrected AS (
    INSERT INTO billing_ledgerentry (
        key, customer_id, kind, amount, currency, occurred_at, booked_month, charge_number, reverses,
        description, rate_id, billed_seconds, rerating_id, reason, entered_by
    )
    SELECT 'reversal:' || charged_key, customer_id, 'reversal', charged, currency, charged_at, booked_month, 1,
        charged_key, 'Taken back: ' || charged_description, NULL, NULL, %(rerating)s, %(why)s, %(by)s
    FROM changes WHERE change IN ('charge', 'free') AND stands
    UNION ALL
    SELECT call_key || CASE WHEN charged_number > 0 THEN '#' || (charged_number + 1) ELSE '' END, customer_id, 'call',
        -price, currency, started_at, booked_month, charged_number + 1, NULL,
        direction || ' call, ' || CASE direction WHEN 'inbound' THEN from_number ELSE to_number END
            || CASE destination WHEN '' THEN '' ELSE ', ' || destination END,
        rate_id, billed_seconds, %(rerating)s, %(why)s, %(by)s
    FROM changes WHERE change = 'charge'
), no_longer_free AS (
    DELETE FROM billing_freecall f USING changes n
    WHERE n.change = 'charge' AND n.charged_number = 0 AND f.call_key = n.call_key
)
"""  # noqa: S608 - texts of ours
    + _TALLY
)
