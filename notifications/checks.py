"""What is wrong on the notification side, for alarms: each check has a key, and is well or says what is not."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models.functions import Now

from billing import halting
from billing.models import Process
from notifications import breaker, instance
from notifications.models import DeliveryAttempt, NotificationLog, Outcome, State

OWED_TOO_LONG = timedelta(minutes=15)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `words`: what is wrong, whom it affects and what to do; empty: it is well."""

    key: str
    words: str

    @property
    def is_well(self) -> bool:
        return not self.words


def checks() -> list[Check]:
    """Look at everything that staff have to know of. Writes nothing."""
    return [
        Check("breaker", _breaker()),
        Check("copied-database", _copied()),
        Check("mail-server", _mail_server()),
        Check("mails-owed-too-long", _owed_too_long()),
        Check("uncertain-mails", _for_review(State.UNCERTAIN, "perhaps delivered", "resend, delivered or suppress")),
        Check("failed-mails", _for_review(State.FAILED, "failed for good", "retry or suppress")),
        Check("held-mails", "" if breaker.open_trip() else _for_review(State.HELD, "held", "approve or suppress")),
    ]


def _breaker() -> str:
    trip = breaker.open_trip()
    if trip is None:
        return ""
    return (
        f"The breaker tripped at {trip.at:%Y-%m-%d %H:%M:%S} UTC: {trip.reason}. No mail goes out; billing goes on."
        " Look at what was held (reset_breaker --preview), then reset_breaker --reason …"
    )


def _copied() -> str:
    if not NotificationLog.objects.exists() or not (doubt := instance.why_not_confirmed()):
        return ""
    return f"No customer is mailed: {doubt}. If this database is to mail from now on: reset_breaker --reason …"


def _mail_server() -> str:
    """The last hand-over failed through no fault of the mail, and mails wait."""
    last = DeliveryAttempt.objects.exclude(outcome=Outcome.OPEN).order_by("-pk").first()
    if last is None or last.outcome not in {Outcome.DEFERRED, Outcome.UNKNOWN} or last.phase in {"commit", "rcpt"}:
        return ""
    waiting = NotificationLog.objects.filter(state=State.PENDING).count()
    if not waiting:
        return ""
    said = f"{last.code} {last.words}" if last.code else last.words
    return (
        f"The mail server {last.server} takes nothing ({last.phase}: {said}); {waiting} mails wait, to be tried again."
    )


def _owed_too_long() -> str:
    if any(halt.partner is None for halt in halting.active_halts((Process.NOTIFICATIONS,))):
        return ""  # a halt is known, and told elsewhere
    count = NotificationLog.objects.filter(
        state=State.PENDING, try_count=0, next_try_at__lt=Now() - OWED_TOO_LONG, customer__status="active"
    ).count()
    return (
        f"{count} mails have been owed for more than 15 minutes and were not tried: does a worker run?" if count else ""
    )


def _for_review(state: State, are: str, verbs: str) -> str:
    count = NotificationLog.objects.filter(state=state).count()
    if not count:
        return ""
    mails = "mail is" if count == 1 else "mails are"
    return f"{count} {mails} {are} and wait for staff: review {verbs}"
