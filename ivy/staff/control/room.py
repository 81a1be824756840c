"""What the first page tells, read in some thirty short queries, whatever the history: `now`, and `lately`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q

from billing import backlog, halting, runs, waiting
from billing.backlog import Glance
from billing.checks import HALT_FORGOTTEN
from billing.models import BillingRun, HaltCause, Process, ProcessSwitch, RunState, SwitchHistory
from billing.runs import HowFar
from ivy import giving, health, incidents, pulses
from ivy.charged import Charged, charged_lately
from ivy.health import Part
from ivy.incidents import Offer
from ivy.models import Alarm, Incident
from ivy.staff.control.chart import BarChart
from notifications import backlog as mails_waiting
from notifications import breaker, instance
from notifications.backlog import DayOfMails, Twice, Waiting
from notifications.breaker import Load
from notifications.models import BreakerTrip

MOST_COUNTED = 10_000
"""Beyond it, counting would take longer than looking: “more than”."""
LOOKED_THROUGH = 500
LAST_RUNS = 5
SWITCHES_LOOKED_AT = 200
ENDED_LATELY = timedelta(days=1)


@dataclass(frozen=True)
class PastHalt:
    """The last halt for everyone that has ended. `began_at` is None where it began before what was looked at."""

    began_at: datetime | None
    ended_at: datetime
    halted_by: str
    why: str


@dataclass(frozen=True)
class Switch:
    """A process for everyone, or a partner's halt of it. `halt`: by which it stands still; None: it works.

    `past`: of one that works, its last halt, if that ended within a day.
    """

    process: Process
    halt: ProcessSwitch | None
    now: datetime
    past: PastHalt | None = None

    @property
    def id(self) -> str:
        """Tells the rows of the table apart."""
        whom = self.halt.partner.slug if self.halt and self.halt.partner else "everyone"
        return f"{self.process.value}-{whom}-{self.halt.cause if self.halt else 'works'}"

    @property
    def is_by_breaker(self) -> bool:
        return self.halt is not None and self.halt.cause == HaltCause.BREAKER

    @property
    def is_forgotten(self) -> bool:
        """Halted by staff for so long that whoever did it has perhaps gone home."""
        halt = self.halt
        return halt is not None and halt.cause == HaltCause.STAFF and self.now - halt.since > HALT_FORGOTTEN


@dataclass(frozen=True)
class Now:
    """How Ivy is at `at`, by the database's clock."""

    at: datetime
    switches: Sequence[Switch]
    alarms: Sequence[Alarm]
    running: BillingRun | None
    how_far: HowFar | None
    last_runs: Sequence[BillingRun]
    calls_and_items: Glance
    mails: dict[str, Waiting]
    quarantine: Sequence[tuple[str, int, datetime]]
    trip: BreakerTrip | None
    doubt: str
    parts: Sequence[Part]
    open_incidents: Sequence[Incident]
    offers: Sequence[Offer]
    credits_waiting: int
    twice: Twice

    @property
    def mails_mark(self) -> str:
        """Another text whenever mails have moved on: what tells of them elsewhere is to be told anew then."""
        return "-".join(f"{waiting.count}.{waiting.oldest_at:%H%M%S}" if waiting.oldest_at else "0"
                        for waiting in self.mails.values())  # fmt: skip

    @property
    def halts(self) -> list[Switch]:
        return [switch for switch in self.switches if switch.halt is not None]

    @property
    def has_quarantine_beyond(self) -> bool:
        return any(calls > MOST_COUNTED for _, calls, _ in self.quarantine)

    @property
    def in_quarantine(self) -> int:
        return sum(min(calls, MOST_COUNTED) for _, calls, _ in self.quarantine)

    @property
    def mails_pending(self) -> int:
        return sum(self.mails[state].count for state in ("pending", "claimed", "sending"))

    @property
    def oldest_mail_at(self) -> datetime | None:
        return self.mails["pending"].oldest_at


@dataclass(frozen=True)
class Money:
    """What runs have charged in one currency, and its chart of thirty days."""

    charged: Charged
    chart: BarChart


@dataclass(frozen=True)
class Lately:
    """What changes by the minute only, and takes longer to sum up."""

    mails: DayOfMails
    breaker: Load
    money: Sequence[Money] = field(default_factory=list)


def now() -> Now:
    """Read everything that may need a person now. Nothing is tried and nothing written."""
    at = pulses.database_now()
    running = runs.under_way()
    return Now(
        at=at,
        switches=_switches(at),
        alarms=list(Alarm.objects.standing()),
        running=running,
        how_far=runs.how_far(running) if running else None,
        last_runs=_last_runs(),
        calls_and_items=backlog.at_a_glance(at=at, counted_to=MOST_COUNTED),
        mails=mails_waiting.at_a_glance(counted_to=MOST_COUNTED),
        quarantine=waiting.by_reason(counted_to=MOST_COUNTED),
        trip=breaker.open_trip(),
        doubt=instance.doubt(),
        parts=health.seen(),
        open_incidents=list(Incident.objects.filter(resolved_at__isnull=True).order_by("-began_at")),
        offers=incidents.offers(),
        credits_waiting=giving.credits_waiting(),
        twice=mails_waiting.handed_over_twice(looked_at=MOST_COUNTED),
    )


def lately(*, with_money: bool) -> Lately:
    """Sum up the last day and the last month. Right without a cache, quicker with one."""
    money = [Money(one, BarChart.of(one.by_day)) for one in charged_lately()] if with_money else []
    return Lately(mails_waiting.last_day(at=pulses.database_now()), breaker.load(), money)


def _switches(at: datetime) -> list[Switch]:
    """Each process for everyone, by one or both causes, then the partners that are halted by themselves."""
    halts, past = halting.active_halts(), _past_halts(at)
    rows = []
    for process in Process:
        mine = [halt for halt in halts if halt.process == process]
        if not any(halt.partner is None for halt in mine):
            rows.append(Switch(process, None, at, past.get(process)))
        rows += [Switch(process, halt, at) for halt in mine]
    return rows


def _past_halts(at: datetime) -> dict[str, PastHalt]:
    """The last halt for everyone of each process, where it ended within a day: by the newest changes of switches."""
    lines = SwitchHistory.objects.filter(partner=None).order_by("-changed_at")[:SWITCHES_LOOKED_AT]
    found: dict[str, PastHalt] = {}
    resumed: dict[tuple[str, str], SwitchHistory] = {}
    for line in lines:
        which = (line.process, line.cause)
        if not line.is_halted:
            if at - line.changed_at < ENDED_LATELY:
                resumed.setdefault(which, line)
        elif which in resumed and line.process not in found:
            end = resumed[which]
            found[line.process] = PastHalt(line.changed_at, end.changed_at, line.changed_by, line.reason)
    for (process, _), end in resumed.items():
        found.setdefault(process, PastHalt(None, end.changed_at, "", ""))
    return found


def _last_runs() -> list[BillingRun]:
    """The last run that ended, and before it those of the last 500 that did anything: one is begun every minute."""
    latest = BillingRun.objects.exclude(state=RunState.RUNNING).order_by("-started_at").values_list("pk", flat=True)
    found = BillingRun.objects.filter(pk__in=list(latest[:LOOKED_THROUGH])).select_related("partner")
    last = found.order_by("-started_at").first()
    if last is None:
        return []
    busy = found.exclude(pk=last.pk).exclude(
        ~Q(state=RunState.FAILED), calls_billed=0, calls_free=0, calls_quarantined=0, item_charges=0,
        one_off_charges=0, errors=[],
    )  # fmt: skip
    return [last, *busy.order_by("-started_at")[: LAST_RUNS - 1]]
