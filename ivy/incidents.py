"""Incidents: something went wrong, and people are to know how far its mending is.

All that changes an incident goes through `open_incident`, `update` and `write_post_mortem`. Each may be repeated: a
form that was sent twice, or two people at once, do nothing twice.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Now

from billing import halting
from billing.models import HaltCause, Process, SwitchHistory
from ivy import pulses
from ivy.models import Alarm, Audience, Incident, IncidentState, IncidentUpdate, Part
from notifications import breaker
from notifications.models import BreakerTrip

# The same words by the same person again: a form that was sent twice. Later, somebody really has nothing new to tell.
SENT_TWICE = timedelta(minutes=5)
LONGEST_TITLE = 200
# An alarm that comes and goes all night must not make the time line unreadable, or the page slow.
MOMENTS_OF_A_KIND = 200
HISTORY_DAYS = 90
FOR_PARTNERS = (Audience.PARTNERS, Audience.EVERYBODY)
FOR_EVERYBODY = (Audience.EVERYBODY,)


class BadIncident(ValueError):
    """It can't be told like this; the message is a sentence."""


class ChangedMeanwhile(Exception):
    """Somebody else has changed the incident since it was looked at; the message is a sentence."""


@dataclass(frozen=True)
class Change:
    """The incident as it stands now. `changed`: False if it stood so already."""

    incident: Incident
    changed: bool
    reopened: bool = False


@dataclass(frozen=True)
class Moment:
    """A line of an incident's time line. `kind`: update, halt, resume, trip, reset, alarm or all-clear."""

    at: datetime
    kind: str
    words: str
    by: str = ""
    is_shown: bool = False


@dataclass(frozen=True)
class Offer:
    """Something is halted or tripped that no open incident tells of: what a new one would begin with."""

    title: str
    affects: tuple[Part, ...]
    began_at: datetime


@dataclass(frozen=True)
class PublicUpdate:
    at: datetime
    state: str
    text: str


@dataclass(frozen=True)
class PublicIncident:
    """What people outside of staff may read of an incident: no names, no reasons, no updates that are for staff.

    The post-mortem is empty unless it is for them, too.
    """

    id: int
    title: str
    state: str
    affects: Sequence[str]
    began_at: datetime
    resolved_at: datetime | None
    updates: Sequence[PublicUpdate]
    post_mortem: str = ""

    @property
    def updated_at(self) -> datetime:
        """When something was told of it last, as far as they may read it."""
        return max([self.began_at, *(update.at for update in self.updates)])


# Verbs ---------------------------------------------------------------------------------------------------------------


def open_incident(
    title: str,
    *,
    affects: Collection[str],
    text: str,
    by: str,
    shown_to: str = Audience.STAFF,
    began_at: datetime | None = None,
) -> Change:
    """Open an incident, with its first update. An open one of the same title is returned as it is.

    `began_at`: since when the trouble has been there; None: now. Raises BadIncident.
    """
    title, text = title.strip(), text.strip()
    if not title or len(title) > LONGEST_TITLE:
        raise BadIncident(f"An incident has a title of at most {LONGEST_TITLE} characters.")
    if not text:
        raise BadIncident("Say what is known so far: the first update of an incident is not empty.")
    parts = _parts(affects)
    _check_audience(shown_to)
    if began_at is not None and began_at > pulses.database_now():
        raise BadIncident("An incident began before now.")
    if (standing := _open_one(title)) is not None:
        return Change(standing, changed=False)
    began = {"began_at": began_at} if began_at is not None else {}
    try:
        with transaction.atomic():
            incident = Incident.objects.create(title=title, affects=parts, shown_to=shown_to, opened_by=by, **began)
            _add_update(
                incident, by=by, state=IncidentState.INVESTIGATING, text=text, is_shown=shown_to != Audience.STAFF
            )
    except IntegrityError:
        if (standing := _open_one(title)) is None:
            raise
        return Change(standing, changed=False)  # somebody else opened it at this very moment
    incident.refresh_from_db()
    return Change(incident, changed=True)


def update(
    incident_id: int,
    *,
    by: str,
    text: str,
    state: str | None = None,
    is_shown: bool | None = None,
    affects: Collection[str] | None = None,
    shown_to: str | None = None,
    seen: str | None = None,
) -> Change:
    """Add an update; what is None stays as it was (`is_shown`: shown as soon as the incident is).

    Resolved ends the incident: to resolve it again changes nothing, and any other state reopens it, which is noted.
    `seen`: the `version` that the author looked at. Raises BadIncident, ChangedMeanwhile, Incident.DoesNotExist.
    """
    text = text.strip()
    if not text:
        raise BadIncident("Say what was found or done: an update is not empty.")
    with transaction.atomic():
        incident = Incident.objects.select_for_update().get(pk=incident_id)
        state = state or incident.state
        if state not in IncidentState.values:
            raise BadIncident(f"There is no state “{state}”: {', '.join(IncidentState.values)}.")
        parts = _parts(affects) if affects is not None else list(incident.affects)
        shown_to = shown_to or incident.shown_to
        _check_audience(shown_to)
        is_shown = shown_to != Audience.STAFF if is_shown is None else is_shown
        stays_resolved = incident.state == state == IncidentState.RESOLVED
        if stays_resolved or _was_sent_already(incident, (by, state, text, is_shown, parts, shown_to)):
            return Change(incident, changed=False)
        _refuse_if_changed(incident, seen)
        reopens = incident.state == IncidentState.RESOLVED
        incident.affects, incident.shown_to = parts, shown_to
        _add_update(incident, by=by, state=state, text=text, is_shown=is_shown, is_reopening=reopens)
        Incident.objects.filter(pk=incident.pk).update(
            state=state,
            affects=parts,
            shown_to=shown_to,
            resolved_at=Now() if state == IncidentState.RESOLVED else None,
        )
        incident.refresh_from_db()
    return Change(incident, changed=True, reopened=reopens)


def write_post_mortem(
    incident_id: int, *, text: str, by: str, is_shown: bool | None = None, seen: str | None = None
) -> Change:
    """Write down, once it is resolved, what happened and why; it replaces an earlier one.

    `is_shown`: whether those to whom the incident is shown read it, too; None: as before, and at first they do not.
    Raises BadIncident, ChangedMeanwhile, Incident.DoesNotExist.
    """
    text = text.strip()
    if not text:
        raise BadIncident("A post-mortem is not empty.")
    with transaction.atomic():
        incident = Incident.objects.select_for_update().get(pk=incident_id)
        if incident.state != IncidentState.RESOLVED:
            raise BadIncident("A post-mortem is written once the incident is resolved.")
        is_shown = incident.post_mortem_is_shown if is_shown is None else is_shown
        if (incident.post_mortem, incident.post_mortem_is_shown) == (text, is_shown):
            return Change(incident, changed=False)
        _refuse_if_changed(incident, seen)
        Incident.objects.filter(pk=incident.pk).update(
            post_mortem=text, post_mortem_is_shown=is_shown, post_mortem_at=Now(), post_mortem_by=by
        )
        incident.refresh_from_db()
    return Change(incident, changed=True)


def version(incident: Incident) -> str:
    """What changes with every change of the incident: a form carries it, so that nobody overrules unseen words."""
    last = incident.updates.order_by("-pk").values_list("pk", flat=True).first()
    written = incident.post_mortem_at.isoformat() if incident.post_mortem_at else "none"
    return f"{last or 0} {written}"


def _open_one(title: str) -> Incident | None:
    return Incident.objects.filter(title__iexact=title, resolved_at__isnull=True).first()


def _add_update(
    incident: Incident, *, by: str, state: str, text: str, is_shown: bool, is_reopening: bool = False
) -> None:
    IncidentUpdate.objects.create(
        incident=incident,
        by=by,
        state=state,
        text=text,
        is_shown=is_shown,
        is_reopening=is_reopening,
        affects=incident.affects,
        shown_to=incident.shown_to,
    )


def _was_sent_already(incident: Incident, words: tuple[str, str, str, bool, list[str], str]) -> bool:
    last = incident.updates.filter(at__gt=Now() - SENT_TWICE).order_by("-pk").first()
    return last is not None and words == (
        last.by,
        last.state,
        last.text,
        last.is_shown,
        list(last.affects),
        last.shown_to,
    )


def _refuse_if_changed(incident: Incident, seen: str | None) -> None:
    if seen is not None and seen != version(incident):
        raise ChangedMeanwhile(
            "Somebody else has changed the incident meanwhile: read what is new, then send it again."
        )


def _parts(affects: Iterable[str]) -> list[str]:
    """The parts in the order in which they are listed, each once; refused when there is none, or an unknown one."""
    named = set(affects)
    if unknown := sorted(named - set(Part.values)):
        raise BadIncident(f"There is no part “{unknown[0]}”: {', '.join(Part.values)}.")
    if not named:
        raise BadIncident(f"Say what it affects: {', '.join(Part.values)}.")
    return [part for part in Part.values if part in named]


def _check_audience(shown_to: str) -> None:
    if shown_to not in Audience.values:
        raise BadIncident(f"There is no audience “{shown_to}”: {', '.join(Audience.values)}.")


# What staff see ------------------------------------------------------------------------------------------------------


def timeline(incident: Incident) -> list[Moment]:
    """All updates, and every halt, resume, breaker trip and alarm from its beginning to its end (so far), in order."""
    within = (incident.began_at, incident.resolved_at or pulses.database_now())
    moments = [
        Moment(row.at, "update", _in_words(row), row.by, row.is_shown) for row in incident.updates.order_by("pk")
    ]
    moments += _switches(within)
    moments += _trips(within)
    moments += _alarms(within)
    return sorted(moments, key=lambda moment: moment.at)


def _in_words(row: IncidentUpdate) -> str:
    state = IncidentState(row.state).label
    return f"{f'Reopened: {state.lower()}' if row.is_reopening else state}. {row.text}"


def _switches(within: tuple[datetime, datetime]) -> list[Moment]:
    rows = SwitchHistory.objects.filter(changed_at__range=within).select_related("partner").order_by("changed_at", "pk")
    return [
        Moment(
            row.changed_at,
            "halt" if row.is_halted else "resume",
            f"{row.process}{f' of partner {row.partner.slug}' if row.partner else ''}"
            f" {'halted' if row.is_halted else 'resumed'}"
            f"{' by the breaker' if row.cause == HaltCause.BREAKER and row.is_halted else ''}: {row.reason}",
            row.changed_by,
        )
        for row in rows[:MOMENTS_OF_A_KIND]
    ]


def _trips(within: tuple[datetime, datetime]) -> list[Moment]:
    moments = []
    for trip in BreakerTrip.objects.filter(Q(at__range=within) | Q(reset_at__range=within)).order_by("pk"):
        if within[0] <= trip.at <= within[1]:
            moments.append(Moment(trip.at, "trip", f"The breaker tripped: {trip.reason}"))
        if trip.reset_at and within[0] <= trip.reset_at <= within[1]:
            moments.append(Moment(trip.reset_at, "reset", f"Breaker reset: {trip.reset_because}", trip.reset_by))
    return moments[:MOMENTS_OF_A_KIND]


def _alarms(within: tuple[datetime, datetime]) -> list[Moment]:
    raised = Alarm.objects.filter(raised_at__range=within).order_by("raised_at", "pk")[:MOMENTS_OF_A_KIND]
    cleared = Alarm.objects.filter(cleared_at__range=within).order_by("cleared_at", "pk")[:MOMENTS_OF_A_KIND]
    return [
        *(Moment(alarm.raised_at, "alarm", f"Alarm {alarm.key}") for alarm in raised),
        *(Moment(alarm.cleared_at, "all-clear", f"All clear: {alarm.key}") for alarm in cleared if alarm.cleared_at),
    ]


def offers() -> list[Offer]:
    """What is halted or tripped just now, and no open incident tells of. Calls and items are one where both are."""
    open_ones = Incident.objects.filter(resolved_at__isnull=True).values_list("affects", flat=True)
    told = {part for affects in open_ones for part in affects}
    since: dict[str, datetime] = {}
    only_some: set[str] = set()
    for halt in halting.active_halts():  # those for everyone come first
        if halt.process not in told and halt.process not in since:
            since[halt.process] = halt.since
            only_some |= {halt.process} if halt.partner else set()
    if Process.NOTIFICATIONS not in told and (trip := breaker.open_trip()) is not None:
        since[Process.NOTIFICATIONS] = min(trip.at, since.get(Process.NOTIFICATIONS, trip.at))
        only_some.discard(Process.NOTIFICATIONS)
    together = (
        [halting.BILLING] if set(halting.BILLING) <= set(since) - only_some else [(one,) for one in halting.BILLING]
    )
    return [
        Offer(
            _title(processes, only_some=bool(only_some & set(processes))),
            tuple(Part(process) for process in processes),
            min(since[process] for process in processes),
        )
        for processes in [*together, (Process.NOTIFICATIONS,)]
        if set(processes) <= set(since)
    ]


def _title(processes: Sequence[Process], *, only_some: bool) -> str:
    """As partners may read it; whose customers they are is not for others to read."""
    if Process.NOTIFICATIONS in processes:
        return f"{'Some customers' if only_some else 'Customers'} are not mailed"
    return f"{' and '.join(processes).capitalize()} are not billed{' for some customers' if only_some else ''}"


# What partners, and everybody, see -----------------------------------------------------------------------------------


def open_for_partners() -> list[PublicIncident]:
    """Incidents that are shown to partners (or everybody) and not resolved, the latest first."""
    return _public(_open(), FOR_PARTNERS)


def history_for_partners(*, days: int = HISTORY_DAYS) -> list[PublicIncident]:
    """Incidents that were shown to partners (or everybody) and resolved within so many days, the latest first."""
    return _public(_resolved(days), FOR_PARTNERS)


def open_for_everybody() -> list[PublicIncident]:
    """Of the open ones those that are shown to everybody."""
    return _public(_open(), FOR_EVERYBODY)


def history_for_everybody(*, days: int = HISTORY_DAYS) -> list[PublicIncident]:
    """Of the resolved ones those that were shown to everybody."""
    return _public(_resolved(days), FOR_EVERYBODY)


def _open() -> QuerySet[Incident]:
    return Incident.objects.filter(resolved_at__isnull=True)


def _resolved(days: int) -> QuerySet[Incident]:
    return Incident.objects.filter(resolved_at__gt=Now() - timedelta(days=days))


def _public(incidents: QuerySet[Incident], audiences: Collection[str]) -> list[PublicIncident]:
    shown = IncidentUpdate.objects.filter(is_shown=True).order_by("pk")
    return [
        PublicIncident(
            id=incident.pk,
            title=incident.title,
            state=incident.state,
            affects=[Part(part).label for part in incident.affects],
            began_at=incident.began_at,
            resolved_at=incident.resolved_at,
            updates=[PublicUpdate(row.at, row.state, row.text) for row in incident.updates.all()],
            post_mortem=incident.post_mortem if incident.post_mortem_is_shown else "",
        )
        for incident in incidents.filter(shown_to__in=audiences)
        .order_by("-began_at", "-pk")
        .prefetch_related(Prefetch("updates", queryset=shown))
    ]
