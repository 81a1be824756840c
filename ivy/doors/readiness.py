"""Whether this process can serve, and how the parts around it are: what `/health/ready` tells.

Everything is read from the database, where probes, pulses, runs and alarms are kept: nobody waits for a frozen cache
or mail server here. The sentences are fixed ones: this door has no lock, so no figures, addresses or names leave by it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing import runs
from ivy import alarms, pulses

READY_PULSE = "ready"
QUEUE_PATIENCE = timedelta(minutes=3)
TICK_PATIENCE = timedelta(minutes=2)
CYCLE_PATIENCE = timedelta(minutes=5)
OTHER = "other"


@dataclass(frozen=True)
class Part:
    """How one part is. `since`: since when it is not well, or when it was last known to be well (None: unknown)."""

    name: str
    ok: bool
    since: datetime | None
    sentence: str


@dataclass(frozen=True)
class _Known:
    """A part, the alarms that are about it, and what its being unwell means."""

    name: str
    alarms: frozenset[str]
    unwell: str


PARTS = [
    _Known(
        "cache",
        frozenset({"cache", "cache-server"}),
        "The cache does not work as it should. It decides nothing; pages may be slower.",
    ),
    _Known(
        "queue",
        frozenset({"queue", "schedules", "worker-missing", "process-silent"}),
        "The queue does not do all its work. While it is silent, tick does the pokes.",
    ),
    _Known("tick", frozenset(), "The second poke is silent: should the queue stop as well, nobody would poke."),
    _Known(
        "billing",
        frozenset({"billing-runs", "billing-hangs", "calls-unbilled"}),
        "Billing is behind. Nothing is lost: what is due is charged when it goes on.",
    ),
    _Known(
        "notifications",
        frozenset({"notification-runs", "mails-owed-too-long", "breaker", "copied-database"}),
        "Customers are not told at present. What is owed to them is kept.",
    ),
    _Known(
        "mail server",
        frozenset({"mail-server", "mails-not-taken"}),
        "The mail server takes no mails. They are tried again by themselves.",
    ),
]
_WELL = "Well."


def parts() -> list[Part]:
    """Every part, the database first: it is written to. Any database error means that this process can't serve."""
    pulses.beat(READY_PULSE)
    now = pulses.database_now()
    signs = _signs_of_life(now)
    standing = _standing()
    found = [Part("database", True, now, "Accepts writes.")]
    found += [_judged(known, standing, signs.get(known.name)) for known in PARTS]
    if others := standing.keys() - frozenset().union(*(known.alarms for known in PARTS)):
        found.append(Part(OTHER, False, min(standing[key] for key in others), "Other alarms stand; staff know them."))
    return found


@dataclass(frozen=True)
class _Sign:
    """The last sign of life, and whether it is too long ago."""

    at: datetime | None
    is_late: bool


def _judged(known: _Known, standing: dict[str, datetime], sign: _Sign | None) -> Part:
    alarmed = [since for key, since in standing.items() if key in known.alarms]
    if alarmed:
        return Part(known.name, False, min(alarmed), known.unwell)
    if sign is not None and sign.is_late:
        return Part(known.name, False, sign.at, known.unwell)
    return Part(known.name, True, sign.at if sign else None, _WELL)


def _standing() -> dict[str, datetime]:
    """Since when alarms stand, by their headings: what follows the colon names partners and sources."""
    oldest: dict[str, datetime] = {}
    for alarm in alarms.standing():
        heading = str(alarm["key"]).partition(":")[0]
        oldest[heading] = min(alarm["since"], oldest.get(heading, alarm["since"]))
    return oldest


def _sign(at: datetime | None, now: datetime, patience: timedelta) -> _Sign:
    return _Sign(at, at is None or now - at >= patience)


def _signs_of_life(now: datetime) -> dict[str, _Sign]:
    beats = pulses.last_beats(pulses.QUEUE_CANARY, pulses.TICK)
    good = runs.last_good()
    billing = _sign(good.ended_at if good else None, now, CYCLE_PATIENCE)
    if runs.under_way() is not None:
        billing = _Sign(billing.at, is_late=False)  # one that hangs is an alarm of its own
    return {
        "queue": _sign(beats.get(pulses.QUEUE_CANARY), now, QUEUE_PATIENCE),
        "tick": _sign(beats.get(pulses.TICK), now, TICK_PATIENCE),
        "billing": billing,
    }
