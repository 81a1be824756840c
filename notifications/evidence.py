"""How a mail that may have been delivered finds its answer: the journal, providers' events, mails that came back.

What proves nothing changes nothing: it waits for staff.
"""

import email
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from typing import cast

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from billing.processes import ProcessId
from notifications import history, journal, telling, transports
from notifications.models import (
    Because,
    DeliveryAttempt,
    JournalCanary,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
    Verb,
)
from notifications.smtp import plain

logger = logging.getLogger(__name__)

BY_JOURNAL = "journal"
LOOKED_AT_A_PASS = 500
LOOKED_FOR_SECONDS = 30.0
SECONDS_BETWEEN_CANARIES = 30


@dataclass
class Settled:
    """What a look at the evidence has settled. `trouble`: why it could not look, in words."""

    found: int = 0
    tried_again: int = 0
    bounced: int = 0
    trouble: str = ""


def look() -> Settled:
    """Settle what the journal tells of uncertain mails, and take in what came back. Nothing without a journal."""
    settled = Settled()
    box = journal.mailbox()
    if box is None:
        return settled
    try:
        copied = DeliveryAttempt.objects.filter(notification=OuterRef("pk"), has_journal=True)
        # By chance: no mail that finds no answer keeps a later one from being looked for.
        uncertain = list(
            NotificationLog.objects.filter(Exists(copied), state=State.UNCERTAIN).order_by("?")[:LOOKED_AT_A_PASS]
        )
        deadline = time.monotonic() + LOOKED_FOR_SECONDS
        with journal.opened(box) as archive:
            for log in uncertain:
                if time.monotonic() > deadline:
                    break  # mails wait to be handed over; the next pass looks for more
                _look_for(log, archive, box, settled)
            for report, mark in list(archive.new_reports()):
                settled.bounced += _take_in_report(report)
                archive.note_read(mark)
    except journal.JournalUnreadable as unreadable:
        settled.trouble = str(unreadable)
    return settled


def note_delivered(log: NotificationLog, *, by: str, words: str) -> bool:
    """It is known now that the mail was delivered; False if it was not uncertain. May be repeated."""
    with transaction.atomic(durable=True):
        return _move(log, State.SENT, by=by, verb="found", words=plain(words))


def note_bounced(log: NotificationLog, *, by: str, words: str) -> bool:
    """The mail came back. An uncertain one has failed; a sent one stays sent and says so. May be repeated."""
    words = plain(words)
    with transaction.atomic(durable=True):
        if _move(log, State.FAILED, by=by, verb="bounced", words=words, because=Because.BOUNCED):
            return True
        if log.history.filter(verb="bounced").exists():
            return False
        history.note([log.pk], by=by, verb="bounced", reason=words, to=State(log.state))
        NotificationLog.objects.filter(pk=log.pk, state=State.SENT).update(detail=f"came back: {words}")
        return True


def log_of(*, provider_id: str = "", message_id: str = "") -> NotificationLog | None:
    """The mail that a provider or a report means, by the provider's number or our Message-ID."""
    if provider_id:
        attempt = DeliveryAttempt.objects.filter(provider_id=provider_id).select_related("notification").first()
        if attempt is not None:
            return attempt.notification
    return NotificationLog.objects.filter(message_id=message_id).first() if message_id else None


def _look_for(log: NotificationLog, archive: journal.Journal, box: journal.Mailbox, settled: Settled) -> None:
    if archive.holds(log.message_id):
        settled.found += note_delivered(log, by=BY_JOURNAL, words="found in the journal")
        return
    attempt = log.attempts.filter(outcome__in=[Outcome.OPEN, Outcome.UNKNOWN]).order_by("-number").first()
    if attempt is None or not _may_prove_loss(log, attempt, box):
        return
    if not _later_canary(attempt, archive, box):
        return
    # Once more, now that everything the server took before the canary has had to arrive.
    if archive.holds(log.message_id):
        settled.found += note_delivered(log, by=BY_JOURNAL, words="found in the journal")
    else:
        settled.tried_again += _order_second_try(log, attempt)


def _may_prove_loss(log: NotificationLog, attempt: DeliveryAttempt, box: journal.Mailbox) -> bool:
    """All that must hold before a missing copy proves anything, save the canary.

    The journal was accepted in this very hand-over; its worker said itself that the connection broke, or is known to be
    dead (an expired lease alone says neither: it may be paused, and go on); the set time has passed; there was no
    second try yet.
    """
    if not attempt.has_journal or log.because == Because.COPIED:
        return False
    is_over = attempt.outcome == Outcome.UNKNOWN
    if not is_over and not ProcessId(attempt.host, attempt.pid, attempt.process_started).is_gone():
        return False
    if log.history.filter(by=BY_JOURNAL, verb=Verb.RESEND).exists():
        return False
    waited = Now() - timedelta(seconds=box.wait_seconds)
    return DeliveryAttempt.objects.filter(pk=attempt.pk, began_at__lt=waited).exists()


def _later_canary(attempt: DeliveryAttempt, archive: journal.Journal, box: journal.Mailbox) -> bool:
    """Whether a canary that was sent after this attempt, through the same server, has arrived. Sends one if need be."""
    not_before = (attempt.ended_at or attempt.began_at) + timedelta(seconds=box.wait_seconds)
    later = JournalCanary.objects.filter(server=attempt.server, sent_at__gt=not_before)
    if later.filter(found_at__isnull=False).exists():
        return True
    for canary in later:
        if archive.holds(canary.message_id):
            JournalCanary.objects.filter(pk=canary.pk).update(found_at=Now())
            return True
    recent = JournalCanary.objects.filter(
        server=attempt.server, sent_at__gt=Now() - timedelta(seconds=SECONDS_BETWEEN_CANARIES)
    )
    server = transports.smtp_settings()
    if not recent.exists() and server.name == attempt.server:
        canary_sent = journal.send_canary(server, box, sender=attempt.notification.content.sender or box.address)
        if canary_sent is not None and archive.holds(canary_sent.message_id):
            JournalCanary.objects.filter(pk=canary_sent.pk).update(found_at=Now())
            canary_sent.refresh_from_db()
            return canary_sent.sent_at > not_before
    return False


def _order_second_try(log: NotificationLog, attempt: DeliveryAttempt) -> bool:
    """Proved lost: one second try, with the same Message-ID."""
    words = "missing in the journal although a later mail has arrived there: tried once more"
    with transaction.atomic(durable=True):
        locked = _locked(log, [State.UNCERTAIN])
        if locked is None or locked.token != attempt.token:
            return False
        order = StaffOrder.objects.create(verb=Verb.RESEND, by=BY_JOURNAL, reason=words, count=1)
        history.note([locked.pk], by=BY_JOURNAL, verb=Verb.RESEND, reason=words, to=State.PENDING, order=order)
        DeliveryAttempt.objects.filter(pk=attempt.pk).update(outcome=Outcome.DEFERRED, ended_at=Now())
        NotificationLog.objects.filter(pk=log.pk).update(
            state=State.PENDING,
            because=Because.NOTHING,
            detail=words,
            order=order,
            next_try_at=Now(),
            token=None,
            lease_until=None,
        )
    return True


def _move(
    log: NotificationLog, to: State, *, by: str, verb: str, words: str, because: Because = Because.NOTHING
) -> bool:
    """From uncertain to what is known now; False if the mail is not uncertain any more."""
    locked = _locked(log, [State.UNCERTAIN])
    if locked is None:
        return False
    history.note([locked.pk], by=by, verb=verb, reason=words, to=to)
    outcome = Outcome.ACCEPTED if to == State.SENT else Outcome.REFUSED
    DeliveryAttempt.objects.filter(notification=log, outcome__in=[Outcome.OPEN, Outcome.UNKNOWN]).update(
        outcome=outcome, ended_at=Now()
    )
    sent_at = {"sent_at": locked.sending_at or Now()} if to == State.SENT else {}
    NotificationLog.objects.filter(pk=log.pk).update(
        state=to, because=because, detail=words, lease_until=None, **sent_at
    )
    if to == State.SENT:
        telling.count_as_told([locked.pk])
    return True


def _locked(log: NotificationLog, states: Iterable[State]) -> NotificationLog | None:
    return NotificationLog.objects.select_for_update(of=("self",)).filter(pk=log.pk, state__in=list(states)).first()


def _take_in_report(report: bytes) -> bool:
    """A delivery report: note the mail that it says came back. True if it was one of ours that failed for good."""
    try:
        action, message_id, words = _told_by(report)
    except Exception:
        # Python's parser fails at some of what people write, and nobody's mail is to wait for that.
        logger.warning("A mail in the journal that calls itself a delivery report can't be read.", exc_info=True)
        return False
    log = log_of(message_id=message_id)
    if log is None or action != "failed":
        return False
    return note_bounced(log, by="mail that came back", words=words[:300] or "no reason given")


def _told_by(report: bytes) -> tuple[str, str, str]:
    """Of a delivery report: what became of the mail, its Message-ID, and why. Raises whatever a parser may raise."""
    message = email.message_from_bytes(report)
    action = status = original = ""
    for part in message.walk():
        kind = part.get_content_type()
        if kind == "message/delivery-status":
            for block in cast("list[Message]", part.get_payload()):
                action = str(block.get("Action", action)).strip().lower()
                status = str(block.get("Diagnostic-Code") or block.get("Status") or status)
        elif kind == "message/rfc822":
            inner = part.get_payload()
            original = str(cast("list[Message]", inner)[0].get("Message-ID", "")) if inner else original
        elif kind == "text/rfc822-headers":
            headers = email.message_from_string(str(part.get_payload(decode=False)))
            original = str(headers.get("Message-ID", ""))
    return action, plain(original), plain(status)
