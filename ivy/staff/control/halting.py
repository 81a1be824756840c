"""Stopping a process, letting it go on after a look at what follows, and resetting the breaker."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from billing import halting, since
from billing.halting import Halted
from billing.models import HaltCause, Partner, Process, ProcessSwitch
from billing.models.ledger import CHARGE_KINDS
from ivy import health, switches
from ivy.staff.acts import lasting_act
from ivy.staff.control.links import address
from ivy.staff.pages import ActForm, ActPage, Done, Preview
from notifications import breaker, queues, releasing
from notifications.kinds import KINDS
from notifications.preview import Mail
from notifications.queues import Queue

TENTH = Decimal("0.1")
REASONS_SHOWN = 10
MAILS_SHOWN = 300


class SteadyPreview(Preview):
    """A preview of figures that never stand quite still: calls come in while somebody reads.

    The world is another when a switch was moved, when something comes up that was not there, or when a figure is more
    than a tenth off what was seen.
    """

    @property
    def fingerprint(self) -> str:
        return signing.dumps(_plain(self.world), salt="what-was-seen", compress=True)

    def is_as_seen(self, seen: str) -> bool:
        try:
            before: dict[str, Any] = signing.loads(seen, salt="what-was-seen")
        except signing.BadSignature:
            return False
        now = _plain(self.world)
        return (
            before["switches"] == now["switches"]
            and before["figures"].keys() == now["figures"].keys()
            and all(
                _is_near(Decimal(before["figures"][name]), Decimal(now["figures"][name])) for name in now["figures"]
            )
        )


def _plain(world: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "switches": world["switches"],
        "figures": {name: str(figure) for name, figure in world["figures"].items()},
    }


def _is_near(before: Decimal, now: Decimal) -> bool:
    return abs(now - before) <= abs(before) * TENTH


def _moved(halts: Sequence[ProcessSwitch]) -> list[list[str]]:
    """What tells one halt from another."""
    return sorted(
        [halt.process, str(halt.partner_id or ""), halt.cause, halt.since.isoformat(), halt.reason] for halt in halts
    )


# Halting -------------------------------------------------------------------------------------------------------------


class HaltForm(ActForm):
    partner = forms.ModelChoiceField(
        Partner.objects.order_by("name"),
        label="For whom",
        to_field_name="slug",
        required=False,
        empty_label="everyone",
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["partner"].empty_means = "everyone"  # type: ignore[attr-defined]
        self.fields["reason"].widget.attrs["autofocus"] = True  # whoever opens this page is in a hurry


class ProcessPage(ActPage):
    """A page about one of `switches.PROCESSES`, by its name in the address; `?partner=` a partner's slug."""

    @property
    def name(self) -> str:
        return str(self.kwargs["process"])

    @property
    def partner(self) -> Partner | None:
        slug = self.request.GET.get("partner")
        return get_object_or_404(Partner, slug=slug) if slug else None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if kwargs["process"] not in switches.PROCESSES:
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def who(self, partner: Partner | None) -> str:
        return f"{self.name} of {partner.name}" if partner else self.name


EFFECTS = {
    Process.CALLS: "Call records are still taken in and stored. No call is charged, and none is re-rated, until staff"
    " resume; then all of them are, once.",
    Process.ITEMS: "No recurring or one-off item is charged until staff resume; then every missed period is, once.",
    Process.NOTIFICATIONS: "No mail to customers is handed over until staff resume, also none that staff order"
    " meanwhile: apologies and resends wait, too. What is owed is looked at anew before it goes.",
}
WAITS = (
    "This page waits until nothing is in flight any more: a second or two, five if a worker hangs, whose connection is"
    " then ended."
)
RESETS = (
    "A reset ends the halt that the breaker has put on notifications. What it held is looked at anew: what is still"
    " true goes out slowly, as an order in your name; what is not is suppressed."
)
GOES_ON = {
    "calls": "Items, notifications and payments go on.",
    "items": "Calls, notifications and payments go on.",
    "billing": "Notifications and payments go on.",
    "notifications": "Billing and payments go on.",
}


class HaltPage(ProcessPage):
    permission = "billing.halt_process"
    form_class = HaltForm
    button = "Halt now"
    is_dangerous = True

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"Halt {self.kwargs['process']}"

    def about(self) -> dict[str, Any]:
        halts = [
            f"{halt.process.capitalize()} of {halt.partner.name if halt.partner else 'everyone'} are halted already,"
            f" since {halt.since:%Y-%m-%d %H:%M} UTC by {halt.changed_by}: {halt.reason}"
            for halt in halting.active_halts(switches.PROCESSES[self.name])[:REASONS_SHOWN]
        ]
        return {
            "subject": f"{self.name.capitalize()} will stand still at once.",
            "sentences": [
                *(EFFECTS[process] for process in switches.PROCESSES[self.name]),
                GOES_ON[self.name],
                WAITS,
                *halts,
            ],
        }

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        _ = self.partner  # one that is not there is no page: nobody shall halt everyone by a slip in the address
        return super().get(request, *args, **kwargs)

    def do(self, form: ActForm) -> Done:
        sent = form.cleaned_data
        partner: Partner | None = sent["partner"]
        who = self.who(partner)
        before = _states(self.name, partner)
        with lasting_act(
            by=self.by, verb="halt", noun="process", name=who, reason=sent["reason"], once=sent["once"]
        ) as doing:
            changes = switches.halt(self.name, reason=sent["reason"], by=self.by, partner=partner)
            doing.summary = _halted(changes)
            doing.before, doing.after = before, _states(self.name, partner)
        level = messages.SUCCESS if any(change.changed for change in changes) else messages.WARNING
        return Done(doing.summary, reverse("admin:index"), level)


def _halted(changes: Sequence[Halted]) -> str:
    sentences = " ".join(_capital(sentence) for sentence in switches.in_words("halt", changes))
    quiet_at = max((change.quiet_at for change in changes if change.quiet_at), default=None)
    return (
        f"{sentences} The last piece of work in flight had ended by {quiet_at:%H:%M:%S} UTC." if quiet_at else sentences
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _states(name: str, partner: Partner | None) -> dict[str, Any]:
    """Who halted which of the processes, for the history."""
    halts = switches.halts_of(name, partner=partner)
    return {
        process.value: [
            {"cause": halt.cause, "since": halt.since.isoformat(), "by": halt.changed_by, "reason": halt.reason}
            for halt in halts
            if halt.process == process
        ]
        or "working"
        for process in switches.PROCESSES[name]
    }


# Resuming ------------------------------------------------------------------------------------------------------------


@dataclass
class Follows:
    """What a template tells of what would follow."""

    at: datetime
    charges: list[tuple[str, int, list[tuple[Decimal, str]]]] = field(default_factory=list)
    top_customers: list[tuple[str, str, Decimal, str]] = field(default_factory=list)
    episodes_to_open: int = 0
    mails: list[tuple[str, int]] = field(default_factory=list)
    going: list[Mail] = field(default_factory=list)
    not_mailed: list[tuple[str, int]] = field(default_factory=list)
    mail_server: health.Part | None = None
    stopped: list[str] = field(default_factory=list)
    room_this_hour: int = 0
    since: datetime | None = None
    new_calls: int = 0
    movements: list[tuple[str, int, Decimal, str]] = field(default_factory=list)
    looked_at_all: bool = True
    others_halted: list[str] = field(default_factory=list)
    bills: bool = False
    mails_customers: bool = False

    @property
    def mail_count(self) -> int:
        return sum(count for _, count in self.mails)

    @property
    def would_trip(self) -> bool:
        return (self.mails_customers or not self.stopped) and self.mail_count > self.room_this_hour


class LatePreview(ActPage):
    """A page whose preview takes its time: the page opens at once, and asks for it.

    Without scripts, or for the impatient, the button shows it: nothing is done that was not seen.
    """

    has_preview = True

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "preview" not in request.GET:
            return super().get(request, *args, **kwargs)
        shown = self.preview(self.form())
        context = {"preview": shown, "button": self.button, "is_dangerous": self.is_dangerous}
        return HttpResponse(render_to_string("admin/staff/control/preview.html", context, request))


class ResumePage(LatePreview, ProcessPage):
    permission = "billing.resume_process"
    template_name = "admin/staff/control/resume.html"
    button = "Resume now"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"Resume {self.kwargs['process']}"

    def mine(self) -> list[ProcessSwitch]:
        """The halts that this would end."""
        return [halt for halt in switches.halts_of(self.name, partner=self.partner) if halt.cause == HaltCause.STAFF]

    def about(self) -> dict[str, Any]:
        return {
            "subject": f"{_capital(self.who(self.partner))}: what would follow, and then go on.",
            "sentences": [
                f"{_capital(halt.process)} {'of ' + halt.partner.name + ' ' if halt.partner else ''}are halted since"
                f" {halt.since:%Y-%m-%d %H:%M} UTC by {halt.changed_by}: {halt.reason}"
                for halt in self.mine()
            ],
        }

    def form(self, sent: Any = None) -> ActForm:
        return self.form_class(sent)

    def preview(self, form: ActForm) -> Preview:
        partner, mine = self.partner, self.mine()
        all_halts = halting.active_halts(switches.PROCESSES[self.name])
        if not mine:
            return Preview({}, refusal=_nothing_to_resume(self.who(partner), all_halts, partner))
        at = timezone.now()
        found = switches.what_follows(self.name, at=at, partner=partner)
        began = min(halt.since for halt in mine)
        movements, is_all = since.movements_since(began, partner=partner)
        mails, load = Counter(mail.kind for mail in found.mails.mails), breaker.load()
        follows = Follows(
            at=at,
            charges=[
                (kind.replace("_", "-"), charges.count, [(sum_, code) for code, sum_ in sorted(charges.amount.items())])
                for kind, charges in sorted(found.charges.charges.items())
            ],
            top_customers=[
                (account, address("customer", account), amount, currency)
                for account, currency, amount in found.charges.top_customers
            ],
            episodes_to_open=found.charges.episodes_to_open,
            mails=sorted((KINDS[kind].name.replace("_", " "), count) for kind, count in mails.items()),
            going=found.mails.mails[:MAILS_SHOWN],
            not_mailed=found.mails.not_mailed()[:REASONS_SHOWN],
            mail_server=_mail_server() if self.name == "notifications" else None,
            stopped=[] if self.name == "notifications" and len(all_halts) == len(mine) else found.mails.stopped,
            room_this_hour=max(0, load.mails_allowed - load.mails_this_hour),
            since=began,
            new_calls=since.calls_since(began),
            movements=[
                (one.kind.replace("_", "-"), one.count, one.amount, one.currency)
                for one in sorted(movements, key=lambda one: one.kind in CHARGE_KINDS)
            ],
            looked_at_all=is_all,
            others_halted=_stay_halted(all_halts, mine),
            bills=bool(set(switches.PROCESSES[self.name]) & set(halting.BILLING)),
            mails_customers=self.name == "notifications",
        )
        figures: dict[str, Any] = {"episodes": follows.episodes_to_open, "mails": follows.mail_count}
        for kind, count, amounts in follows.charges:
            figures[f"{kind} count"] = count
            figures |= {f"{kind} {currency}": amount for amount, currency in amounts}
        world = {"switches": _moved(all_halts), "figures": figures}
        return SteadyPreview(world, {"follows": follows}, "admin/staff/control/follows.html")

    def do(self, form: ActForm) -> Done:
        sent, partner = form.cleaned_data, self.partner
        before = _states(self.name, partner)
        with lasting_act(
            by=self.by, verb="resume", noun="process", name=self.who(partner), reason=sent["reason"], once=sent["once"]
        ) as doing:
            changes = switches.resume(self.name, reason=sent["reason"], by=self.by, partner=partner)
            doing.summary = " ".join(_capital(sentence) for sentence in switches.in_words("resume", changes))
            doing.before, doing.after = before, _states(self.name, partner)
        works = not any(change.is_halted for change in changes)
        then = ""
        if works:
            then = _mails_go_out() if self.name == "notifications" else " The next run begins within a minute."
        return Done(doing.summary + then, reverse("admin:index"), messages.SUCCESS if works else messages.WARNING)


def _mails_go_out() -> str:
    """What whoever has resumed waits for: nothing seems to happen until the next pass."""
    owed = queues.counts()[Queue.WAITING]
    if not owed:
        return " No mail is owed now."
    owed_words = "One mail is owed: it goes" if owed == 1 else f"{owed:,} mails are owed: the first go"
    return f" {owed_words} out within a minute, with the next pass."


def _mail_server() -> health.Part | None:
    """How the mail server was found last; None where nobody looks at it."""
    return next((part for part in health.seen() if part.part == "mail-server"), None)


def _nothing_to_resume(who: str, halts: Sequence[ProcessSwitch], partner: Partner | None) -> str:
    mine = [halt for halt in halts if halt.partner_id == (partner.pk if partner else None)]
    if any(halt.cause == HaltCause.BREAKER for halt in mine):
        return f"{_capital(who)} are halted by the breaker, not by staff: reset the breaker instead."
    if any(halt.partner_id is None for halt in halts):
        return f"{_capital(who)} are not halted by themselves, but with everybody's: resume those for everyone."
    return f"{_capital(who)} are not halted by staff any more: somebody has resumed them, or nobody halted them."


def _stay_halted(halts: Sequence[ProcessSwitch], mine: Sequence[ProcessSwitch]) -> list[str]:
    ended = {halt.pk for halt in mine}
    return [
        f"{halt.process} of {halt.partner.name if halt.partner else 'everyone'}"
        f" ({'by the breaker' if halt.cause == HaltCause.BREAKER else f'by {halt.changed_by}'}: {halt.reason})"
        for halt in halts
        if halt.pk not in ended
    ]


# The breaker ---------------------------------------------------------------------------------------------------------


class ResetBreakerPage(LatePreview):
    permission = "notifications.reset_breaker"
    template_name = "admin/staff/control/resume.html"
    title = "Reset the breaker"
    button = "Reset the breaker now"

    def about(self) -> dict[str, Any]:
        halts = halting.active_halts((Process.NOTIFICATIONS,))
        sentences = [
            RESETS,
            "A halt by staff goes on all the same: it is resumed by itself.",
        ]
        sentences += [
            f"Staff's halt: since {halt.since:%Y-%m-%d %H:%M} UTC by {halt.changed_by}: {halt.reason}"
            for halt in halts
            if halt.cause == HaltCause.STAFF and halt.partner_id is None
        ]
        return {"subject": "What the breaker holds back, and then let it go.", "sentences": sentences}

    def form(self, sent: Any = None) -> ActForm:
        return self.form_class(sent)

    def preview(self, form: ActForm) -> Preview:
        release = releasing.preview()
        halts = [halt for halt in halting.active_halts((Process.NOTIFICATIONS,)) if halt.cause == HaltCause.BREAKER]
        if not (release.trip or release.doubt or release.mails or release.over or halts):
            return Preview({}, refusal="The breaker has not tripped, and holds nothing: there is nothing to reset.")
        kinds = sorted((kind.replace("_", " "), count) for kind, count in release.goes_out.items())
        figures = {f"goes out {kind}": count for kind, count in kinds} | {"over": release.over}
        world = {"switches": [*_moved(halts), [release.trip, release.doubt]], "figures": figures}
        minutes = -(-release.mails // release.a_minute)
        context = {"release": release, "kinds": kinds, "minutes": minutes}
        return SteadyPreview(world, context, "admin/staff/control/release.html")

    def do(self, form: ActForm) -> Done:
        sent = form.cleaned_data
        with lasting_act(
            by=self.by, verb="reset", noun="breaker", name="breaker", reason=sent["reason"], once=sent["once"]
        ) as doing:
            doing.before = _states("notifications", None)
            release, ended = releasing.reset(reason=sent["reason"], by=self.by)
            doing.after = {**_states("notifications", None), "mails": release.mails, "suppressed": release.over}
            doing.summary = (
                f"The breaker was reset: {release.mails:,} held mails go out, {release.a_minute} a minute;"
                f" {release.over:,} are no longer true and were suppressed."
            )
        stays = " Notifications stay halted by staff: resume them." if ended.is_halted else ""
        return Done(doing.summary + stays, reverse("admin:index"), messages.WARNING if stays else messages.SUCCESS)
