"""Stopping a burst that nobody meant: limits counted in PostgreSQL, judged when mails are owed and when claimed.

Tripped, the breaker holds every mail that waits and halts notifications, with the reason; only staff reset it. Mails by
order of staff are exempt: their budget is the count that was previewed.

Who trips it holds no lock: `trip` waits for the chunks of others, as every halt does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from billing import halting, prepared
from billing.models import HaltCause, Process
from notifications import history
from notifications.models import Because, BreakerLimits, BreakerTrip, NotificationLog, State

BY = "breaker"
BUSY_DAYS = 35
CHARGED_DAYS = 30


@dataclass(frozen=True)
class Reached:
    """A limit that was reached, and what was counted, in a sentence."""

    limit: str
    reason: str


def limits() -> BreakerLimits:
    """The limits as staff have set them; written down when they are first asked for."""
    found, _ = BreakerLimits.objects.get_or_create(pk=1)
    return found


def limits_for_preview() -> BreakerLimits:
    """The limits as staff have set them; nothing is written."""
    return BreakerLimits.objects.filter(pk=1).first() or BreakerLimits(pk=1)


def judge_new(logs: Sequence[NotificationLog]) -> Reached | None:
    """Judge mails that are about to be owed, in the transaction of the one pass that owes; the limit they break.

    Those beyond the daily limit of one recipient are marked as held, here and now. To be called before they are stored.
    """
    if not logs:
        return None
    bounds = limits()
    _hold_what_is_too_many(logs, bounds)
    going_out = [log for log in logs if log.state == State.PENDING]
    customers = len({log.customer_id for log in going_out})
    return (
        _too_many_held(logs, bounds)
        or _too_many_customers(customers, bounds)
        or _too_many_an_hour(len(going_out), bounds)
    )


def mails_allowed_now(wanted: int) -> int:
    """How many of the mails wanted may still be claimed within this hour, those that workers hold counted as sent.

    To be called by one claimer at a time: it is the claim that reserves, so that nothing goes beyond the limit.
    """
    rows = prepared.fetch(_COUNTED, {})
    limit, counted = rows[0] if rows else (limits().mails_an_hour, _sent_this_hour() + _in_hand())
    if limit - counted >= wanted:
        return wanted  # the busiest hour is only counted when it matters: it looks at the mails of weeks
    return max(0, min(wanted, _mails_an_hour(limits()) - counted))


_COUNTED = """
SELECT b.mails_an_hour,
    (SELECT count(*) FROM notifications_notificationlog
     WHERE sending_at > statement_timestamp() - interval '1 hour' AND order_id IS NULL)
    + (SELECT count(*) FROM notifications_notificationlog WHERE state = 'claimed' AND order_id IS NULL)
FROM notifications_breakerlimits b WHERE b.id = 1
"""


@dataclass(frozen=True)
class Load:
    """How near the breaker is to its limits: what is counted of this hour, and how much is allowed.

    `ordered_this_hour`: what went out besides by order of staff, and does not count.
    """

    mails_this_hour: int
    ordered_this_hour: int
    mails_allowed: int
    customers_held_this_hour: int
    customers_held_allowed: int
    limits: BreakerLimits

    @property
    def percent(self) -> int:
        return min(100, self.mails_this_hour * 100 // max(1, self.mails_allowed))


def load() -> Load:
    """How near the breaker is to its limits now. Writes nothing."""
    bounds = limits_for_preview()
    held = NotificationLog.objects.filter(
        because=Because.TOO_MANY, state=State.HELD, created_at__gt=Now() - timedelta(hours=1)
    )
    return Load(
        mails_this_hour=_sent_this_hour() + _in_hand(),
        ordered_this_hour=NotificationLog.objects.filter(
            sending_at__gt=Now() - timedelta(hours=1), order__isnull=False
        ).count(),
        mails_allowed=_mails_an_hour(bounds),
        customers_held_this_hour=held.aggregate(count=Count("customer", distinct=True))["count"],
        customers_held_allowed=bounds.held_customers_an_hour,
        limits=bounds,
    )


def hour_is_full() -> Reached:
    """What to trip with when no mail may be claimed any more although some wait."""
    mails = _sent_this_hour() + _in_hand()
    return Reached("mails_an_hour", f"{mails} mails went out within an hour or are about to, as many as are allowed")


def trip(reached: Reached) -> bool:
    """Halt notifications and hold every mail that waits; False if the breaker had tripped already. May be repeated.

    Must not be called inside a transaction. Mails by order of staff are held as well: staff look at everything anew.
    """
    try:
        with transaction.atomic(durable=True):
            BreakerTrip.objects.create(limit=reached.limit, reason=reached.reason)
        is_first = True
    except IntegrityError:
        is_first = False
    halting.halt(Process.NOTIFICATIONS, reason=reached.reason, by=BY, cause=HaltCause.BREAKER)
    hold_what_waits()
    return is_first


def hold_what_waits() -> int:
    """Hold every mail that is pending while the breaker is tripped; how many.

    Those in workers' hands are stopped by the halt and follow later.
    """
    with transaction.atomic(durable=True):
        # Locked: what a reset lets go just now must not be held again by who saw the trip before.
        trip = BreakerTrip.objects.select_for_update().filter(reset_at__isnull=True).first()
        if trip is None:
            return 0
        detail = trip.reason
        rows = list(
            NotificationLog.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(state=State.PENDING)
            .order_by("pk")
        )
        history.note([log.pk for log in rows], by=BY, verb="hold", reason=detail, to=State.HELD)
        return NotificationLog.objects.filter(pk__in=[row.pk for row in rows]).update(
            state=State.HELD, because=Because.BREAKER, detail=detail, token=None, lease_until=None
        )


def open_trip() -> BreakerTrip | None:
    """The trip that nobody has reset yet, if there is one."""
    return BreakerTrip.objects.filter(reset_at__isnull=True).first()


def _hold_what_is_too_many(logs: Sequence[NotificationLog], bounds: BreakerLimits) -> None:
    """Hold what goes beyond so many mails a day of one kind to one recipient of one customer."""
    sent = Counter(
        {
            (customer, kind, recipient): count
            for customer, kind, recipient, count in NotificationLog.objects.filter(
                Q(sending_at__gt=Now() - timedelta(days=1)) | Q(state__in=[State.PENDING, State.CLAIMED]),
                customer__in={log.customer_id for log in logs},
                order=None,
            )
            .values_list("customer", "kind", "recipient_hash")
            .annotate(count=Count("pk"))
        }
    )
    for log in logs:
        which = (log.customer_id, log.kind, log.recipient_hash)
        if log.state != State.PENDING:
            continue
        if sent[which] >= bounds.mails_a_recipient_a_day:
            log.state, log.because = State.HELD, Because.TOO_MANY
            log.detail = f"{sent[which]} mails of kind {log.kind} went to this recipient within a day"
        sent[which] += 1


def _too_many_held(logs: Sequence[NotificationLog], bounds: BreakerLimits) -> Reached | None:
    now_held = {log.customer_id for log in logs if log.because == Because.TOO_MANY}
    if not now_held:
        return None
    before = NotificationLog.objects.filter(
        because=Because.TOO_MANY, state=State.HELD, created_at__gt=Now() - timedelta(hours=1)
    ).values_list("customer", flat=True)
    held = len(now_held | set(before))
    if held < bounds.held_customers_an_hour:
        return None
    return Reached("held_customers_an_hour", f"{held} customers were owed too many mails within an hour")


def _too_many_customers(customers: int, bounds: BreakerLimits) -> Reached | None:
    if customers <= bounds.customers_a_pass:
        return None  # the share is only counted when it matters: it looks at every customer
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM billing_customer cu WHERE EXISTS (
                SELECT FROM billing_ledgerentry l
                WHERE l.customer_id = cu.id AND l.kind IN ('call', 'recurring', 'one_off')
                  AND l.posted_at > statement_timestamp() - make_interval(days => %s)
            )
            """,
            [CHARGED_DAYS],
        )
        charged = cursor.fetchone()[0]
    allowed = max(bounds.customers_a_pass, int(charged * bounds.share_of_customers_a_pass))
    if customers <= allowed:
        return None
    return Reached("customers_a_pass", f"{customers} customers would be mailed in one pass; {allowed} are allowed")


def _too_many_an_hour(new: int, bounds: BreakerLimits) -> Reached | None:
    waiting = NotificationLog.objects.filter(state=State.PENDING, order=None).count()
    mails = new + waiting + _sent_this_hour() + _in_hand()
    if mails <= bounds.mails_an_hour:
        return None
    allowed = _mails_an_hour(bounds)
    if mails <= allowed:
        return None
    return Reached("mails_an_hour", f"{mails} mails would go out within an hour; {allowed} are allowed")


def _mails_an_hour(bounds: BreakerLimits) -> int:
    """The limit of this hour: the one that was set, or the busiest hour of the last weeks times the factor, if more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(max(mails), 0) FROM (
                SELECT count(*) AS mails FROM notifications_notificationlog
                WHERE sending_at > statement_timestamp() - make_interval(days => %s)
                  AND sending_at <= statement_timestamp() - interval '1 hour' AND order_id IS NULL
                GROUP BY date_trunc('hour', sending_at)
            ) hourly
            """,
            [BUSY_DAYS],
        )
        busiest = cursor.fetchone()[0]
    return max(bounds.mails_an_hour, int(busiest * bounds.busiest_hour_factor))


def _sent_this_hour() -> int:
    return NotificationLog.objects.filter(sending_at__gt=Now() - timedelta(hours=1), order=None).count()


def _in_hand() -> int:
    return NotificationLog.objects.filter(state=State.CLAIMED, order=None).count()
