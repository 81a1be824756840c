"""Who is owed a mail: falls that nobody was told of yet, reminders, recoveries. Written as rows, one pass at a time.

Everything is asked of the database at once and decided here; keys keep a mail from being owed twice, whatever happens.
Halted or not, rows are owed: it is handing over that a halt stops.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from notifications import breaker, kinds
from notifications.kinds import Fall, Kind, recipient_hash, why_unusable
from notifications.models import Because, NotificationContent, NotificationLog, State

LOCK = 1_230_010
RESTORED_WITHIN_DAYS = 2


@dataclass(frozen=True)
class Owed:
    """A mail that somebody is to get, before it is a row."""

    kind: Kind
    fall: Fall
    recipient: str
    reminder_number: int = 0

    @property
    def key(self) -> str:
        return self.kind.key(self.fall, self.recipient, reminder_number=self.reminder_number)


@dataclass
class Owing:
    """What a pass has written. `trip`: the limit that these mails would break; they are held then."""

    created: int = 0
    suppressed: int = 0
    held: int = 0
    failed: int = 0
    trip: breaker.Reached | None = None


def owe(*, at: datetime, doubt: str = "") -> Owing:
    """Write a row for every mail that is owed at business time `at`. Safe to repeat; nothing while another does it.

    A burst beyond the breaker's limits is written as held, and the breaker trips before anything of it can go. `doubt`:
    why this may be a copy of the database that mails; what is owed is written as uncertain then.
    """
    done = Owing()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, 0)", [LOCK])
        if not cursor.fetchone()[0]:
            return done
        falls = falls_to_take_up(lock=True)
        owed = [*mails_of_falls(falls), *reminders_due(at=at), *recoveries()]
        _follow_customers()
        done.suppressed += _suppress_what_is_over()
        if owed:
            _write(owed, done, doubt)
        if falls:
            cursor.execute(
                "UPDATE billing_episode SET taken_up_at = statement_timestamp() WHERE id = ANY(%s)",
                [[fall.episode_id for fall in falls]],
            )
        done.created += _owe_again()
    if done.trip is not None:
        breaker.trip(done.trip)
    return done


def falls_to_take_up(*, lock: bool = False) -> list[Fall]:
    """Open episodes that nobody has looked at yet, of active customers who are below their threshold just now."""
    return _falls(
        """
        e.closed_at IS NULL AND e.taken_up_at IS NULL AND NOT e.is_silent
          AND cu.status = 'active' AND a.is_active AND b.balance < a.threshold
        ORDER BY e.id
        """
        + ("FOR UPDATE OF e SKIP LOCKED" if lock else "")
    )


def mails_of_falls(falls: Iterable[Fall]) -> list[Owed]:
    """A mail for each recipient of each fall; which of several tells of the others is settled on writing them."""
    return [
        Owed(kinds.KINDS[fall.alert_kind], fall, recipient)
        for fall in falls
        for recipient in kinds.KINDS[fall.alert_kind].recipients(fall)
    ]


def reminders_due(*, at: datetime) -> list[Owed]:
    """The latest reminder that is due of every fall that was told of days ago; missed ones are not made up for."""
    numbers: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT e.id, least(a.remind_at_most,
                floor(extract(epoch FROM %(at)s - e.told_at) / 86400 / a.remind_every_days))::int AS number
            FROM billing_balancealert a JOIN billing_episode e ON e.alert_id = a.id
            WHERE a.remind_every_days IS NOT NULL AND a.remind_at_most > 0
              AND e.closed_at IS NULL AND e.told_at <= %(at)s - make_interval(days => a.remind_every_days)
              AND NOT EXISTS (
                  SELECT FROM notifications_notificationlog n
                  WHERE n.episode_id = e.id AND n.kind = 'reminder' AND n.reminder_number >= least(a.remind_at_most,
                      floor(extract(epoch FROM %(at)s - e.told_at) / 86400 / a.remind_every_days))
              )
            """,
            {"at": at},
        )
        numbers = dict(cursor.fetchall())
    if not numbers:
        return []
    falls = _falls(
        "e.id = ANY(%s) AND cu.status = 'active' AND a.is_active AND b.balance < a.threshold ORDER BY e.id",
        [list(numbers)],
    )
    return [
        Owed(kinds.REMINDER, fall, recipient, numbers[fall.episode_id])
        for fall in falls
        for recipient in kinds.REMINDER.recipients(fall)
    ]


def recoveries() -> list[Owed]:
    """Falls that were told of and are over since, where the customer wants to hear so. Old ones are no news."""
    falls = _falls(
        """
        e.told_at IS NOT NULL AND e.closed_at > statement_timestamp() - make_interval(days => %s)
          AND a.tells_restored AND a.is_active AND cu.status = 'active' AND b.balance >= a.threshold
          AND NOT EXISTS (SELECT FROM notifications_notificationlog n WHERE n.episode_id = e.id AND n.kind = 'restored')
        ORDER BY e.id
        """,
        [RESTORED_WITHIN_DAYS],
    )
    return [Owed(kinds.RESTORED, fall, recipient) for fall in falls for recipient in kinds.RESTORED.recipients(fall)]


def falls_below(alert_ids: Collection[int], *, at: datetime) -> list[Fall]:
    """The falls below these alerts that would begin at `at`: no episode of theirs is open yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 0, %s::timestamptz, {_OF_A_FALL} FROM billing_balancealert a"  # noqa: S608 - words of ours
            " JOIN billing_customer cu ON cu.id = a.customer_id WHERE a.id = ANY(%s) ORDER BY a.id",
            [at, list(alert_ids)],
        )
        return [Fall(*row) for row in cursor.fetchall()]


_OF_A_FALL = """
    a.id, a.kind, a.threshold, cu.id, cu.partner_id, cu.email,
    ARRAY(SELECT r.email FROM billing_alertrecipient r WHERE r.alert_id = a.id ORDER BY r.id) AS recipients
"""


def _falls(which: str, parameters: list[Any] | None = None) -> list[Fall]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT e.id, e.opened_at, {_OF_A_FALL}
            FROM billing_episode e
            JOIN billing_balancealert a ON a.id = e.alert_id
            JOIN billing_customer cu ON cu.id = a.customer_id
            JOIN billing_customerbalance b ON b.customer_id = cu.id
            WHERE {which}
            """,  # noqa: S608 - conditions of ours
            parameters or [],
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [Fall(*row) for row in rows]


def _write(owed: list[Owed], done: Owing, doubt: str) -> None:
    known = set(NotificationLog.objects.filter(key__in=[one.key for one in owed]).values_list("key", flat=True))
    fresh = {one.key: one for one in owed if one.key not in known}
    if not fresh:
        return
    logs = {key: _row(one) for key, one in fresh.items()}
    firsts = lowest([one for key, one in fresh.items() if logs[key].state == State.PENDING])
    covered = {
        one.key: first.key
        for one in fresh.values()
        if (first := firsts.get(_who(one))) is not None and one is not first
    }
    going_out = [log for key, log in logs.items() if log.state == State.PENDING and key not in covered]
    if doubt:
        for log in going_out:
            log.state, log.because, log.detail = State.UNCERTAIN, Because.COPIED, doubt
    else:
        done.trip = breaker.judge_new(going_out)
        if done.trip is not None:
            for log in going_out:
                if log.state == State.PENDING:
                    log.state, log.because, log.detail = State.HELD, Because.BREAKER, done.trip.reason
    # Those that tell of others first, since the others name them.
    NotificationLog.objects.bulk_create(log for key, log in logs.items() if key not in covered)
    for key, other in covered.items():
        logs[key].state, logs[key].because = State.SUPPRESSED, Because.COVERED
        logs[key].covered_by, logs[key].detail = logs[other], f"told of by {other}"
    NotificationLog.objects.bulk_create(logs[key] for key in covered)
    NotificationContent.objects.bulk_create(
        NotificationContent(notification=log, recipient=fresh[key].recipient) for key, log in logs.items()
    )
    done.suppressed += len(covered) + _cover_older(firsts, logs)
    done.created += len(logs)
    done.held += sum(log.state == State.HELD for log in logs.values())
    done.failed += sum(log.state == State.FAILED for log in logs.values())


Who = tuple[int, str, str]


def _who(one: Owed) -> Who:
    return one.fall.customer_id, recipient_hash(one.recipient), one.kind.together


def lowest(owed: list[Owed]) -> dict[Who, Owed]:
    """The mail that tells a recipient of all of a customer's falls: the one about the lowest threshold.

    Likewise the one reminder of them, and the one about all that have recovered.
    """
    firsts: dict[Who, Owed] = {}
    # At one threshold (a limit of zero, an alert at zero) the built-in alert says the graver thing.
    for one in sorted(owed, key=lambda one: (one.fall.threshold, one.kind is not kinds.EXHAUSTED)):
        if one.kind.together:
            firsts.setdefault(_who(one), one)
    return firsts


def told_by(one: Owed, firsts: dict[Who, Owed]) -> Owed | None:
    """Which of the `lowest` tells of this one; None: it goes out itself."""
    first = firsts.get(_who(one))
    return None if first is one else first


def _cover_older(firsts: dict[Who, Owed], logs: dict[str, NotificationLog]) -> int:
    """What still waits for the same recipient about a higher threshold need not go out by itself; how many.

    Nor an earlier reminder of the same fall: several come to wait while notifications are halted for days.
    """
    waiting = NotificationLog.objects.filter(
        customer__in={customer for customer, _, _ in firsts},
        state=State.PENDING,
        kind__in=[kind.name for kind in kinds.KINDS.values() if kind.together],
        order=None,
    ).select_related("alert")
    suppressed = 0
    for older in waiting:
        first = firsts.get((older.customer_id, older.recipient_hash, kinds.KINDS[older.kind].together))
        if first is None or older.key == first.key or older.alert is None:
            continue
        is_earlier = first.kind is kinds.REMINDER and older.alert_id == first.fall.alert_id
        if first.fall.threshold >= older.alert.threshold and not is_earlier:
            continue
        # Unless a worker has it by now; then it goes out all the same.
        won = NotificationLog.objects.filter(pk=older.pk, state=State.PENDING).update(
            state=State.SUPPRESSED,
            because=Because.COVERED,
            covered_by=logs[first.key],
            detail=f"told of by {first.key}",
        )
        if won:
            NotificationLog.objects.filter(covered_by=older, because=Because.COVERED).update(covered_by=logs[first.key])
        suppressed += won
    return suppressed


def _row(one: Owed) -> NotificationLog:
    reason = why_unusable(one.recipient)
    return NotificationLog(
        key=one.key,
        kind=one.kind.name,
        customer_id=one.fall.customer_id,
        partner_id=one.fall.partner_id,
        alert_id=one.fall.alert_id,
        episode_id=one.fall.episode_id,
        reminder_number=one.reminder_number,
        recipient_hash=recipient_hash(one.recipient),
        message_id=message_id(one.key),
        state=State.FAILED if reason else State.PENDING,
        because=Because.NO_ADDRESS if reason else Because.NOTHING,
        detail=reason,
    )


def message_id(key: str) -> str:
    """The Message-ID of a mail: the same at every try, and no other mail's."""
    return f"<{recipient_hash(key)[:40]}@notifications.ivy.invalid>"


def _follow_customers() -> None:
    """Let what waits go in the name, and behind the halts, of the partner whose customer it is for by now.

    What was written already names the partner of then, and keeps it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE notifications_notificationlog n SET partner_id = cu.partner_id
            FROM billing_customer cu, notifications_notificationcontent c
            WHERE (n.state = 'pending' OR n.state = 'held') AND cu.id = n.customer_id AND cu.partner_id <> n.partner_id
              AND c.notification_id = n.id AND c.frozen_at IS NULL
            """
        )


def _suppress_what_is_over() -> int:
    """Rows that wait although their episode is over or their customer is closed. How many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH over AS MATERIALIZED (
                SELECT n.id,
                    CASE WHEN cu.status = 'closed' THEN 'inactive' ELSE 'recovered' END AS because,
                    CASE WHEN cu.status = 'closed' THEN 'the customer is closed'
                        ELSE 'the balance recovered before it went out' END AS detail
                FROM notifications_notificationlog n
                JOIN billing_customer cu ON cu.id = n.customer_id
                LEFT JOIN billing_episode e ON e.id = n.episode_id
                -- Not IN: there is an index of each, and of both together none.
                WHERE (n.state = 'pending' OR n.state = 'held') AND n.order_id IS NULL
                  AND ((e.closed_at IS NOT NULL AND n.kind = ANY(%s)) OR (cu.status = 'closed' AND n.kind <> 'apology'))
                ORDER BY n.id FOR UPDATE OF n SKIP LOCKED
            )
            UPDATE notifications_notificationlog n SET
                state = 'suppressed', because = over.because, detail = over.detail, token = NULL, lease_until = NULL
            FROM over
            WHERE n.id = over.id
            """,
            [[kind.name for kind in kinds.KINDS.values() if kind.needs_the_fall]],
        )
        return cursor.rowcount


def _owe_again() -> int:
    """Owe anew what was covered by a mail that failed or was suppressed, where its own fall goes on. How many.

    That a fall counts as told of says nothing here: another recipient may have been. Of several that one mail covered,
    the lowest is owed and tells of the others from now on. An earlier reminder of the same fall is never made up for.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH untold AS MATERIALIZED (
                SELECT n.id, n.key, n.covered_by_id,
                    row_number() OVER (PARTITION BY n.covered_by_id ORDER BY a.threshold, n.kind <> %(graver)s) AS place
                FROM notifications_notificationlog n
                JOIN notifications_notificationlog other ON other.id = n.covered_by_id
                JOIN billing_episode e ON e.id = n.episode_id
                JOIN billing_balancealert a ON a.id = n.alert_id
                WHERE n.because = 'covered' AND n.state = 'suppressed'
                  AND (other.state = 'failed' OR (other.state = 'suppressed' AND other.because = 'recovered'))
                  AND e.closed_at IS NULL AND (n.kind <> %(reminder)s OR n.alert_id <> other.alert_id)
            ), still_covered AS (
                UPDATE notifications_notificationlog n SET
                    covered_by_id = lowest.id, detail = 'told of by ' || lowest.key
                FROM untold JOIN untold lowest ON lowest.covered_by_id = untold.covered_by_id AND lowest.place = 1
                WHERE n.id = untold.id AND untold.place > 1
            )
            UPDATE notifications_notificationlog n SET
                state = 'pending', because = '', detail = 'owed again: the mail that told of it did not go out',
                next_try_at = statement_timestamp()
            FROM untold WHERE n.id = untold.id AND untold.place = 1
            """,
            {"graver": kinds.EXHAUSTED.name, "reminder": kinds.REMINDER.name},
        )
        return cursor.rowcount
