"""Telling customers, from top to bottom: read this first.

    confirm    this is the database that mails, and no copy of it
    expire     what a dead worker had in hand is owed again, or uncertain
    owe        a row for every mail that a fall, a reminder or a recovery asks for; the breaker judges
    evidence   uncertain mails find their answer where there is one
    deliver    claim, hand over, settle: one mail after the other, by any number of workers

A pass may run at any time, several at once, on any machine, and may be killed at any point. It never sends because of
what it remembers: only because of a row that it has claimed.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from billing import halting
from billing.about import about
from billing.models import HaltCause, Process
from notifications import breaker, claiming, evidence, instance, owing, rendering, sending
from notifications.claiming import Claim, LimitReached
from notifications.models import NotificationLog, State
from notifications.smtp import plain
from notifications.transports import Transport, transport

logger = logging.getLogger(__name__)

SCHEDULED_SECONDS = 200.0
Progress = Callable[[State], None]
MayGoOn = Callable[[], bool]


@dataclass
class Pass:
    """What one pass did. `pending`: mails that are owed still. `halted`: why nothing, or not all, could go out."""

    created: int = 0
    sent: int = 0
    failed: int = 0
    uncertain: int = 0
    held: int = 0
    suppressed: int = 0
    pending: int = 0
    is_halted: bool = False
    halted: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def run_pass(
    *,
    at: datetime,
    seconds: float | None = None,
    progress: Progress | None = None,
    before_delivery: Callable[[], AbstractContextManager[None]] = nullcontext,
    may_go_on: MayGoOn = lambda: True,
) -> Pass:
    """Owe what is owed at business time `at`, and hand over what may go. Safe to repeat, safe to kill.

    `seconds`: claim nothing more after so long. `before_delivery` is entered once everything is owed: for helpers that
    deliver at the same time. `may_go_on` is asked before each mail: False ends the pass, and the rest stays owed. Where
    notifications are halted, mails are owed and none is sent.
    """
    done = Pass()
    doubt = _confirm(done)
    done.uncertain += claiming.expire()
    owed = owing.owe(at=at, doubt=doubt)
    done.created, done.suppressed, done.held, done.failed = owed.created, owed.suppressed, owed.held, owed.failed
    if breaker.open_trip() is not None:
        done.held += breaker.hold_what_waits()
    found = evidence.look()
    if found.trouble:
        done.trouble.append(found.trouble)
    with before_delivery():
        deadline = None if seconds is None else time.monotonic() + seconds
        _deliver(done, deadline=deadline, progress=progress, may_go_on=may_go_on)
    done.pending = NotificationLog.objects.filter(state__in=[State.PENDING, State.CLAIMED]).count()
    return done


def deliver(*, progress: Progress | None = None) -> Pass:
    """Only hand over what is owed already: a further worker beside a pass."""
    done = Pass()
    _deliver(done, deadline=None, progress=progress)
    return done


def scheduled(*, may_go_on: MayGoOn = lambda: True) -> Pass:
    """What the schedule calls every minute, and after each billing run."""
    return run_pass(at=timezone.now(), seconds=SCHEDULED_SECONDS, may_go_on=may_go_on)


def _confirm(done: Pass) -> str:
    """Why this may be a copy of the database that mails; notifications are halted then. Empty: it is the one."""
    doubt = instance.why_not_confirmed()
    if doubt:
        done.uncertain += instance.doubt_what_may_have_gone_out(reason=doubt)
        halting.halt(
            Process.NOTIFICATIONS,
            reason=f"{doubt}; reset_breaker confirms that it mails from now on",
            by=instance.BY,
            cause=HaltCause.BREAKER,
        )
    return doubt


def _deliver(
    done: Pass, *, deadline: float | None, progress: Progress | None, may_go_on: MayGoOn = lambda: True
) -> None:
    way = transport()
    partners_halted: set[int] = set()
    for halt in halting.active_halts((Process.NOTIFICATIONS,)):
        _note_halt(done, halt.partner_id, halt.reason)
        if halt.partner_id is not None:
            partners_halted.add(halt.partner_id)
    try:
        while not done.is_halted and may_go_on() and (deadline is None or time.monotonic() < deadline):
            try:
                claims = claiming.claim(partners_halted=sorted(partners_halted))
            except LimitReached as limit:
                breaker.trip(limit.reached)
                _note_halt(done, None, limit.reached.reason)
                break
            if not claims or not _hand_over(claims, way, done, partners_halted, progress=progress, may_go_on=may_go_on):
                break
    finally:
        way.close()


def _hand_over(
    claims: list[Claim],
    way: Transport,
    done: Pass,
    partners_halted: set[int],
    *,
    progress: Progress | None,
    may_go_on: MayGoOn,
) -> bool:
    """Hand over the mails claimed; False when no more are to be claimed: a halt, a full limit, a server of no use."""
    waiting = list(claims)
    logs = rendering.known(claim.log_id for claim in claims)
    sending.write(logs.values())
    try:
        while waiting and may_go_on():
            claim = waiting[0]
            try:
                outcome = _send(claim, way, logs[claim.log_id], another_follows=len(waiting) > 1)
            except sending.NotMine:
                waiting.pop(0)
                continue
            except halting.ProcessHalted as halted:
                _note_halt(done, None if halted.is_for_everyone else claim.partner_id, str(halted))
                if done.is_halted:
                    return False
                partners_halted.add(claim.partner_id)
                mine = [one for one in waiting if one.partner_id == claim.partner_id]
                claiming.give_back(mine)
                waiting = [one for one in waiting if one.partner_id != claim.partner_id]
                continue
            except (OperationalError, InterfaceError):
                raise  # the database is away: no mail would fare better
            except Exception as error:
                # Nobody foresaw it. The others go out all the same, over a connection that was not left in the middle.
                logger.exception("Mail %s broke the work on it.", logs[claim.log_id].key)
                way.abandon()
                waiting.pop(0)
                sending.give_up(claim, words=plain(f"it broke the work on it: {type(error).__name__}: {error}"))
                done.failed += 1
                continue
            waiting.pop(0)
            _count(done, outcome.state)
            if progress is not None:
                progress(outcome.state)
            if outcome.tripped is not None:
                claiming.give_back(waiting)
                waiting = []
                breaker.trip(outcome.tripped)
                _note_halt(done, None, outcome.tripped.reason)
                return False
            if outcome.server_trouble:
                done.trouble.append(f"the mail server: {outcome.server_trouble}")
                return False
    finally:
        # Untried: back in their places, for whoever comes next.
        claiming.give_back(waiting)
    return True


def _send(claim: Claim, way: Transport, log: NotificationLog, *, another_follows: bool) -> sending.Sent:
    with about(customer=log.customer_id, key=log.key):
        outcome = sending.send(claim, way, log, another_follows=another_follows)
        if outcome.state in {State.FAILED, State.UNCERTAIN}:
            logger.warning("Mail %s.", State(outcome.state).label)
    return outcome


def _count(done: Pass, state: State) -> None:
    match state:
        case State.SENT:
            done.sent += 1
        case State.FAILED:
            done.failed += 1
        case State.UNCERTAIN:
            done.uncertain += 1
        case State.HELD:
            done.held += 1
        case State.SUPPRESSED:
            done.suppressed += 1
        case _:
            pass


def _note_halt(done: Pass, partner_id: int | None, reason: str) -> None:
    done.is_halted = done.is_halted or partner_id is None
    if reason not in done.halted:
        done.halted.append(reason)
