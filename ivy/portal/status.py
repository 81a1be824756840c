"""How things stand, in plain words: for a partner with its own halts, for everybody without names or figures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing import halting, runs
from billing.models import Partner, Process, ProcessSwitch
from ivy import incidents, pulses
from ivy.incidents import PublicIncident
from ivy.portal import overview, words

LATE_AFTER = timedelta(minutes=10)
"""Billing and mails look every minute what there is to do; so long a silence is told, a long run is not."""

TITLES = {
    Process.CALLS: "Billing of calls",
    Process.ITEMS: "Billing of items",
    Process.NOTIFICATIONS: "Mails to customers",
}
WELL = {
    Process.CALLS: "Calls are billed as they are delivered.",
    Process.ITEMS: "Recurring and one-off charges are made as they fall due.",
    Process.NOTIFICATIONS: "Customers are told when their balance is low.",
}
MEANWHILE = {
    Process.CALLS: "Calls are not affected: they go on, and are charged once billing goes on.",
    Process.ITEMS: "What customers have goes on, and what falls due meanwhile is charged once billing goes on.",
    Process.NOTIFICATIONS: "Customers are not told of low balances just now; what is still true is sent afterwards.",
}


@dataclass(frozen=True)
class ProcessStatus:
    """One process: since when it is halted or behind (None: it works), and what that means to a reader."""

    title: str
    since: datetime | None
    is_halted: bool
    sentence: str
    meanwhile: str = ""


@dataclass(frozen=True)
class Banner:
    """What stands above every page while it is so. `kind`: halted or incident. `seen` changes when the words do."""

    kind: str
    sentences: Sequence[str]


def processes(partner: Partner | None) -> list[ProcessStatus]:
    """Each process as a partner sees it, or (None) everybody: halts of other partners are not theirs to read."""
    halts = _halts(partner)
    late = _late_since()
    return [_status(process, halts.get(process), late.get(process), partner) for process in Process]


def banners(partner: Partner) -> list[Banner]:
    """What a partner has to know on every page: what is halted for its customers, and open incidents it may read."""
    halts = _halts(partner)
    return [
        *([Banner("halted", _halted_sentences(halts, partner))] if halts else []),
        *(
            Banner("incident", [f"{one.title}. Since {words.moment(one.began_at)}, {one.state}."])
            for one in incidents.open_for_partners()
        ),
    ]


def fingerprint(found: Sequence[Banner]) -> str:
    """What changes whenever the banners do."""
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16]


def _halts(partner: Partner | None) -> dict[str, ProcessSwitch]:
    """The oldest halt in force by process that this reader may know of."""
    found: dict[str, ProcessSwitch] = {}
    for switch in halting.active_halts():
        is_theirs = switch.partner_id is None or (partner is not None and switch.partner_id == partner.pk)
        older = found.get(switch.process)
        if is_theirs and (older is None or switch.since < older.since):
            found[switch.process] = switch
    return found


def _late_since() -> dict[str, datetime]:
    """Since when a process has not got to its end, where that is longer than it should be."""
    now = pulses.database_now()
    done = pulses.last_beats(pulses.NOTIFICATIONS_DONE).get(pulses.NOTIFICATIONS_DONE)
    run = runs.last_good()
    ended = {
        Process.CALLS.value: run.ended_at if run else None,
        Process.ITEMS.value: run.ended_at if run else None,
        Process.NOTIFICATIONS.value: done,
    }
    if runs.under_way() is not None:
        del ended[Process.CALLS.value], ended[Process.ITEMS.value]
    return {process: at for process, at in ended.items() if at is not None and now - at > LATE_AFTER}


def _status(
    process: Process, halt: ProcessSwitch | None, late_since: datetime | None, partner: Partner | None
) -> ProcessStatus:
    title = TITLES[process]
    verb = "are" if process == Process.NOTIFICATIONS else "is"
    if halt is not None:
        sentence = f"{title} {verb} halted since {words.moment(halt.since)}."
        meanwhile = MEANWHILE[process]
        if process == Process.CALLS and partner is not None:
            meanwhile += f" {shown_up_to(partner)}"
        return ProcessStatus(title, halt.since, True, sentence, meanwhile)
    if late_since is not None:
        sentence = f"{title} {verb} behind: the last round ended at {words.moment(late_since)}."
        return ProcessStatus(title, late_since, False, sentence, MEANWHILE[process])
    return ProcessStatus(title, None, False, WELL[process])


def _halted_sentences(halts: dict[str, ProcessSwitch], partner: Partner) -> list[str]:
    """As few sentences as tell all: both halves of billing are one where both are halted."""
    calls, items = halts.get(Process.CALLS), halts.get(Process.ITEMS)
    told = []
    if calls and items:
        since = words.moment(min(calls.since, items.since))
        told.append(f"Billing is halted since {since}. Calls are not affected. {shown_up_to(partner)}")
    elif calls:
        since = words.moment(calls.since)
        told.append(f"Billing of calls is halted since {since}. Calls are not affected. {shown_up_to(partner)}")
    elif items:
        told.append(f"Billing of items is halted since {words.moment(items.since)}. {MEANWHILE[Process.ITEMS]}")
    if mails := halts.get(Process.NOTIFICATIONS):
        told.append(
            f"Mails to customers are halted since {words.moment(mails.since)}. {MEANWHILE[Process.NOTIFICATIONS]}"
        )
    return told


def shown_up_to(partner: Partner) -> str:
    """Up to when what the portal shows is complete, as a sentence."""
    through = overview.billed_through(partner.pk)
    if through.at is None:
        return "No call record was delivered yet."
    return f"Call records and balances are shown up to {words.moment(through.at)}."


def open_incidents(partner: Partner | None) -> list[PublicIncident]:
    """Those that a partner, or (None) everybody, may read of."""
    return incidents.open_for_partners() if partner else incidents.open_for_everybody()


def past_incidents(partner: Partner | None) -> list[PublicIncident]:
    return incidents.history_for_partners() if partner else incidents.history_for_everybody()
