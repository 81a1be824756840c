"""What is wrong on the notification side, for alarms: each check has a key, and is well or says what is not."""

from datetime import datetime, timedelta
from itertools import takewhile

from django.db.models import Min
from django.db.models.functions import Now
from django.utils import timezone

from billing import halting
from billing.checking import Check, looked_at
from billing.models import Process
from notifications import breaker, instance
from notifications.models import DeliveryAttempt, NotificationLog, Outcome, State

OWED_TOO_LONG = timedelta(minutes=15)
TRIES_LOOKED_AT = 1_000


def checks() -> list[Check]:
    """Look at everything that staff have to know of. Writes nothing."""
    return looked_at(
        {
            "breaker": _breaker,
            "copied-database": _copied,
            "mails-not-taken": _mail_server,
            "mails-owed-too-long": _owed_too_long,
            "uncertain-mails": lambda: _for_review(
                "uncertain-mails", State.UNCERTAIN, "perhaps delivered", "resend, delivered or suppress"
            ),
            "failed-mails": lambda: _for_review("failed-mails", State.FAILED, "failed for good", "retry or suppress"),
            "held-mails": _held,
        }
    )


def _breaker() -> Check:
    trip = breaker.open_trip()
    if trip is None:
        return Check("breaker")
    return Check(
        "breaker",
        wrong=f"The breaker tripped: {trip.reason}.",
        affects="No customer is mailed; what was owed is held. Billing goes on.",
        todo="Look at what was held (reset_breaker --preview), then reset_breaker --reason ….",
        since=trip.at,
    )


def _copied() -> Check:
    if not NotificationLog.objects.exists() or not (doubt := instance.why_not_confirmed()):
        return Check("copied-database")
    return Check(
        "copied-database",
        wrong=f"Perhaps this is a copy of the database that mails: {doubt}.",
        affects="No customer is mailed from here. Billing goes on.",
        todo="If this database is to mail from now on: reset_breaker --reason ….",
    )


def _mail_server() -> Check:
    """The last hand-over failed through no fault of the mail, and mails wait. Since when: of this trouble, none before.

    While notifications are halted nothing is tried, and nobody knows whether the server is still so.
    """
    ended = DeliveryAttempt.objects.exclude(outcome=Outcome.OPEN).order_by("-pk")
    last = ended.first()
    if last is None or not _is_the_servers(last):
        return Check("mails-not-taken")
    waiting = NotificationLog.objects.filter(state=State.PENDING).count()
    if not waiting:
        return Check("mails-not-taken")
    alike = takewhile(lambda one: _is_the_servers(one) and one.outcome == last.outcome, ended[:TRIES_LOOKED_AT])
    began_at = min(one.began_at for one in alike)
    counted = f"{waiting} {_mails(waiting)} for customers, counted at {timezone.now():%H:%M:%S} UTC"
    said = f"{last.phase}: {last.code} {last.words}" if last.code else f"{last.phase}: {last.words}"
    if _halted_for_everyone():
        return Check(
            "mails-not-taken",
            wrong=f"When it was last tried, at {_second(last.began_at)}, the mail server {last.server} took nothing"
            f" ({said}).",
            affects=f"{counted}; tried again by themselves once notifications are not halted.",
            todo="See whether the mail server is well (the probe mail-server tells) before you resume.",
            since=began_at,
        )
    does = "has taken nothing" if last.outcome == Outcome.DEFERRED else "has broken off after the text of each mail"
    return Check(
        "mails-not-taken",
        wrong=f"The mail server {last.server} {does} since {_second(began_at)} ({said}).",
        affects=f"{counted}; they are tried again by themselves.",
        todo="See whether the mail server works and EMAIL_URL is right; nothing has to be sent again by hand.",
        since=began_at,
    )


def _is_the_servers(attempt: DeliveryAttempt) -> bool:
    """Whether a hand-over failed through no fault of its mail or its recipient."""
    return attempt.outcome in {Outcome.DEFERRED, Outcome.UNKNOWN} and attempt.phase not in {"commit", "rcpt"}


def _halted_for_everyone() -> bool:
    return any(halt.partner is None for halt in halting.active_halts((Process.NOTIFICATIONS,)))


def _second(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _owed_too_long() -> Check:
    if _halted_for_everyone():
        return Check("mails-owed-too-long")  # a halt is known, and told elsewhere
    late = NotificationLog.objects.filter(
        state=State.PENDING, try_count=0, next_try_at__lt=Now() - OWED_TOO_LONG, customer__status="active"
    )
    count = late.count()
    if not count:
        return Check("mails-owed-too-long")
    return Check(
        "mails-owed-too-long",
        wrong=f"{count} {_mails(count)} owed for more than 15 minutes, and not tried once.",
        affects="These customers do not hear that their balance is low.",
        todo="See whether qcluster and tick run (status); run_notifications does a pass by hand.",
        since=late.aggregate(at=Min("next_try_at"))["at"],
    )


def _held() -> Check:
    if breaker.open_trip() is not None:
        return Check("held-mails")  # the trip is known, and told with what it holds
    return _for_review("held-mails", State.HELD, "held back", "approve or suppress")


def _for_review(key: str, state: State, are: str, verbs: str) -> Check:
    count = NotificationLog.objects.filter(state=state).count()
    if not count:
        return Check(key)
    return Check(
        key,
        wrong=f"{count} {'mail is' if count == 1 else 'mails are'} {are}.",
        affects="Ivy sends none of them by itself: nobody is to be told twice.",
        todo=f"Look at each (notification KEY) and decide: review {verbs}.",
    )


def _mails(count: int) -> str:
    return "mail" if count == 1 else "mails"
