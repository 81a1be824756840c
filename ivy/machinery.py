"""What is wrong with the machinery that keeps billing and mails going: the queue, its schedules, and tick."""

from datetime import datetime, timedelta

from billing.checking import Check
from ivy import pulses, repairs, schedules
from ivy.models import Repair

QUEUE_PATIENCE = timedelta(minutes=2, seconds=30)
TICK_PATIENCE = timedelta(minutes=2)
REPAIRS_TOLD_FOR = timedelta(minutes=10)


def checks() -> list[Check]:
    """Look at everything that staff have to know of. Writes nothing."""
    return [_queue(), _schedules(), _tick()]


def _queue() -> Check:
    """The canary stays away, or a watchdog had to end a cluster a short while ago."""
    ended = repairs.latest(Repair.Part.QUEUE, within=REPAIRS_TOLD_FOR)
    wrong = [repair.what for repair in ended]
    since = ended[0].at if ended else None
    beats = pulses.last_beats(pulses.QUEUE_CANARY, pulses.BILLING_CYCLE_BY_TICK)
    beat = beats.get(pulses.QUEUE_CANARY)
    if beat is not None and _is_silent(beat, longer_than=QUEUE_PATIENCE):
        wrong.insert(0, f"The queue has done nothing since {beat:%Y-%m-%d %H:%M:%S} UTC.")
        since = beat
    elif beat is None and pulses.BILLING_CYCLE_BY_TICK in beats:  # tick waits, too, before it pokes
        wrong.insert(0, "The queue has never done anything.")
    if not wrong:
        return Check("queue")
    tick = pulses.last_beats(pulses.TICK).get(pulses.TICK)
    tick_lives = tick is not None and pulses.database_now() - tick < TICK_PATIENCE
    return Check(
        "queue",
        wrong=" ".join(wrong),
        affects="Tick pokes meanwhile: billing and mails go on."
        if tick_lives
        else "Tick does not run either: nobody is billed or told until one of the two is back.",
        todo="See whether qcluster runs and what its log says; start it anew where it stands still.",
        since=since,
    )


def _schedules() -> Check:
    """Somebody damaged what the queue goes by: mended within a minute by tick, and told for ten more."""
    mended = repairs.latest(Repair.Part.SCHEDULES, within=REPAIRS_TOLD_FOR)
    damaged = [damage.wrong for damage in schedules.damages() if damage.is_trouble]
    if not mended and not damaged:
        return Check("schedules")
    return Check(
        "schedules",
        wrong=" ".join([*damaged, *(repair.what for repair in mended)]),
        affects="Until it was mended, what it starts did not come from the queue; tick pokes after two minutes.",
        todo="Nothing, if it says that it was mended: find out who changes schedules. Else install_schedules mends it.",
        since=mended[0].at if mended else None,
    )


def _tick() -> Check:
    """The second poke is missing where there was one."""
    beat = pulses.last_beats(pulses.TICK).get(pulses.TICK)
    if beat is None or not _is_silent(beat, longer_than=TICK_PATIENCE):
        return Check("tick")
    return Check(
        "tick",
        wrong=f"Tick has not been heard of since {beat:%Y-%m-%d %H:%M:%S} UTC.",
        affects="Nothing yet. Should the queue fail as well, nobody is billed or told, and no alarm says so.",
        todo="See that the supervisor runs manage.py tick.",
        since=beat,
    )


def _is_silent(beat: datetime, *, longer_than: timedelta) -> bool:
    """Whether it has been silent for so long while somebody watched."""
    watched_since = pulses.last_beats(pulses.WATCH_BEGAN).get(pulses.WATCH_BEGAN, beat)
    return pulses.database_now() - max(beat, watched_since) > longer_than
