"""Halting and resuming as people ask for it, by a command or a page: "billing" is calls and items together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing import halting
from billing.halting import Halted
from billing.models import HaltCause, Partner, Process, ProcessSwitch
from billing.preview import Preview, preview
from notifications import preview as mails_owed

PROCESSES: dict[str, tuple[Process, ...]] = {
    "billing": halting.BILLING,
    **{str(process.value): (process,) for process in Process},
}
"""What can be asked for by name, and which processes that is."""


@dataclass(frozen=True)
class WhatFollows:
    """What the next run and the next pass would do, were nothing halted."""

    charges: Preview
    mails: mails_owed.Preview


def halt(name: str, *, reason: str, by: str, partner: Partner | None = None) -> list[Halted]:
    """Stop the processes of that name. Returns once nothing of them is in flight. Not inside a transaction."""
    return [halting.halt(process, reason=reason, by=by, partner=partner) for process in PROCESSES[name]]


def resume(name: str, *, reason: str, by: str, partner: Partner | None = None) -> list[Halted]:
    """End what staff halted; a halt by the breaker stays. Not inside a transaction."""
    return [
        halting.resume(process, reason=reason, by=by, partner=partner, cause=HaltCause.STAFF)
        for process in PROCESSES[name]
    ]


def what_follows(name: str, *, at: datetime, partner: Partner | None = None) -> WhatFollows:
    """What would follow if it went on at `at`. Writes nothing; takes seconds for a million calls."""
    charged = [process for process in PROCESSES[name] if process in halting.BILLING]
    charges = preview(at=at, processes=charged, partner=partner)
    return WhatFollows(charges, mails_owed.preview(at=at, falls=charges.falls, partner=partner))


def mails_after(falls: Collection[int], *, at: datetime, partner: Partner | None = None) -> int:
    """How many mails would go out once balances have fallen below these alerts; those that are owed now among them."""
    return len(mails_owed.preview(at=at, falls=falls, partner=partner).mails)


def halts_of(name: str, *, partner: Partner | None = None) -> list[ProcessSwitch]:
    """The halts in force of that name, for everyone or the partner itself, by staff or by the breaker."""
    whom = partner.pk if partner else None
    return [halt for halt in halting.active_halts(PROCESSES[name]) if halt.partner_id == whom]


def in_words(verb: str, changes: Sequence[Halted]) -> list[str]:
    """What `halt` or `resume` (the verb) did, a sentence for each process."""
    return [_one_in_words(verb, change) for change in changes]


def _one_in_words(verb: str, change: Halted) -> str:
    who = f"{change.process.value} of partner {change.partner}" if change.partner else change.process.value
    if verb == "halt":
        told = f"{who}: halted; nothing is in flight" if change.changed else f"{who}: halted already"
    elif change.is_halted:
        told = f"{who}: still halted, by the breaker or for everyone" + ("; staff's halt is ended" * change.changed)
    else:
        told = f"{who}: working again" if change.changed else f"{who}: was not halted"
    if change.ended_backends:
        told += f"; {change.ended_backends} hung and had to be ended"
    return told + "."
