"""One mail's whole life, in words and in order: owed, each attempt, what was done to it, where it stands."""

from datetime import UTC, datetime

from notifications.models import DeliveryAttempt, NotificationHistory, NotificationLog, Outcome


def in_words(log: NotificationLog) -> list[str]:
    """The lines that tell it; times are UTC."""
    content = log.content
    lines = [
        log.key,
        f"  a mail of kind {log.kind} to {content.recipient or 'nobody: no address was known'}",
        f"  for customer {log.customer.account} ({log.customer.name})",
        f"  Message-ID {log.message_id}",
    ]
    if log.episode is not None and log.alert is not None:
        threshold = f"{log.episode.opened_threshold.normalize():f} {log.customer.currency}"
        lines.append(f"  about the fall below {threshold} of {_time(log.episode.opened_at)}")
    if log.errant is not None:
        lines.append(f"  for the errant mail {log.errant.key}")
    if content.subject:
        lines.append(f"  subject: {content.subject}")
    happened: list[tuple[datetime, str]] = [(log.created_at, "owed")]
    happened += [(attempt.began_at, attempt_in_words(attempt)) for attempt in log.attempts.all()]
    happened += [(event.at, _event(event)) for event in log.history.all()]
    lines += [f"  {_time(at)}  {what}" for at, what in sorted(happened, key=lambda event: event[0])]
    now = f"  now: {log.get_state_display()}"
    if log.because:
        now += f" ({log.get_because_display()})"
    if log.detail:
        now += f": {log.detail}"
    if log.state == "pending":
        now += f"; next try not before {_time(log.next_try_at)}"
    if log.is_errant:
        now += "; marked as errant"
    return [*lines, now]


def attempt_in_words(attempt: DeliveryAttempt) -> str:
    """Who tried, how far it came, what the server said, and so whether it was delivered."""
    who = f"attempt {attempt.number} by process {attempt.pid} on {attempt.host.split()[0]} through {attempt.server}"
    said = " ".join(str(part) for part in (attempt.code, attempt.words) if part)
    said = f" ({said})" if said else ""
    match attempt.outcome:
        case Outcome.OPEN:
            return f"{who}: handed over, and no answer has been kept"
        case Outcome.ACCEPTED:
            return f"{who}: taken by the server{said}"
        case Outcome.UNKNOWN:
            return f"{who}: broke off after the body{said}: perhaps delivered"
        case Outcome.REFUSED:
            return f"{who}: refused at {attempt.phase}{said}: not delivered"
        case _:
            return f"{who}: came as far as {attempt.phase}{said}: not delivered"


def _event(event: NotificationHistory) -> str:
    return f"{event.verb} by {event.by}: {event.reason} ({event.from_state} → {event.to_state})"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
