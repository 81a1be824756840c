"""What django-q2 calls. Tasks carry no data and decide nothing; each may be lost, late or double."""

from billing import cycle
from ivy import alarms, pulses
from notifications import cycle as notifications_cycle


def billing_cycle(*, by: str = "schedule") -> None:
    """Look what billing is due, and do it. Safe to call at any time, from several processes at once.

    `by`: who pokes, "schedule" or "tick". Their pulse beats *before* the work: what it proves is that pokes arrive.
    A cycle that then takes an hour, finds another at work or fails is told by billing's own runs, and poking more often
    would not help it.
    """
    pulses.beat(pulses.BILLING_CYCLE_BY_TICK if by == "tick" else pulses.BILLING_CYCLE)
    if cycle.scheduled(by=by) is not None:
        notifications_pass()


def notifications_pass() -> None:
    """Tell customers what they are owed to hear, and staff what is wrong. Safe to call at any time, several at once.

    Its own schedule calls it too, so that a billing run that takes long keeps nobody waiting for a mail.
    """
    pulses.beat(pulses.NOTIFICATIONS)
    try:
        notifications_cycle.scheduled()
        pulses.beat(pulses.NOTIFICATIONS_DONE)
    finally:
        alarms.look()


def queue_canary() -> None:
    """Prove that a task can travel all the way from the schedule through the queue into a worker, and end there."""
    pulses.beat(pulses.QUEUE_CANARY)
