"""What needs a person, in words, the worst first, each with the place where it is done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.urls import reverse

from billing.models import Process
from ivy import alarms, incident_admin
from ivy.accounts.models import User
from ivy.models import Alarm
from ivy.staff.control.links import Link, address, list_of
from ivy.staff.control.room import MOST_COUNTED, Now, Switch
from notifications.backlog import Waiting
from notifications.kinds import APOLOGY
from notifications.queues import Queue

BAD, WARNING, NEWS = "bad", "warning", "news"
LEVELS = (BAD, WARNING, NEWS)


@dataclass(frozen=True)
class Way:
    """A link for those with the permission; empty: for all of staff."""

    text: str
    url: str
    permission: str = ""


@dataclass(frozen=True)
class Need:
    """Something that waits for a person. `covers`: the alarm that would tell the same."""

    key: str
    level: str
    title: str
    words: str
    since: datetime | None
    ways: tuple[Way, ...]
    covers: tuple[str, ...] = ()

    def links(self, user: "User | AbstractBaseUser | AnonymousUser") -> list[Link]:
        """Where this person may do something about it."""
        return [
            Link(way.text, way.url, f"need-{self.key}-{number}".replace(":", "-"))
            for number, way in enumerate(self.ways)
            if not way.permission or user.has_perm(way.permission)  # type: ignore[union-attr]
        ]


def needs(seen: Now) -> list[Need]:
    """Everything that needs a person. Nothing: all is well."""
    found = [*_breaker(seen), *_halts(seen), *_copied(seen), *_parts(seen), *_reviews(seen), *_quarantine(seen)]
    covered = {key for need in found for key in need.covers}
    found += [_alarm(alarm, seen.at) for alarm in seen.alarms if alarm.key not in covered]
    found += [*_apologies(seen), *_twice(seen), *_errant(seen), *_incidents(seen), *_offers(seen), *_credits(seen)]
    return sorted(found, key=lambda need: LEVELS.index(need.level))


def _breaker(seen: Now) -> Iterator[Need]:
    if seen.trip is None:
        return
    yield Need(
        "breaker",
        BAD,
        "The breaker has tripped: no customer is mailed",
        f"{_ended(seen.trip.reason)} {_count(seen.mails['held'])} mails are held back. Billing goes on.",
        seen.trip.at,
        (
            Way("See what would go out, and reset it", _reset(), "notifications.reset_breaker"),
            Way("Look at the mails held back", _review("held"), "notifications.view_notificationlog"),
            _runbook("breaker"),
        ),
        covers=("breaker",),
    )


def _halts(seen: Now) -> Iterator[Need]:
    for switch in seen.halts:
        if not (switch.is_by_breaker and seen.trip is not None):
            yield _halt(switch)


def _halt(switch: Switch) -> Need:
    halt = switch.halt
    assert halt is not None
    whom = f" of {halt.partner.name}" if halt.partner else ""
    slug = f":{halt.partner.slug}" if halt.partner else ""
    query = {"partner": halt.partner.slug} if halt.partner else {}
    way = (
        Way("See what would go out, and reset it", _reset(), "notifications.reset_breaker")
        if switch.is_by_breaker
        else Way(
            "See what would follow, and resume",
            address("control_resume", switch.process.value, **query),
            "billing.resume_process",
        )
    )
    return Need(
        f"halt:{switch.process.value}{slug}:{halt.cause}",
        BAD if switch.is_forgotten else WARNING,
        f"{switch.process.value.capitalize()}{whom} are halted"
        + (" and perhaps forgotten" if switch.is_forgotten else ""),
        f"By {halt.changed_by}: {_ended(halt.reason)} {_what_waits(switch)}",
        halt.since,
        (way,),
        covers=(f"halt-forgotten:{switch.process.value}{slug}",),
    )


WHAT_WAITS = {
    Process.CALLS: "Calls are taken in and not charged.",
    Process.ITEMS: "Items are not charged; every missed period will be, once.",
    Process.NOTIFICATIONS: "No customer is mailed; what is owed waits.",
}


def _what_waits(switch: Switch) -> str:
    partner = switch.halt.partner if switch.halt else None
    if partner is not None and switch.process == Process.NOTIFICATIONS:
        return f"No customer of {partner.name} is mailed; what is owed waits."
    return WHAT_WAITS[switch.process]


def _ended(words: str) -> str:
    """What somebody wrote, as one or more whole sentences."""
    return words.rstrip() if words.rstrip().endswith((".", "!", "?", "…")) else f"{words.rstrip()}."


def _copied(seen: Now) -> Iterator[Need]:
    if not seen.doubt:
        return
    yield Need(
        "copied-database",
        BAD,
        "No customer is mailed from this database before somebody confirms it",
        f"{_sentence(seen.doubt)} Billing goes on.",
        None,
        (Way("See what a confirmation would do", _reset(), "notifications.reset_breaker"), _runbook("copied-database")),
        covers=("copied-database",),
    )


def _parts(seen: Now) -> Iterator[Need]:
    """What is not well of the parts, before its alarm has come."""
    alarmed = {alarm.page for alarm in seen.alarms}
    for part in seen.parts:
        title, alarm = PARTS.get(part.part, (f"The {part.part} is not well", part.part))
        if part.ok or alarm in alarmed:
            continue
        yield Need(
            f"part:{part.part}",
            WARNING,
            title,
            f"{_sentence(part.detail)} {HALTING_WORKS if part.part == 'queue' else ''}".strip(),
            part.since or part.last_good_at,
            (*_where(alarm), _runbook(alarm)),
        )


HALTING_WORKS = (
    "Billing and mails are left to the second clock (tick), which looks every minute. Halting and resuming work all"
    " the same."
)
PARTS = {
    "queue": ("The queue does nothing", "queue"),
    "billing": ("No billing run has ended well lately", "billing-runs"),
    "cache": ("Redis can't be used", "cache"),
    "processes": ("A process has fallen silent", "process-silent"),
}
"""What is said of a part, and the alarm that tells the same; else both by its name."""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


REVIEWED = {
    "uncertain": ("perhaps delivered", "The connection broke after the mail was handed over: Ivy does not send twice."),
    "held": ("held back", "They wait for somebody to approve them or to say no."),
    "failed": ("failed for good", "These customers were not told."),
}


def _reviews(seen: Now) -> Iterator[Need]:
    for state, (are, why) in REVIEWED.items():
        waiting = seen.mails[state]
        if not waiting.count or (state == "held" and seen.trip is not None):
            continue
        yield Need(
            f"mails-{state}",
            WARNING,
            f"{_count(waiting)} {'mail is' if waiting.count == 1 else 'mails are'} {are}",
            why,
            waiting.oldest_at,
            (Way("Review them", _review(state), "notifications.view_notificationlog"), _runbook(f"{state}-mails")),
            covers=(f"{state}-mails",),
        )


def _twice(seen: Now) -> Iterator[Need]:
    if not seen.twice.recipients:
        return
    one = seen.twice.recipients == 1
    yield Need(
        "mailed-twice",
        NEWS,
        f"{'At least ' if seen.twice.is_cut else ''}{seen.twice.recipients:,}"
        f" {'recipient was' if one else 'recipients were'} handed two or more mails of one kind within 24 hours",
        "Sent again by staff, or about two falls, or an error: the list tells. None of these is marked as errant.",
        None,
        (
            Way("Who was mailed twice", reverse("admin:review_twice"), "notifications.view_notificationlog"),
            _runbook("customers-say-they-got-a-mail-twice"),
        ),
    )


def _apologies(seen: Now) -> Iterator[Need]:
    """Apologies that somebody has ordered and that did not go out: whoever did so has turned to something else."""
    waiting = {state: found.apologies for state, found in seen.mails.items() if found.apologies}
    if not waiting:
        return
    total, owed = sum(waiting.values()), sum(waiting.get(state, 0) for state in ON_THE_WAY)
    stopped = _what_stops_mails(seen)
    sentences = [f"{owed:,} {f'because {stopped}' if stopped else GO_BY_THEMSELVES}."] if owed else []
    sentences += [f"{waiting[state]:,} {words}." for state, words in APOLOGIES.items() if state in waiting]
    queues = [("waiting", "Look at those that wait")] if owed else []
    queues += [(state, f"Look at those {REVIEWED[state][0]}") for state in APOLOGIES if state in waiting]
    yield Need(
        "apologies",
        NEWS if total == owed and not stopped else WARNING,
        f"{'At least ' if any(seen.mails[state].count > MOST_COUNTED for state in waiting) else ''}{total:,}"
        f" {'apology waits' if total == 1 else 'apologies wait'}",
        " ".join(sentences),
        None,
        tuple(
            Way(text, address("review", queue=queue, kind=APOLOGY.name), "notifications.view_notificationlog")
            for queue, text in queues
        ),
    )


GO_BY_THEMSELVES = "with the next look for owed mails, or at the next try: nothing keeps mails back"
ON_THE_WAY = ("pending", "claimed", "sending")
APOLOGIES = {
    "held": "held back until somebody approves or suppresses it",
    "uncertain": "perhaps delivered: somebody has to find out",
    "failed": "failed for good: no apology came",
}


def _what_stops_mails(seen: Now) -> str:
    """Why no mails go out to anybody, or not to some customers; empty: they do."""
    halts = [switch.halt for switch in seen.halts if switch.process == Process.NOTIFICATIONS and switch.halt]
    if seen.trip is not None:
        return "the breaker has tripped"
    if any(halt.partner is None for halt in halts):
        return "notifications are halted"
    if seen.doubt:
        return "this database waits for a confirmation"
    names = " and ".join(sorted(halt.partner.name for halt in halts if halt.partner))
    return f"notifications of {names} are halted, or the next look is to come" if names else ""


def _errant(seen: Now) -> Iterator[Need]:
    """Between marking and apologising: nothing else tells that the second step is missing."""
    if not (count := seen.twice.to_apologise_for):
        return
    yield Need(
        "errant-mails",
        NEWS,
        f"{count:,} {'mail is' if count == 1 else 'mails are'} marked as errant, and nobody apologised",
        "They went out within 24 hours. Marking sends nothing: apologise, or leave it at that.",
        None,
        (Way("Apologise for them", _review("errant"), "notifications.view_notificationlog"),),
    )


def _quarantine(seen: Now) -> Iterator[Need]:
    if not seen.quarantine:
        return
    more = "more than " if seen.has_quarantine_beyond else ""
    reasons = ", ".join(
        f"{f'more than {MOST_COUNTED:,}' if calls > MOST_COUNTED else f'{calls:,}'} {reason.replace('_', ' ')}"
        for reason, calls, _ in sorted(seen.quarantine, key=lambda row: -row[1])
    )
    yield Need(
        "quarantine",
        WARNING,
        f"{more.capitalize()}{seen.in_quarantine:,} {'call waits' if seen.in_quarantine == 1 else 'calls wait'}"
        " in quarantine",
        f"They are on no bill until their cause is mended: {reasons}.",
        min(since for _, _, since in seen.quarantine),
        (
            Way(
                "Work on them",
                address("work_quarantine"),
                "billing.view_quarantinedcall",
            ),
            _runbook("quarantine"),
        ),
        covers=("quarantine",),
    )


def _credits(seen: Now) -> Iterator[Need]:
    if not seen.credits_waiting:
        return
    wait = "credit waits" if seen.credits_waiting == 1 else "credits wait"
    yield Need(
        "credits",
        NEWS,
        f"{seen.credits_waiting:,} {wait} for a second person",
        "Above the limit, whoever gives a credit can't approve it.",
        None,
        (Way("Look at them", reverse("admin:money_credits"), "ivy.view_creditrequest"),),
    )


def _alarm(alarm: Alarm, at: datetime) -> Need:
    over_at = alarms.clears_at(alarm, now=at)
    if over_at is not None and alarm.well_since is not None:
        return Need(
            f"alarm:{alarm.key}",
            NEWS,
            f"Alarm {alarm.key}: well again",
            f"It clears at {max(over_at, at):%H:%M:%S} UTC if it stays well. What was wrong, in the words of then:"
            f" {alarm.wrong}",
            alarm.well_since,
            (*_where(alarm.page), _runbook(alarm.page)),
        )
    return Need(
        f"alarm:{alarm.key}",
        BAD,
        f"Alarm {alarm.key}",
        alarm.words,
        alarm.since,
        (*_where(alarm.page), _runbook(alarm.page)),
    )


PLACES = {
    "billing-runs": ("Look at the runs", "billing.billingrun"),
    "billing-hangs": ("Look at the runs", "billing.billingrun"),
    "billing-errors": ("Look at the runs", "billing.billingrun"),
    "calls-unbilled": ("Look at the runs", "billing.billingrun"),
    "items-overdue": ("Look at the items", "billing.billingitem"),
    "source-quiet": ("Look at the sources", "billing.source"),
    "source-garbled": ("Look at the lines", "billing.unparsableline"),
    "cache": ("Look at the probes", "ivy.probe"),
    "cache-server": ("Look at the probes", "ivy.probe"),
    "mail-server": ("Look at the probes", "ivy.probe"),
    "clock": ("Look at the probes", "ivy.probe"),
    "disk": ("Look at the probes", "ivy.probe"),
    "process-silent": ("Look at the probes", "ivy.probe"),
    "worker-missing": ("Look at the probes", "ivy.probe"),
    "queue": ("Look at the signs of life", "ivy.pulse"),
    "tick": ("Look at the signs of life", "ivy.pulse"),
    "schedules": ("Look at the repairs", "ivy.repair"),
}
"""Where one looks first, by the page of the runbook that an alarm leads to."""


WAITING_MAILS = frozenset({"mails-not-taken", "mails-owed-too-long"})


def _where(page: str) -> Sequence[Way]:
    if page in WAITING_MAILS:
        return (Way("Look at the mails that wait", _review("waiting"), "notifications.view_notificationlog"),)
    if page not in PLACES:
        return ()
    text, model = PLACES[page]
    app, noun = model.split(".")
    # Mails that wait are told by cause in the review; the log has all that ever were.
    where = f"{reverse('admin:review')}?queue={Queue.WAITING}" if noun == "notificationlog" else list_of(model)
    return (Way(text, where, f"{app}.view_{noun}"),)


def _incidents(seen: Now) -> Iterator[Need]:
    for incident in seen.open_incidents:
        yield Need(
            f"incident:{incident.pk}",
            NEWS,
            f"Open incident: {incident.title}",
            f"{incident.get_state_display()}. Shown to {incident.get_shown_to_display()}.",
            incident.began_at,
            (Way("Tell what is new", address("ivy_incident_change", incident.pk), "ivy.view_incident"),),
        )


def _offers(seen: Now) -> Iterator[Need]:
    for number, offer in enumerate(seen.offers):
        yield Need(
            f"offer:{number}",
            NEWS,
            f"{offer.title}, and no open incident tells of it",
            "Partners see an incident in their portal, if it is shown to them.",
            offer.began_at,
            (Way("Open an incident", incident_admin.address_of(offer), "ivy.add_incident"),),
        )


def _review(state: str) -> str:
    return address("review", queue=state)


def _reset() -> str:
    return reverse("admin:control_reset_breaker")


def _runbook(page: str) -> Way:
    return Way("Runbook", f"{reverse('admin:runbook')}#{page}")


def _count(waiting: Waiting) -> str:
    return f"more than {MOST_COUNTED:,}" if waiting.count > MOST_COUNTED else f"{waiting.count:,}"
