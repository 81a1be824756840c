"""Resetting the breaker: by staff, after a look at what was held. What is still true goes out, paced."""

from collections import Counter
from dataclasses import dataclass, field

from django.db import connection, transaction
from django.db.models.functions import Now

from billing import episodes, halting
from billing.halting import Halted
from billing.models import HaltCause, Process
from notifications import breaker, history, instance
from notifications.models import Because, BreakerTrip, NotificationLog, StaffOrder, State, Verb
from notifications.telling import still_true


@dataclass(frozen=True)
class Release:
    """What a reset would do, or did: mails that go out, by kind, so many a minute, and mails that are no longer true.

    `trip`: why the breaker had tripped; `doubt`: why this database was not trusted to mail. Both may be empty.
    """

    trip: str
    doubt: str
    goes_out: dict[str, int] = field(default_factory=dict)
    over: int = 0
    a_minute: int = 0

    @property
    def mails(self) -> int:
        return sum(self.goes_out.values())


def preview() -> Release:
    """What `reset` would do just now. Writes nothing."""
    held = _held()
    true = still_true(log.pk for log in held)
    return _release(held, true, breaker.open_trip())


def reset(*, reason: str, by: str) -> tuple[Release, Halted]:
    """Let mails go out again after the breaker has tripped, or this database was not trusted. May be repeated.

    Ends only the breaker's own halt. Held mails are judged anew: those that are still true go out as an order of the
    person who resets, so many a minute; mails held for one recipient's daily limit stay held. Not inside a transaction.
    """
    with transaction.atomic(durable=True):
        trip = BreakerTrip.objects.select_for_update().filter(reset_at__isnull=True).first()
        held = _held(lock=True)
        true = still_true(log.pk for log in held)
        release = _release(held, true, trip)
        _let_go(held, true, reason=reason, by=by, a_minute=release.a_minute)
        BreakerTrip.objects.filter(reset_at__isnull=True).update(reset_at=Now(), reset_by=by, reset_because=reason)
        instance.confirm(by=by)
    ended = halting.resume(Process.NOTIFICATIONS, reason=reason, by=by, cause=HaltCause.BREAKER)
    return release, ended


def _held(*, lock: bool = False) -> list[NotificationLog]:
    rows = NotificationLog.objects.filter(state=State.HELD, because=Because.BREAKER).order_by("pk")
    return list(rows.select_for_update(of=("self",)) if lock else rows)


def _release(held: list[NotificationLog], true: set[int], trip: BreakerTrip | None) -> Release:
    return Release(
        trip=trip.reason if trip else "",
        doubt=instance.doubt(),
        goes_out=dict(Counter(log.kind for log in held if log.pk in true)),
        over=sum(log.pk not in true for log in held),
        a_minute=breaker.limits_for_preview().released_a_minute,
    )


def _let_go(held: list[NotificationLog], true: set[int], *, reason: str, by: str, a_minute: int) -> None:
    going = [log for log in held if log.pk in true]
    over = [log for log in held if log.pk not in true]
    if going:
        order = StaffOrder.objects.create(verb=Verb.RELEASE, by=by, reason=reason, count=len(going))
        history.note([log.pk for log in going], by=by, verb=Verb.RELEASE, reason=reason, to=State.PENDING, order=order)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE notifications_notificationlog n SET
                    state = 'pending', because = '', detail = %(detail)s, order_id = %(order)s, try_count = 0,
                    next_try_at = statement_timestamp() + make_interval(secs => (place - 1) * 60.0 / %(a_minute)s)
                FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS released (id, place) WHERE n.id = released.id
                """,
                {
                    "ids": [log.pk for log in going],
                    "order": order.pk,
                    "detail": f"released by {by}: {reason}",
                    "a_minute": a_minute,
                },
            )
    history.note([log.pk for log in over], by=by, verb=Verb.RELEASE, reason="no longer true", to=State.SUPPRESSED)
    for log in sorted(over, key=lambda log: log.customer_id):  # as everybody locks customers
        if log.episode_id is not None:
            episodes.close_recovered(log.episode_id)
    NotificationLog.objects.filter(pk__in=[log.pk for log in over]).update(
        state=State.SUPPRESSED, because=Because.RECOVERED, detail="no longer true when the breaker was reset"
    )
