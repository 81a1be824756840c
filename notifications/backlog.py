"""What waits on the notification side: mails by state, since when the oldest is owed, what staff must look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from django.db import connection
from django.db.models import Count, Min

from billing.since import first_ids
from notifications import breaker
from notifications.kinds import APOLOGY
from notifications.models import NotificationLog, State

OPEN_STATES = (State.PENDING, State.CLAIMED, State.SENDING, State.UNCERTAIN, State.HELD, State.FAILED)


@dataclass(frozen=True)
class Backlog:
    """Mails in each unsettled state, and since when the oldest is owed. `tripped`: why the breaker tripped."""

    counts: dict[str, int]
    oldest_owed_at: datetime | None
    tripped: str


def backlog() -> Backlog:
    """What is waiting now. Goes by the states that are not settled, so that it is quick whatever the history."""
    rows = NotificationLog.objects.filter(state__in=OPEN_STATES).values("state").annotate(count=Count("pk"))
    counts = {row["state"]: row["count"] for row in rows}
    oldest = NotificationLog.objects.filter(state=State.PENDING).aggregate(at=Min("created_at"))["at"]
    trip = breaker.open_trip()
    return Backlog(
        {state.value: counts.get(state.value, 0) for state in OPEN_STATES}, oldest, trip.reason if trip else ""
    )


@dataclass(frozen=True)
class Waiting:
    """Mails in one unsettled state: how many (counted so far, and one more: beyond), since when the oldest is owed.

    `apologies`: how many of those that were counted are apologies.
    """

    state: str
    count: int
    oldest_at: datetime | None
    apologies: int = 0


def at_a_glance(*, counted_to: int) -> dict[str, Waiting]:
    """What is unsettled now, by state; by the indexes of those states, in milliseconds, however much it is."""
    with connection.cursor() as cursor:
        cursor.execute(_GLANCE, {"most": counted_to + 1})
        return {row[0]: Waiting(*row) for row in cursor.fetchall()}


# Each in its own words, so that each goes by the index that is made for it.
_GLANCE = " UNION ALL ".join(
    f"SELECT '{state}', count(*), min(created_at), count(*) FILTER (WHERE kind = '{APOLOGY.name}')"  # noqa: S608
    " FROM (SELECT created_at, kind FROM notifications_notificationlog"
    f" WHERE state = '{state}' ORDER BY {order} LIMIT %(most)s) {state}"
    for state, order in [
        ("pending", "next_try_at, id"),
        ("claimed", "lease_until"),
        ("sending", "lease_until"),
        ("uncertain", "id"),
        ("held", "id"),
        ("failed", "id"),
    ]
)


@dataclass(frozen=True)
class Twice:
    """How many recipients were handed two or more mails of one kind within a day, none of them marked as errant yet.

    `is_cut`: more mails went out than were looked at, the newest. `last_at`: when the last of them went out.
    `to_apologise_for`: mails of that day that were marked as errant, and whose recipients got no apology since.
    """

    recipients: int
    last_at: datetime | None
    is_cut: bool
    to_apologise_for: int


def handed_over_twice(*, looked_at: int) -> Twice:
    """Who was handed two or more mails of a kind within 24 hours, counted as `repeats` does, and in milliseconds."""
    with connection.cursor() as cursor:
        cursor.execute(_TWICE, {"most": looked_at})
        recipients, last_at, mails, to_apologise_for = cursor.fetchone()
    return Twice(recipients, last_at, mails == looked_at, to_apologise_for)


_TWICE = f"""
WITH lately AS MATERIALIZED (
    SELECT customer_id, kind, recipient_hash, sending_at, sent_at, is_errant,
        CASE WHEN order_id IS NULL THEN 1 ELSE greatest(1, (
            SELECT count(*) FROM notifications_deliveryattempt t
            WHERE t.notification_id = n.id AND t.outcome IN ('open', 'accepted', 'unknown')
        )) END AS times
    FROM notifications_notificationlog n
    WHERE sending_at > statement_timestamp() - interval '1 day' AND state IN ('sent', 'uncertain')
    ORDER BY sending_at DESC LIMIT %(most)s
), twice AS (
    SELECT max(sending_at) AS last_at FROM lately GROUP BY customer_id, kind, recipient_hash
    HAVING sum(times) > 1 AND NOT bool_or(is_errant)
)
SELECT count(*), max(last_at), (SELECT count(*) FROM lately), (
    SELECT count(*) FROM lately n WHERE is_errant AND NOT EXISTS (
        SELECT FROM notifications_notificationlog a
        WHERE a.kind = '{APOLOGY.name}' AND a.customer_id = n.customer_id AND a.recipient_hash = n.recipient_hash
            AND a.created_at >= n.sent_at
    )
) FROM twice
"""  # noqa: S608 - a name of ours


@dataclass(frozen=True)
class DayOfMails:
    """Mails that came to be owed within the last 24 hours, by the state in which they are now.

    `ordinary`: the medians of as many hours on other days; `compared_with` says which. Without any it is empty.
    `errant`: how many of those that were sent are marked as errors of ours.
    """

    counts: dict[str, int]
    errant: int
    ordinary: dict[str, float]
    compared_with: str

    @property
    def total(self) -> int:
        return sum(self.counts.values())


DAY = timedelta(days=1)
WEEKS_COMPARED = 4
DAYS_COMPARED = 6


def last_day(*, at: datetime) -> DayOfMails:
    """The mails of the 24 hours before `at` (by the database's clock), and those of an ordinary day.

    Ordinary: the same hours one to four weeks ago, as far as Ivy was there, if it was for two weeks; else of the days
    before. Ids tell days apart, since mails get them in the order in which they come to be owed.
    """
    weeks = [timedelta(weeks=number) for number in range(1, WEEKS_COMPARED + 1)]
    days = [timedelta(days=number) for number in range(1, DAYS_COMPARED + 1)]
    ago = [timedelta(0), *weeks, *days]
    edges = first_ids(
        "notifications_notificationlog",
        "created_at",
        [moment for back in ago for moment in (at - back - DAY, at - back)],
    )
    first = NotificationLog.objects.order_by("pk").values_list("created_at", flat=True).first()
    was_there = [back for back in ago[1:] if first is not None and first <= at - back - DAY]
    same_weekdays = [back for back in weeks if back in was_there]
    compared = same_weekdays if len(same_weekdays) >= 2 else [back for back in days if back in was_there]
    windows = {back: (edges[2 * place], edges[2 * place + 1]) for place, back in enumerate(ago)}
    (today, *others), errant = _count_by_state([windows[back] for back in [timedelta(0), *compared]])
    states = {state for counts in (today, *others) for state in counts}
    ordinary = {state: float(median(counts.get(state, 0) for counts in others)) for state in states if others}
    return DayOfMails(today, errant, ordinary, _in_words(compared, at) if compared else "")


def _in_words(compared: Sequence[timedelta], at: datetime) -> str:
    if len(compared) >= 2 and compared[0] == timedelta(weeks=1):
        return f"median of the same hours on the last {len(compared)} {at:%A}s"
    return f"median of the last {len(compared)} days" if len(compared) > 1 else "the day before"


def _count_by_state(windows: Sequence[tuple[int, int]]) -> tuple[list[dict[str, int]], int]:
    """The mails of each window by state, and how many of the first one's are marked as errors."""
    found: list[dict[str, int]] = [{} for _ in windows]
    errant = 0
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT place, n.state, count(*), count(*) FILTER (WHERE n.is_errant)
            FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS day (low, high, place)
            JOIN notifications_notificationlog n ON n.id >= day.low AND n.id < day.high
            GROUP BY place, n.state
            """,
            [[low for low, _ in windows], [high for _, high in windows]],
        )
        for place, state, count, marked in cursor.fetchall():
            found[place - 1][state] = count
            errant += marked if place == 1 else 0
    return found, errant
