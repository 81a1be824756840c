"""What waits for a person to look at, and what of it has the same cause: so that a thousand mails are one decision.

A queue is read by a partial index, and at most LOOKED_AT mails of it at once: it stays quick whatever the log holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, models
from django.db.models import DateTimeField, Exists, F, Func, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce, Now, TruncHour

from notifications import history, kinds
from notifications.models import NotificationHistory, NotificationLog, StaffOrder, State, Verb

LOOKED_AT = 100_000
CAUSES_SHOWN = 50
MOST_AT_ONCE = 50_000
"""Mails in one order: a few seconds' work."""


class Queue(models.TextChoices):
    """A queue of mails by what can be decided about them; called as the state of its mails is."""

    UNCERTAIN = "uncertain", str(State.UNCERTAIN.label).capitalize()
    HELD = "held", str(State.HELD.label).capitalize()
    FAILED = "failed", str(State.FAILED.label).capitalize()
    ERRANT = "errant", "Errant"
    WAITING = "waiting", str(State.PENDING.label).capitalize()
    SENT = "sent", "Sent lately"


VERBS: dict[Queue, tuple[Verb, ...]] = {
    Queue.UNCERTAIN: (Verb.DELIVERED, Verb.RESEND, Verb.SUPPRESS),
    Queue.HELD: (Verb.APPROVE, Verb.SUPPRESS),
    Queue.FAILED: (Verb.RETRY, Verb.SUPPRESS),
    Queue.ERRANT: (Verb.APOLOGISE,),
    Queue.WAITING: (Verb.SUPPRESS,),
    Queue.SENT: (Verb.ERRANT,),
}
"""What can be done with the mails of a queue; what is done most comes first."""

STATES: dict[Queue, State] = {
    Queue.UNCERTAIN: State.UNCERTAIN,
    Queue.HELD: State.HELD,
    Queue.FAILED: State.FAILED,
    Queue.WAITING: State.PENDING,
    Queue.ERRANT: State.SENT,
    Queue.SENT: State.SENT,
}

NEWEST_FIRST = frozenset({Queue.ERRANT, Queue.SENT})

ORDERED_BY = {Queue.WAITING: "next_try_at", Queue.SENT: "sending_at"}
"""What the queue's index is ordered by, where that is not the id: by id, all that was ever owed would be read."""

BY_ORDER = frozenset({Queue.ERRANT, Queue.SENT})
"""Where orders of staff tell the cause; the mail server's thanks, another one for each mail, tell none."""

AGES: dict[str, tuple[str, timedelta, bool]] = {
    "hour": ("of the last hour", timedelta(hours=1), False),
    "day": ("of the last 24 hours", timedelta(days=1), False),
    "week": ("of the last 7 days", timedelta(days=7), False),
    "older-than-day": ("older than 24 hours", timedelta(days=1), True),
    "older-than-week": ("older than 7 days", timedelta(days=7), True),
}
"""Name: words, how long ago, and whether before then."""


@dataclass(frozen=True)
class Which:
    """Which mails of a queue: those that all these hold for; what is empty leaves it open.

    `words`: what happened, without what differs from mail to mail (see `Cause`); `hour`: the hour of `Cause`; `order`:
    its order, 0 for none.
    `apologised`, of errant ones: those whose recipient got an apology since; otherwise the others.
    """

    queue: Queue
    kind: str = ""
    partner: str = ""
    alert: int | None = None
    account: str = ""
    because: str = ""
    words: str | None = None
    hour: datetime | None = None
    order: int | None = None
    age: str = ""
    apologised: bool = False

    @property
    def newest_first(self) -> bool:
        return self.queue in NEWEST_FIRST


@dataclass(frozen=True)
class Cause:
    """Mails of a queue that are where they are for the same reason, and came there in the same hour (UTC).

    `order`: in a queue of BY_ORDER the order that marked or sent them, 0 for none.
    """

    kind: str
    partner: str
    because: str
    words: str
    hour: datetime
    count: int
    oldest: datetime
    newest: datetime
    example: int
    order: int | None = None


@dataclass(frozen=True)
class Causes:
    """The commonest causes in a queue; `total` mails and `cause_count` causes were found.

    `is_cut`: there are more mails than were looked at.
    """

    causes: list[Cause]
    total: int = 0
    cause_count: int = 0
    is_cut: bool = False

    @property
    def others(self) -> int:
        """Mails of the causes that are not shown."""
        return self.total - sum(cause.count for cause in self.causes)

    @property
    def other_causes(self) -> int:
        """How many causes are not shown."""
        return self.cause_count - len(self.causes)


# When a mail came where it is: when it was last past the point of no return, else when it was owed.
HAPPENED_AT = Coalesce("sending_at", "created_at", output_field=DateTimeField())

# What happened, without addresses, long numbers and the ids of mail servers.
_WORDS = r"left(regexp_replace(%(expressions)s, '\S+@\S+|\S*\d{4,}\S*|\m(?=\w*\d)\w{8,}\M', '…', 'g'), 200)"
WORDS = Func(F("detail"), template=_WORDS, output_field=models.TextField())


def rows(which: Which) -> QuerySet[NotificationLog]:
    """The mails, in no order."""
    found = NotificationLog.objects.filter(state=STATES[which.queue])
    if which.queue == Queue.ERRANT:
        found = found.filter(Exists(_apology_since()) if which.apologised else ~Exists(_apology_since()))
        found = found.filter(is_errant=True)
    if which.queue == Queue.SENT:
        found = found.filter(is_errant=False)
    return _narrowed(found, which)


def _narrowed(found: QuerySet[NotificationLog], which: Which) -> QuerySet[NotificationLog]:
    plain = {"kind": which.kind, "because": which.because, "alert": which.alert}
    found = found.filter(**{name: value for name, value in plain.items() if value})
    if which.partner:
        found = found.filter(partner__slug=which.partner)
    if which.account:
        found = found.filter(customer__account=which.account)
    if which.words is not None:
        # What was told without anything that differs is alike to the letter: in a burst, nearly all.
        found = found.alias(words=WORDS).filter(Q(detail=which.words) | Q(words=which.words))
    if which.hour is not None:
        found = found.alias(happened_at=HAPPENED_AT).filter(
            happened_at__gte=which.hour, happened_at__lt=which.hour + timedelta(hours=1)
        )
    if which.order is not None:
        found = _of_order(found, which)
    age = which.age
    if which.queue == Queue.SENT:
        # By an index: there are no others of all that was ever sent.
        age = age if age in {"hour", "day", "week"} else "day"
        return found.filter(sending_at__gt=Now() - AGES[age][1])
    if age in AGES:
        _, ago, is_before = AGES[age]
        edge: Any = Now() - ago
        found = found.alias(happened_at=HAPPENED_AT).filter(
            Q(happened_at__lte=edge) if is_before else Q(happened_at__gt=edge)
        )
    return found


def _of_order(found: QuerySet[NotificationLog], which: Which) -> QuerySet[NotificationLog]:
    if which.queue != Queue.ERRANT:
        return found.filter(order=which.order or None)
    marks = NotificationHistory.objects.filter(notification=OuterRef("pk"), verb=Verb.ERRANT)
    return found.filter(Exists(marks.filter(order=which.order)) if which.order else ~Exists(marks))


def _apology_since() -> QuerySet[NotificationLog]:
    """An apology to the same recipient, owed after the mail went out."""
    return NotificationLog.objects.filter(
        customer=OuterRef("customer"),
        kind=kinds.APOLOGY.name,
        recipient_hash=OuterRef("recipient_hash"),
        created_at__gte=OuterRef("sent_at"),
    )


def apology_since(errant: NotificationLog) -> NotificationLog | None:
    """The last apology that its recipient was owed after this mail went out."""
    return (
        NotificationLog.objects.filter(
            customer=errant.customer_id,
            kind=kinds.APOLOGY.name,
            recipient_hash=errant.recipient_hash,
            created_at__gte=errant.sent_at,
        )
        .order_by("-created_at", "-pk")
        .first()
    )


def page(which: Which, *, after: int | None = None, size: int) -> list[NotificationLog]:
    """The next mails in the queue's order, after the one with that id; with customer, partner and content."""
    found = in_order(which) if after is None else _beside(which, after)
    ids = list(found.values_list("pk", flat=True)[:size])
    known = NotificationLog.objects.select_related("customer", "partner", "content", "order").annotate(
        happened_at=HAPPENED_AT
    )
    mails = known.in_bulk(ids)
    return [mails[pk] for pk in ids]


def in_order(which: Which) -> QuerySet[NotificationLog]:
    """The mails in the queue's order: the oldest first, or the newest."""
    return _ordered(rows(which), which, is_down=which.newest_first)


def neighbours(which: Which, pk: int) -> tuple[int | None, int | None]:
    """The ids of the mails before and after this one in the queue, whether it is still there or not."""
    before = _beside(which, pk, is_back=True).values_list("pk", flat=True).first()
    after = _beside(which, pk).values_list("pk", flat=True).first()
    return before, after


def _beside(which: Which, pk: int, *, is_back: bool = False) -> QuerySet[NotificationLog]:
    """The mails after this one in the queue's order, the nearest first; or those before it."""
    is_down = which.newest_first != is_back
    far = "lt" if is_down else "gt"
    column = ORDERED_BY.get(which.queue)
    beyond = Q(**{f"pk__{far}": pk})
    if column:
        edge = NotificationLog.objects.filter(pk=pk).values(column)[:1]
        beyond = Q(**{f"{column}__{far}": edge}) | (Q(**{column: edge}) & beyond)
    return _ordered(rows(which).filter(beyond), which, is_down=is_down)


def _ordered(found: QuerySet[NotificationLog], which: Which, *, is_down: bool) -> QuerySet[NotificationLog]:
    # By a sum, which no index is ordered by: in search of the first fifty PostgreSQL would go through the whole log by
    # id, since it takes a queue's mails for spread over it; those of a burst are all at its end.
    by = F(ORDERED_BY[which.queue]) if which.queue in ORDERED_BY else F("pk") + 0
    return found.order_by(by.desc() if is_down else by.asc(), "-pk" if is_down else "pk")


def ids(which: Which) -> tuple[list[int], bool]:
    """The mails that one order can be about, and whether there are more."""
    found = list(in_order(which).values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    return found[:MOST_AT_ONCE], len(found) > MOST_AT_ONCE


def keys(ids: Iterable[int]) -> list[str]:
    """The keys of these mails, in id order; ids that there are none of are left out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM notifications_notificationlog WHERE id = ANY(%s) ORDER BY id", [list(ids)])
        return [key for (key,) in cursor.fetchall()]


def counts() -> dict[Queue, int]:
    """How many mails are in each queue, up to LOOKED_AT. Not of those sent lately, who are counted when asked for."""
    counted = [queue for queue in Queue if queue != Queue.SENT]
    parts: list[str] = []
    params: list[Any] = []
    for queue in counted:
        sql, those = rows(Which(queue)).order_by().values("pk")[:LOOKED_AT].query.sql_with_params()
        parts.append(f"(SELECT count(*) FROM ({sql}) AS queue)")  # noqa: S608 - queries of ours
        params += those
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        return dict(zip(counted, cursor.fetchone(), strict=True))


def causes(which: Which) -> Causes:
    """What put these mails where they are, the commonest first. One query over at most LOOKED_AT mails."""
    looked_at = (
        rows(which)
        .order_by()
        .annotate(hour=TruncHour(HAPPENED_AT), happened_at=HAPPENED_AT)
        .values("id", "kind", "partner_id", "because", "detail", "hour", "happened_at", "order_id")[: LOOKED_AT + 1]
    )
    sql, params = looked_at.query.sql_with_params()
    if which.queue in BY_ORDER:
        return _by_order(which.queue, sql, params)
    words = _WORDS % {"expressions": "detail"}
    with connection.cursor() as cursor:
        # Alike to the letter first: in a burst most are, and the words need to be made only once.
        cursor.execute(
            f"""
            WITH looked_at AS MATERIALIZED ({sql}), alike AS (
                SELECT kind, partner_id, because, detail, hour, count(*) AS count,
                    min(happened_at) AS oldest, max(happened_at) AS newest, min(id) AS example
                FROM looked_at GROUP BY 1, 2, 3, 4, 5
            ), cause AS (
                SELECT kind, partner_id, because, {words} AS words, hour, sum(count)::bigint AS count,
                    min(oldest) AS oldest, max(newest) AS newest, min(example) AS example
                FROM alike GROUP BY 1, 2, 3, 4, 5
            )
            SELECT c.kind, p.slug, c.because, c.words, c.hour, c.count, c.oldest, c.newest, c.example,
                (sum(c.count) OVER ())::bigint, count(*) OVER ()
            FROM cause c JOIN billing_partner p ON p.id = c.partner_id
            ORDER BY c.count DESC, c.newest DESC LIMIT %s
            """,  # noqa: S608 - a query and words of ours
            [*params, CAUSES_SHOWN],
        )
        found = cursor.fetchall()
    if not found:
        return Causes([])
    total, cause_count = found[0][9:]
    return Causes([Cause(*row[:9]) for row in found], min(total, LOOKED_AT), cause_count, total > LOOKED_AT)


def _by_order(queue: Queue, looked_at: str, params: Sequence[Any]) -> Causes:
    """Of mails that went out: by whose order they did or, of errant ones, were marked; and then by whose they did."""
    mark = """
        (SELECT h.order_id FROM notifications_notificationhistory h
        WHERE h.notification_id = looked_at.id AND h.verb = 'errant' ORDER BY h.id DESC LIMIT 1)
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH looked_at AS MATERIALIZED ({looked_at}), cause AS (
                SELECT kind, partner_id, hour, {mark if queue == Queue.ERRANT else "order_id"} AS by_order,
                    count(*) AS count, min(happened_at) AS oldest, max(happened_at) AS newest, min(id) AS example,
                    CASE WHEN count(order_id) = count(*) AND min(order_id) = max(order_id)
                        THEN min(order_id) END AS sent
                FROM looked_at GROUP BY 1, 2, 3, 4
            )
            SELECT c.kind, p.slug, c.hour, c.count, c.oldest, c.newest, c.example, c.by_order, c.sent,
                (sum(c.count) OVER ())::bigint, count(*) OVER ()
            FROM cause c JOIN billing_partner p ON p.id = c.partner_id
            ORDER BY c.count DESC, c.newest DESC LIMIT %s
            """,  # noqa: S608 - queries of ours
            [*params, CAUSES_SHOWN],
        )
        found = cursor.fetchall()
    if not found:
        return Causes([])
    orders = StaffOrder.objects.in_bulk({pk for row in found for pk in row[7:9] if pk is not None})
    causes = []
    for kind, partner, hour, count, oldest, newest, example, by_order, sent, *_ in found:
        steps = [history.of_order(orders.get(pk), kind) for pk in dict.fromkeys([sent, by_order]) if pk is not None]
        words = "; then ".join([*(step.rstrip(".") for step in steps[:-1]), *steps[-1:]]) or (
            "" if queue == Queue.ERRANT else "went out by itself"
        )
        causes.append(Cause(kind, partner, "", words, hour, count, oldest, newest, example, by_order or 0))
    total, cause_count = found[0][9:]
    return Causes(causes, min(total, LOOKED_AT), cause_count, total > LOOKED_AT)


def narrowed_to(which: Which, cause: Cause) -> Which:
    """Only the mails of this cause."""
    return replace(
        which,
        kind=cause.kind,
        partner=cause.partner,
        because=cause.because,
        words=None if which.queue in BY_ORDER else cause.words,
        order=cause.order,
        hour=cause.hour,
    )


def done_since(which: Which, mark: int) -> list[tuple[str, str, int]]:
    """Who has done what to how many mails of this queue since `reviewing.last_noted` gave the mark: by, verb, count.

    By kind, partner, alert and customer: what happened to a mail is told otherwise once something was done to it.
    """
    whose = {
        "notification__kind": which.kind,
        "notification__partner__slug": which.partner,
        "notification__alert": which.alert,
        "notification__customer__account": which.account,
    }
    found = NotificationHistory.objects.filter(
        pk__gt=mark, from_state=STATES[which.queue], **{name: value for name, value in whose.items() if value}
    )
    return list(
        found.values("by", "verb")
        .annotate(count=models.Count("notification", distinct=True))
        .order_by("-count", "by", "verb")
        .values_list("by", "verb", "count")
    )


def queue_of(log: NotificationLog) -> Queue | None:
    """The queue that a mail is in; None: nothing can be decided about it."""
    if log.state == State.SENT:
        return Queue.ERRANT if log.is_errant else Queue.SENT
    return next((queue for queue, state in STATES.items() if state == log.state), None)
