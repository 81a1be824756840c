"""What django-q2 calls. Tasks carry no data and decide nothing; each may be lost, late or double."""

import logging

from billing import cycle
from billing.about import about
from billing.models import BillingRun, RunState
from ivy import alarms, probing, pulses, telemetry
from notifications import cycle as notifications_cycle

logger = logging.getLogger(__name__)


def billing_cycle(*, by: str = "schedule") -> None:
    """Look what billing is due, and do it. Safe to call at any time, from several processes at once.

    `by`: who pokes, "schedule" or "tick". Their pulse beats *before* the work: what it proves is that pokes arrive.
    A cycle that then takes an hour, finds another at work or fails is told by billing's own runs, and poking more often
    would not help it.
    """
    probing.look_now()
    pulses.beat(pulses.BILLING_CYCLE_BY_TICK if by == "tick" else pulses.BILLING_CYCLE)
    with telemetry.span("billing cycle"):
        run = cycle.scheduled(by=by)
    if run is not None:
        _tell(run)
        notifications_pass()


def notifications_pass() -> None:
    """Tell customers what they are owed to hear, and staff what is wrong. Safe to call at any time, several at once.

    Its own schedule calls it too, so that a billing run that takes long keeps nobody waiting for a mail.
    """
    probing.look_now()
    pulses.beat(pulses.NOTIFICATIONS)
    try:
        with telemetry.span("notification pass"):
            done = notifications_cycle.scheduled()
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
