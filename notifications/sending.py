"""Handing one mail over, so that whatever breaks, it goes out once or staff learn that nobody knows.

    prepare      write the mail; come as far as the server's “go ahead”: all of it provably no delivery
    begin        one commit, claimed → sending: the point of no return. It re-checks the claim's token, the switch, this
                 database's identity, the customer, the episode and the balance, behind the halting barrier
    hand over    the body, if that commit is fresh; no transaction is open while talking to the server
    settle       one commit with the answer: sent, owed again, failed for good, or uncertain

A backend that knows no phases (a provider's API) is called right after `begin`, and what it raises is uncertain unless
it proves that nothing was taken.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now

from billing import episodes, halting, prepared
from billing.models import CustomerStatus, Process, ProcessSwitch
from billing.processes import this_process
from notifications import breaker, history, instance, kinds, rendering
from notifications.claiming import SENDING_MARGIN_SECONDS, Claim
from notifications.models import (
    Because,
    DeliveryAttempt,
    NotificationLog,
    Outcome,
    Phase,
    StaffOrder,
    State,
    Verb,
)
from notifications.transports import Taken, Transport, TransportFailed

FRESH_SECONDS = 2.0
MOST_TRIES = 20
LONGEST_DELAY = timedelta(hours=6)
SHORT_DELAY = timedelta(seconds=10)
PATIENCE_WITH_THE_DATABASE_SECONDS = 20.0
IDLE_SECONDS = 1  # less than a chunk of billing waits for a lock
BY_WORKER = "its worker"
T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """What became of one claimed mail: the state that it is in now, and whether the server seems of no use at all."""

    state: State
    server_trouble: str = ""
    tripped: breaker.Reached | None = None


class NotMine(Exception):
    """The claim does not count any more: its lease ran out, or somebody else has the mail. Nothing was changed."""


class MayNotSend(Exception):
    """Found at the point of no return: the mail is not true or not allowed any more, and what becomes of it."""

    def __init__(self, state: State, because: Because, detail: str, tripped: breaker.Reached | None = None) -> None:
        self.state = state
        self.because = because
        self.detail = detail
        self.tripped = tripped
        super().__init__(detail)


def send(
    claim: Claim, transport: Transport, log: NotificationLog | None = None, *, another_follows: bool = False
) -> Sent:
    """Hand over one claimed mail. Raises NotMine, and ProcessHalted when a halt came first; both before the body.

    `log`: as `rendering.known` has fetched it after the claim. `another_follows`: at once, over this connection to the
    database. May be repeated with the same claim: only one gets past the point of no return.
    """
    if log is None:
        log = rendering.known([claim.log_id])[claim.log_id]
    if log.state != State.CLAIMED or log.token != claim.token:
        raise NotMine(log.key)
    if why_not := kinds.KINDS[log.kind].why_untrue(log) if log.kind in kinds.KINDS else "":
        _leave_claim(claim, state=State.SUPPRESSED, because=Because.NOTHING, detail=why_not)
        return Sent(State.SUPPRESSED)
    try:
        is_new = _write(log)
    except rendering.Unusable as unusable:
        _leave_claim(claim, state=State.FAILED, because=Because.UNUSABLE, detail=str(unusable))
        return Sent(State.FAILED)
    try:
        transport.offer(log)
    except TransportFailed as failed:
        return _before_the_body(log, claim, transport, failed)
    began = time.monotonic()
    try:
        attempt = _begin(log, claim, transport, is_new=is_new)
    except MayNotSend as reason:
        transport.abandon()
        return Sent(_leave(log, claim, reason), tripped=reason.tripped)
    except (OperationalError, InterfaceError) as error:
        # The commit may have happened or not; the body does not follow, so the mail is owed as before.
        transport.abandon()
        _take_back(log, claim, " ".join(str(error).split())[:200])
        return Sent(State.PENDING)
    except BaseException:
        transport.abandon()
        raise
    return _hand_over(log, claim, transport, attempt, began, another_follows=another_follows)


def _hand_over(
    log: NotificationLog, claim: Claim, transport: Transport, attempt: int, began: float, *, another_follows: bool
) -> Sent:
    """The body, past the point of no return: only while the commit that began at `began` is fresh."""
    if time.monotonic() - began > FRESH_SECONDS:
        transport.abandon()
        stale = TransportFailed(Phase.COMMIT, "the commit before the body took too long", is_provably_undelivered=True)
        return _after_the_commit(log, claim, attempt, stale)
    try:
        taken = transport.hand_over(log)
    except TransportFailed as failed:
        return _after_the_commit(log, claim, attempt, failed)
    _settle_sent(log, claim, attempt, taken, another_follows=another_follows)
    return Sent(State.SENT)


def write(logs: Iterable[NotificationLog]) -> None:
    """Write what these mails say, unless an earlier try has frozen it: from how things were when `known` fetched them.

    All of a claim's together: between the steps of a hand-over, each takes half as long again. What can't be written is
    told by `send`.
    """
    for log in logs:
        with suppress(Exception):
            _write(log)


def _write(log: Any) -> bool:
    """Let the mail's content say what goes out; False if an earlier try has frozen it. Raises Unusable."""
    if hasattr(log, "message"):
        return True
    content: Any = getattr(log, "content", None)
    if content is not None and content.frozen_at is not None:
        return False
    written = rendering.render(log)
    content.sender, content.reply_to, content.subject = written.sender, written.reply_to, written.subject
    content.text, content.html, content.frozen_at = written.text, written.html, written.frozen_at
    log.message = written.message
    return True


def _begin(log: NotificationLog, claim: Claim, transport: Transport, *, is_new: bool) -> int:
    """The point of no return, one commit; the attempt's id. Raises MayNotSend, NotMine or ProcessHalted: not begun."""
    content, kind, me = log.content, kinds.KINDS[log.kind], this_process()
    what = {
        "mail": log.pk,
        "token": claim.token,
        "order": log.order_id,
        "partner": claim.partner_id,
        "fall": log.episode_id,
        "needs_the_fall": kind.needs_the_fall,
        "tells": kind.tells,
        "goes_to_everyone": kind is kinds.APOLOGY,
        "barrier": halting.LOCKS[Process.NOTIFICATIONS],
        "patience": f"{halting.CHUNK_LOCK_SECONDS}s",
        "lease": transport.longest_seconds + SENDING_MARGIN_SECONDS,
        "host": me.host,
        "pid": me.pid,
        "process_started": me.started,
        "server": transport.name,
        "has_journal": transport.has_journal,
        "is_new": is_new,
        "sender": content.sender,
        "reply_to": content.reply_to,
        "subject": content.subject,
        "text": content.text,
        "html": content.html,
        "written_at": content.frozen_at,
    }
    if not is_new:
        what |= dict.fromkeys(("sender", "reply_to", "subject", "text", "html", "written_at"))
    ((verdict, number, words),) = prepared.commit(_BEGIN, what)
    if verdict == "begun":
        return int(number)
    if verdict == "not mine":
        raise NotMine(log.key)
    if verdict == "halted":
        raise halting.ProcessHalted(ProcessSwitch.objects.get(pk=number))
    raise _why_not(log, verdict, number, words)


def _why_not(log: NotificationLog, verdict: str, mails_today: int, status: str) -> MayNotSend:
    """What becomes of a mail that is not true any more, not wanted, or was perhaps sent without an order."""
    match verdict:
        case "copied":
            reason = instance.why_not_confirmed() or "this database was not confirmed as the one that mails"
            return MayNotSend(State.UNCERTAIN, Because.COPIED, reason)
        case "tripped":
            return MayNotSend(State.HELD, Because.BREAKER, "the breaker tripped")
        case "twice":
            reached = breaker.Reached("same_mail_twice", f"{log.key} was about to go out twice without an order")
            return MayNotSend(State.HELD, Because.BREAKER, reached.reason, tripped=reached)
        case "too many":
            detail = f"{mails_today} mails of kind {log.kind} went to this recipient within a day"
            return MayNotSend(State.HELD, Because.TOO_MANY, detail)
        case "inactive":
            state = State.SUPPRESSED if status == CustomerStatus.CLOSED else State.PENDING
            return MayNotSend(state, Because.INACTIVE, f"the customer is {status}")
        case "recovered":
            return MayNotSend(State.SUPPRESSED, Because.RECOVERED, "the balance recovered before it went out")
    raise AssertionError(f"the point of no return knows no verdict {verdict}")


@contextmanager
def _brief() -> Iterator[None]:
    """A transaction of its own that the database ends when its worker is paused within: billing may wait for it."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [f"{IDLE_SECONDS}s"])
        yield


def _stubbornly(write: Callable[[], T]) -> T:
    """Commit what is known of a hand-over although the database went away meanwhile: it may come back."""
    deadline = time.monotonic() + PATIENCE_WITH_THE_DATABASE_SECONDS
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _before_the_body(log: NotificationLog, claim: Claim, transport: Transport, failed: TransportFailed) -> Sent:
    """Nothing was delivered: note the attempt, and owe the mail again later, or give up on it."""
    me = this_process()

    @transaction.atomic(durable=True)
    def settle() -> State:
        number = log.attempts.count() + 1
        DeliveryAttempt.objects.create(
            notification=log,
            number=number,
            token=claim.token,
            host=me.host,
            pid=me.pid,
            process_started=me.started,
            server=transport.name,
            ended_at=Now(),
            phase=failed.phase,
            outcome=Outcome.REFUSED if failed.is_permanent else Outcome.DEFERRED,
            code=failed.code,
            words=failed.words,
        )
        return _owe_again_or_fail(log, claim, failed, from_states=[State.CLAIMED])

    return Sent(_stubbornly(settle), server_trouble=str(failed) if failed.is_servers_fault else "")


def _after_the_commit(log: NotificationLog, claim: Claim, attempt: int, failed: TransportFailed) -> Sent:
    """The body was, or may have been, handed over: only the server's own no proves that nothing was delivered."""

    @_brief()
    def settle() -> State:
        outcome = Outcome.UNKNOWN
        if failed.is_permanent:
            outcome = Outcome.REFUSED
        elif failed.is_provably_undelivered:
            outcome = Outcome.DEFERRED
        _end_attempt(attempt, outcome=outcome, phase=failed.phase, code=failed.code, words=failed.words)
        if outcome == Outcome.UNKNOWN:
            NotificationLog.objects.filter(pk=log.pk, token=claim.token, state=State.SENDING).update(
                state=State.UNCERTAIN, because=Because.BROKE_OFF, detail=str(failed), lease_until=None
            )
            return State.UNCERTAIN
        state = _owe_again_or_fail(log, claim, failed, from_states=[State.SENDING])
        _untell(log)
        return state

    return Sent(_stubbornly(settle), server_trouble=str(failed) if failed.is_servers_fault else "")


def _settle_sent(log: NotificationLog, claim: Claim, attempt: int, taken: Taken, *, another_follows: bool) -> None:
    """The server took it. Also when the lease ran out meanwhile: a late answer turns uncertain into sent.

    Committed, and seen by everybody, in any case. Where another mail follows, it is the commit of *its* point of no
    return that waits for the disk for both; nobody is mailed before.
    """
    what = {
        "attempt": attempt,
        "log": log.pk,
        "token": claim.token,
        "code": taken.code,
        "words": taken.words,
        "provider_id": taken.provider_id,
        "another_follows": another_follows,
    }
    _stubbornly(lambda: prepared.commit(_SETTLE_SENT, what))


def _end_attempt(attempt: int, **what: object) -> None:
    DeliveryAttempt.objects.filter(pk=attempt, outcome__in=[Outcome.OPEN, Outcome.UNKNOWN]).update(
        ended_at=Now(), **what
    )


def _owe_again_or_fail(
    log: NotificationLog, claim: Claim, failed: TransportFailed, *, from_states: list[State]
) -> State:
    """After a hand-over that was provably none: pending, with a growing delay; failed when the server said so.

    Also where the lease ran out meanwhile: what nobody knew is known now, and the mail goes out by that order.
    """
    tries = log.try_count + 1
    if failed.is_permanent:
        state, because = State.FAILED, Because.REFUSED
    elif tries >= MOST_TRIES and not failed.is_servers_fault:
        state, because = State.FAILED, Because.TRIES_USED_UP
    else:
        state, because = State.PENDING, Because.NOTHING
    becomes = {
        "state": state,
        "because": because,
        "detail": str(failed),
        "try_count": tries,
        "next_try_at": Now() + delay_after(tries),
        "token": None,
        "lease_until": None,
    }
    mine = NotificationLog.objects.filter(pk=log.pk, token=claim.token)
    if not mine.filter(state__in=from_states).update(**becomes) and State.SENDING in from_states:
        given_up = mine.filter(state=State.UNCERTAIN, because=Because.LEASE_EXPIRED)
        if given_up.select_for_update().exists():
            words = f"its worker was heard of again: nothing was delivered ({failed})"
            order = StaffOrder.objects.create(verb=Verb.RESEND, by=BY_WORKER, reason=words, count=1)
            history.note([log.pk], by=BY_WORKER, verb=Verb.RESEND, reason=words, to=state, order=order)
            given_up.update(**becomes, order=order)
    return state


def delay_after(tries: int) -> timedelta:
    """How long a mail waits after so many tries: a minute, two, four, ... six hours. Twenty tries take three days."""
    return min(timedelta(minutes=2 ** min(tries - 1, 10)), LONGEST_DELAY)


def _leave(log: NotificationLog, claim: Claim, reason: MayNotSend) -> State:
    """Leave the mail in the state that was found to be right for it.

    Where the balance has recovered, the fall is closed in the same transaction: left open, it would keep a next fall
    from being told of.
    """
    if reason.because != Because.RECOVERED or log.episode_id is None:
        _leave_claim(claim, state=reason.state, because=reason.because, detail=reason.detail)
        return reason.state
    episode_id = log.episode_id

    @_brief()
    def leave() -> State:
        is_over = episodes.close_recovered(episode_id) or log.kind == kinds.REMINDER.name
        # Pending: it fell again in this very moment, or somebody else was told, and the fall ends only later.
        state = State.SUPPRESSED if is_over else State.PENDING
        _leave_claim(
            claim,
            state=state,
            because=reason.because if is_over else Because.NOTHING,
            detail=reason.detail,
        )
        return state

    return _stubbornly(leave)


def _take_back(log: NotificationLog, claim: Claim, words: str) -> None:
    """The body was not handed over: owe the mail again, wherever the broken commit has left it.

    Tries for a while, since the database may come back; raises what it met last when it does not.
    """

    def take_back() -> None:
        with _brief():
            NotificationLog.objects.filter(
                pk=claim.log_id, token=claim.token, state__in=[State.CLAIMED, State.SENDING]
            ).update(
                state=State.PENDING,
                detail=f"not handed over: {words}",
                next_try_at=Now() + SHORT_DELAY,
                token=None,
                lease_until=None,
            )
            DeliveryAttempt.objects.filter(notification=claim.log_id, token=claim.token, outcome=Outcome.OPEN).update(
                outcome=Outcome.DEFERRED, phase=Phase.COMMIT, ended_at=Now(), words=words
            )
            _untell(log)

    _stubbornly(take_back)


def give_up(claim: Claim, *, words: str) -> None:
    """Leave a claimed mail to staff, as one that can't be sent as things stand.

    One past the point of no return stays as it is, and is uncertain once its lease has run out.
    """
    _leave_claim(claim, state=State.FAILED, because=Because.UNUSABLE, detail=words)


def _leave_claim(claim: Claim, *, state: State, because: Because, detail: str) -> None:
    # What has to wait waits a while: owed at once, the same pass would find it again and again.
    later = {"next_try_at": Now() + delay_after(1)} if state == State.PENDING else {}
    NotificationLog.objects.filter(pk=claim.log_id, token=claim.token, state=State.CLAIMED).update(
        state=state, because=because, detail=detail, token=None, lease_until=None, **later
    )


def _untell(log: NotificationLog) -> None:
    """Nobody was told after all: the episode is as if no mail had begun, unless another one did go out."""
    if log.episode_id is not None and kinds.KINDS[log.kind].tells:
        about = {"log": log.pk, "episode": log.episode_id}
        with connection.cursor() as cursor:
            episodes.note(cursor, log.episode_id)
            # The locks in a statement of their own: another recipient may be told in this very moment.
            cursor.execute(f"SELECT FROM billing_episode e WHERE {_ITS_FALLS} ORDER BY e.id FOR UPDATE", about)
            cursor.execute(_UNTELL, about)


# The rules are the function's own (notifications/migrations/0003): the barrier and the switch, whose the mail is,
# whether it is still true and wanted. It writes all of it, or nothing: the row past the point of no return, its
# attempt, what the mail says, and the falls that it tells of.
_BEGIN = """
SELECT * FROM notifications_begin_hand_over(
    %(mail)s, %(token)s, %(order)s, %(partner)s, %(fall)s, %(needs_the_fall)s, %(tells)s, %(goes_to_everyone)s,
    %(barrier)s, %(patience)s, %(lease)s, %(host)s, %(pid)s, %(process_started)s, %(server)s, %(has_journal)s,
    %(is_new)s, %(sender)s, %(reply_to)s, %(subject)s, %(text)s, %(html)s, %(written_at)s
)
"""

_SETTLE_SENT = """
SELECT notifications_settle_sent(
    %(log)s, %(attempt)s, %(token)s, %(code)s, %(words)s, %(provider_id)s, %(another_follows)s
)
"""

_ITS_FALLS = """
e.closed_at IS NULL AND e.told_at IS NOT NULL AND e.id = ANY (%(episode)s || ARRAY(
    SELECT episode_id FROM notifications_notificationlog WHERE covered_by_id = %(log)s AND because = 'covered'
))
"""

_UNTELL = f"""
UPDATE billing_episode e SET told_at = NULL
WHERE {_ITS_FALLS} AND NOT EXISTS (
    SELECT FROM notifications_notificationlog n
    WHERE (n.episode_id = e.id OR n.id IN (
        SELECT covered_by_id FROM notifications_notificationlog c
        WHERE c.episode_id = e.id AND c.because = 'covered'
    )) AND n.state IN ('sending', 'sent', 'uncertain')
)
"""  # noqa: S608 - words of ours
