"""What django-q2 calls. Tasks carry no data and decide nothing; each may be lost, late or double."""

import logging
from datetime import timedelta

from billing import cycle, sums
from billing.about import about
from billing.models import BillingRun, RunState
from ivy import alarms, housekeeping, probing, pulses, stopping, telemetry
from notifications import cycle as notifications_cycle

logger = logging.getLogger(__name__)

WATCH_BROKE_OFF_AFTER = timedelta(minutes=5)


def billing_cycle(*, by: str = "schedule") -> None:
    """Look what billing is due, and do it. Safe to call at any time, from several processes at once.

    `by`: who pokes, "schedule" or "tick". Their pulse beats *before* the work: what it proves is that pokes arrive.
    A cycle that then takes an hour, finds another at work or fails is told by billing's own runs, and poking more often
    would not help it. A process that is to end stops after the chunk in hand.
    """
    probing.look_now()
    pulses.beat(pulses.BILLING_CYCLE_BY_TICK if by == "tick" else pulses.BILLING_CYCLE)
    if not stopping.may_go_on():
        return
    with telemetry.span("billing cycle"):
        run = cycle.scheduled(by=by, may_go_on=stopping.may_go_on)
    if run is not None:
        _tell(run)
        if stopping.may_go_on():
            notifications_pass(by=by)
    if stopping.may_go_on():
        sums.sum_up()  # while another process bills, too: a long run posts all the time


def notifications_pass(*, by: str = "schedule") -> None:
    """Tell customers what they are owed to hear, and staff what is wrong. Safe to call at any time, several at once.

    Its own schedule calls it too, so that a billing run that takes long keeps nobody waiting for a mail. A process that
    is to end stops after the mail in hand.
    """
    probing.look_now()
    _note_the_watch()
    pulses.beat(pulses.NOTIFICATIONS_BY_TICK if by == "tick" else pulses.NOTIFICATIONS)
    try:
        with telemetry.span("notification pass"):
            done = notifications_cycle.scheduled(may_go_on=stopping.may_go_on)
        pulses.beat(pulses.NOTIFICATIONS_DONE)
        if done.sent or done.failed or done.uncertain or done.held or done.trouble:
            logger.info(
                "Notifications: %d sent, %d failed, %d uncertain, %d held.",
                done.sent, done.failed, done.uncertain, done.held,
            )  # fmt: skip
    finally:
        alarms.look()


def queue_canary() -> None:
    """Prove that a task can travel all the way from the schedule through the queue into a worker, and end there."""
    pulses.beat(pulses.QUEUE_CANARY)


def sweep() -> None:
    """Delete what is only of use for some time. Safe to call at any time, several at once."""
    pulses.beat(pulses.HOUSEKEEPING)
    housekeeping.sweep()


def _note_the_watch() -> None:
    """Note when a watch begins: after a night with everything switched off, nobody is called silent at once."""
    watchers = (pulses.NOTIFICATIONS, pulses.NOTIFICATIONS_BY_TICK)
    if set(pulses.silent_since(*watchers, longer_than=WATCH_BROKE_OFF_AFTER)) == set(watchers):
        pulses.beat(pulses.WATCH_BEGAN)


def _tell(run: BillingRun) -> None:
    """Log what a run did; one that found nothing to do and ended well is not worth a line a minute."""
    charges = run.calls_billed + run.item_charges + run.one_off_charges
    if run.state == RunState.DONE and not (charges or run.calls_free or run.calls_quarantined):
        return
    with about(run=run.pk):
        logger.log(
            logging.ERROR if run.state == RunState.FAILED else logging.INFO,
            "Billing run: %s; %d calls and %d items charged.",
            run.state, run.calls_billed, run.item_charges + run.one_off_charges,
        )  # fmt: skip
