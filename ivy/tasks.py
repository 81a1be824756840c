"""What django-q2 calls. Tasks carry no data and decide nothing; each may be lost, late or double."""

from billing import cycle
from ivy import pulses


def billing_cycle(*, by: str = "schedule") -> None:
    """Look what billing is due, and do it. Safe to call at any time, from several processes at once.

    `by`: who pokes, "schedule" or "tick". Their pulse beats *before* the work: what it proves is that pokes arrive.
    A cycle that then takes an hour, finds another at work or fails is told by billing's own runs, and poking more often
    would not help it.
    """
    pulses.beat(pulses.BILLING_CYCLE_BY_TICK if by == "tick" else pulses.BILLING_CYCLE)
    cycle.scheduled(by=by)


def queue_canary() -> None:
    """Prove that a task can travel all the way from the schedule through the queue into a worker, and end there."""
    pulses.beat(pulses.QUEUE_CANARY)
