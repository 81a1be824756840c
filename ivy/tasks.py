"""What django-q2 calls. Tasks carry no data and decide nothing; each may be lost, late or double."""

from datetime import timedelta

from billing import cycle
from ivy import alarms, housekeeping, pulses, stopping
from notifications import cycle as notifications_cycle

WATCH_BROKE_OFF_AFTER = timedelta(minutes=5)


def billing_cycle(*, by: str = "schedule") -> None:
    """Look what billing is due, and do it. Safe to call at any time, from several processes at once.

    `by`: who pokes, "schedule" or "tick". Their pulse beats *before* the work: what it proves is that pokes arrive.
    A cycle that then takes an hour, finds another at work or fails is told by billing's own runs, and poking more often
    would not help it. A process that is to end stops after the chunk in hand.
    """
    pulses.beat(pulses.BILLING_CYCLE_BY_TICK if by == "tick" else pulses.BILLING_CYCLE)
    if not stopping.may_go_on():
        return
    if cycle.scheduled(by=by, may_go_on=stopping.may_go_on) is not None and stopping.may_go_on():
        notifications_pass(by=by)


def notifications_pass(*, by: str = "schedule") -> None:
    """Tell customers what they are owed to hear, and staff what is wrong. Safe to call at any time, several at once.

    Its own schedule calls it too, so that a billing run that takes long keeps nobody waiting for a mail. A process that
    is to end stops after the mail in hand.
    """
    _note_the_watch()
    pulses.beat(pulses.NOTIFICATIONS_BY_TICK if by == "tick" else pulses.NOTIFICATIONS)
    try:
        notifications_cycle.scheduled(may_go_on=stopping.may_go_on)
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
