"""Calls that can't be charged as they stand: how they come back by themselves, by a person's word, or are put away.

A call that comes back lies in a new batch, and billing looks at it as at any other: it is charged, free, or quarantined
again. Its record never changes; whose call it is, and in which direction, is found anew by the identities of now that
are valid at the call's start.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from billing.attribution import ATTRIBUTED, NAMES_NOBODY, NAMES_TWO
from billing.imports.call_formats import FORMATS
from billing.models import BatchKind, QuarantineReason
from billing.rating import rated
from billing.waiting import EVERYTHING, Selection, selected

# What a saved identity, rate or customer may have mended. An identity that was missing may also show a customer's
# account; a customer may have got a deck, or been opened again.
MENDS = {
    "identity": {QuarantineReason.NO_CUSTOMER, QuarantineReason.AMBIGUOUS_CUSTOMER},
    "rate": {QuarantineReason.NO_RATE},
    "customer": {
        QuarantineReason.NO_CUSTOMER,
        QuarantineReason.AMBIGUOUS_CUSTOMER,
        QuarantineReason.NO_DECK,
        QuarantineReason.NO_RATE,
        QuarantineReason.CUSTOMER_CLOSED,
    },
}

# Releases take turns. (Next to halting's and imports' locks.)
RELEASE_LOCK = 1_230_005

# Nobody can say so of a call that names no customer: without one it can't be charged.
NEEDS_A_CUSTOMER = [QuarantineReason.NO_CUSTOMER, QuarantineReason.AMBIGUOUS_CUSTOMER]


@dataclass(frozen=True)
class Fate:
    """What would become of some calls, were they released now: `outcome` charge, free or quarantine, or left waiting.

    `left`: they can't be released, as they name no customer, or their id was charged or free already, or is about to
    be. `amount`: what they would be charged together, positive. Of one call also its price's rate and seconds, and
    whose it would be.
    """

    outcome: str
    reason: str
    calls: int
    currency: str = ""
    amount: Decimal = Decimal(0)
    rate_id: int | None = None
    billed_seconds: int | None = None
    account: str = ""


def recall_mended(*, for_preview: bool = False) -> int:
    """Release the calls whose cause may have been mended since the last time; how many. Quick when nothing was saved.

    May be repeated. What is still not chargeable goes back to quarantine in the run that follows. For a preview: inside
    the caller's transaction, which must be rolled back in the end.
    """
    with transaction.atomic(durable=not for_preview):
        with connection.cursor() as cursor:
            # Skipping what a preview has in its hands just now: the next cycle takes it.
            cursor.execute(
                "WITH mended AS MATERIALIZED (SELECT id FROM billing_mendedcause FOR UPDATE SKIP LOCKED)"
                " DELETE FROM billing_mendedcause m USING mended WHERE m.id = mended.id RETURNING m.kind"
            )
            kinds = {row[0] for row in cursor.fetchall()}
        reasons = set().union(*(MENDS[kind] for kind in kinds))
        if not reasons:
            return 0
        if not for_preview:
            _take_turns()
        return _release(Selection(reasons=tuple(reasons)))


def release(selection: Selection = EVERYTHING, *, at_most: int | None = None) -> int:
    """Release the waiting calls that are meant, the longest waiting first; how many. May be repeated.

    Left waiting are calls that still name no customer, or two, those whose id was charged or free already under
    another content, or awaits that in an open batch (the same call id never bills twice), and those that somebody else
    is deciding about just now.
    """
    with transaction.atomic():
        _take_turns()
        return _release(selection, at_most=at_most)


def dismiss(selection: Selection = EVERYTHING, *, by: str, why: str, at_most: int | None = None) -> int:
    """Put the waiting calls away for good: they will not be charged; how many. A person answers for it, by name."""
    chosen, values = selected(selection)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH meant AS MATERIALIZED (
                SELECT q.id {chosen} ORDER BY q.since, q.id LIMIT %(at_most)s FOR UPDATE OF q SKIP LOCKED
            )
            UPDATE billing_quarantinedcall q SET state = 'dismissed', dismissed_by = %(by)s, dismissed_because = %(why)s
            FROM meant WHERE q.id = meant.id AND q.state = 'waiting'
            """,  # noqa: S608 - texts of ours
            {**values, "by": by, "why": why, "at_most": at_most},
        )
        return cursor.rowcount


def fates(selection: Selection = EVERYTHING, *, at_most: int | None = None) -> list[Fate]:
    """What would become of the waiting calls that are meant, were they released now, most of them first.

    By the queries that release and bill them. Writes nothing, holds no lock.
    """
    with connection.cursor() as cursor:
        cursor.execute(*_query(_FATES, selection, at_most=at_most, lock=""))
        return [
            Fate(outcome, reason or "", calls, currency or "", amount or Decimal(0), rate_id, seconds, account or "")
            for outcome, reason, calls, currency, amount, rate_id, seconds, account in cursor.fetchall()
        ]


def _take_turns() -> None:
    """Wait until no other release is under way: two of them, of two records with one id, would not see each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [RELEASE_LOCK])


def _release(selection: Selection, *, at_most: int | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(*_query(_RELEASE, selection, at_most=at_most, lock="FOR UPDATE OF q SKIP LOCKED"))
        return int(cursor.fetchone()[0])


def _query(text: str, selection: Selection, *, at_most: int | None, lock: str) -> tuple[str, dict[str, Any]]:
    chosen, values = selected(selection)
    return (
        text.replace("{waiting}", f"{chosen} ORDER BY q.since, q.id LIMIT %(at_most)s {lock}"),
        {
            **values,
            "at_most": at_most,
            "needs_a_customer": [str(reason) for reason in NEEDS_A_CUSTOMER],
            "any_identity_formats": _formats_whose_account_is_any_identity(),
            "kind": BatchKind.RELEASE.value,
        },
    )


def _formats_whose_account_is_any_identity() -> list[str]:
    return [str(name) for name, one in FORMATS.items() if one.account_is_any_identity]


# A call that names nobody now keeps the customer it was stored with, if any. One that still names nobody, or by now
# two, stays, and says so as it is now.
#
# Formats whose records say the direction keep it; for all others it follows from who is named now. Of several records
# with one id at most one is released, and none while another, which is not in quarantine, awaits its outcome. The rows
# are locked first: two releases at once don't take the same call twice.
#
# Where statistics are older than a night's calls, the planner takes each step for a row or two, and would compare every
# call with every other: minutes, at a hundred thousand, in which no run begins. So whom the calls name is joined in
# full, though nobody is named without a call: that is never done row by row. And a step of its own inside the condition
# on released ones leaves it no index but the one by key.
_CHOSEN = f"""
waiting AS MATERIALIZED (
    SELECT q.id, q.call_key, q.content_hash, q.reason {{waiting}}
), record AS MATERIALIZED (
    SELECT w.*, c.id AS record_id, c.customer_id, c.source_id, s.name AS source_name, c.direction,
        s.format = ANY(%(any_identity_formats)s) AS is_any,
        c.call_id, c.account_code, c.from_peer, c.to_peer, c.from_number, c.to_number, c.started_at
    FROM waiting w
    JOIN billing_callrecord c ON c.content_hash = w.content_hash
    JOIN billing_source s ON s.id = c.source_id
    WHERE w.call_key = call_key(s.name, c.call_id)
), leg AS (
    SELECT id AS leg, source_id, source_name, CASE WHEN is_any THEN direction ELSE '' END AS said_direction,
        is_any AS account_is_any_identity, account_code, from_peer, to_peer, from_number, to_number, started_at
    FROM record
), {ATTRIBUTED}, told AS MATERIALIZED (
    SELECT r.*, a.customer_id AS named_id, a.other_customer_id AS other_named_id, a.direction AS named_direction
    FROM record r FULL JOIN attributed a ON a.leg = r.id
), chosen AS MATERIALIZED (
    SELECT DISTINCT ON (t.call_key) t.id, t.record_id, t.call_key,
        CASE
            WHEN t.named_id IS NULL THEN t.customer_id
            WHEN t.named_id = t.other_named_id THEN t.named_id
        END AS customer_id,
        coalesce(CASE WHEN t.is_any THEN t.direction END, t.named_direction, t.direction) AS direction
    FROM told t
    WHERE (t.reason <> ALL(%(needs_a_customer)s) OR t.named_id = t.other_named_id)
      AND NOT EXISTS (SELECT FROM billing_ledgerentry l WHERE l.key = t.call_key OFFSET 0)
      AND NOT EXISTS (SELECT FROM billing_freecall f WHERE f.call_key = t.call_key OFFSET 0)
      AND NOT EXISTS (
          SELECT FROM (SELECT state FROM billing_quarantinedcall WHERE call_key = t.call_key OFFSET 0) o
          WHERE o.state = 'released' OFFSET 0
      )
      AND NOT EXISTS (
          SELECT FROM billing_callrecord c
          WHERE c.call_id = t.call_id AND c.source_id = t.source_id AND c.content_hash <> t.content_hash
            AND NOT EXISTS (
                SELECT FROM billing_quarantinedcall q
                WHERE q.call_key = t.call_key AND q.content_hash = c.content_hash OFFSET 0
            )
          OFFSET 0
      )
    ORDER BY t.call_key, t.id
)
"""  # noqa: S608 - a text of ours

_RELEASE = f"""
WITH {_CHOSEN}, batch AS (
    INSERT INTO billing_arrivalbatch (kind, call_count)
    SELECT %(kind)s, count(*) FROM chosen HAVING count(*) > 0
    RETURNING id
), released AS (
    UPDATE billing_quarantinedcall q
    SET state = 'released', release_batch_id = batch.id, customer_id = chosen.customer_id,
        direction = chosen.direction
    FROM chosen, batch WHERE q.id = chosen.id
    RETURNING q.id
), told_anew AS (
    UPDATE billing_quarantinedcall q SET reason = why.reason, detail = why.detail
    FROM (
        SELECT f.id,
            CASE WHEN f.named_id IS NULL THEN 'no_customer' ELSE 'ambiguous_customer' END AS reason,
            CASE WHEN f.named_id IS NULL THEN {NAMES_NOBODY} ELSE {NAMES_TWO} END AS detail
        FROM told f
        CROSS JOIN LATERAL (SELECT f.named_id AS customer_id, f.other_named_id AS other_customer_id) a
        WHERE f.reason = ANY(%(needs_a_customer)s) AND (f.named_id IS NULL OR f.named_id <> f.other_named_id)
    ) why
    WHERE q.id = why.id AND (q.reason, q.detail) IS DISTINCT FROM (why.reason, why.detail)
)
SELECT count(*) FROM released
"""  # noqa: S608 - a text of ours

# In the columns of billing_pendingcall, as if they lay in a batch already.
_FATES = f"""
WITH {_CHOSEN}, released_call AS MATERIALIZED (
    SELECT c.id, 0::bigint AS batch_id, chosen.customer_id, chosen.call_key, c.content_hash, chosen.direction,
        c.from_number, c.to_number, c.started_at, c.answered_at, c.seconds, c.is_answered, c.is_internal,
        c.booked_month
    FROM chosen JOIN billing_callrecord c ON c.id = chosen.record_id
), {rated("true", of="released_call", straight_from_rates=True)}, fate AS (
    SELECT outcome, reason, currency, price, rate_id, billed_seconds, customer_id FROM rated
    UNION ALL
    SELECT 'left', reason, NULL, NULL, NULL, NULL, NULL FROM waiting WHERE id NOT IN (SELECT id FROM chosen)
)
SELECT outcome, reason, count(*), CASE outcome WHEN 'charge' THEN currency END, sum(price),
    max(rate_id), max(billed_seconds), (SELECT account FROM billing_customer WHERE id = max(fate.customer_id))
FROM fate GROUP BY 1, 2, 4 ORDER BY 3 DESC, 1, 2
"""  # noqa: S608 - a text of ours
