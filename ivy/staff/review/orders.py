"""Ordering: one page a verb, for one mail or for 50,000. Shows what would follow, asks for the reason, does it once.

Which mails it is about travels in the form: what comes into the queue meanwhile is not touched, and what somebody else
decided meanwhile is told and left alone.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from unfold.widgets import UnfoldBooleanWidget

from billing import halting
from billing.models import Process
from ivy.staff import places
from ivy.staff.acts import Refused, act
from ivy.staff.pages import ActForm, ActPage, Done, Preview
from ivy.staff.review import filters
from ivy.staff.review.selection import Damaged, pack, unpack
from notifications import apologies, history, queues, repeats, reviewing
from notifications.models import NotificationLog, Verb
from notifications.reviewing import ALREADY, Foreseen, Reviewed

LONGEST_SECONDS = 25  # web servers give up on a page after thirty
EXAMPLES = 5
MOST_SHOWN = 300


class OrderForm(ActForm):
    """Beside the reason, the mails that the order is about, and the mark in the history from when they were seen."""

    which = forms.CharField(widget=forms.HiddenInput)
    mark = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs["autofocus"] = True

    def clean(self) -> dict[str, Any]:
        """`which` becomes the ids of the mails."""
        try:
            ids = unpack(self.cleaned_data.get("which", ""))
        except Damaged:
            self.cleaned_data["which"] = []
            raise forms.ValidationError(
                "This form came back damaged. Nothing was done: go back to the queue and begin again."
            ) from None
        return {**self.cleaned_data, "which": ids}


class ApologyForm(OrderForm):
    """One apology a recipient, unless somebody wants it otherwise."""

    one_each = forms.BooleanField(
        label="One apology for each recipient, however many errant mails they got",
        required=False,
        initial=True,
        widget=UnfoldBooleanWidget,
    )


class OrderPage(ActPage):
    """What is common to all verbs."""

    template_name = "admin/staff/review/order.html"
    preview_template_name: ClassVar[str] = "admin/staff/review/order_preview.html"
    form_class = OrderForm
    previews_at_once = True
    verb: ClassVar[Verb]
    name: ClassVar[str]
    """What a button calls it."""
    key: ClassVar[str]
    """The letter that chooses it on a mail's page."""
    past: ClassVar[str]
    """What was done to mails, after their count."""
    follows: ClassVar[str]
    """What it means, for who decides at night."""
    goes_out: ClassVar[bool] = False
    going: ClassVar[str] = "They"
    """What goes out then."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.ids: list[int] = []
        self.is_cut = False
        self.foreseen: Foreseen | None = None
        return super().dispatch(request, *args, **kwargs)

    def about(self) -> dict[str, Any]:
        return {
            "subject": self._subject(),
            "sentences": [self.follows],
            "back": self._back(),
        }

    def form(self, sent: Any = None) -> ActForm:
        if sent is None:
            self.ids, self.is_cut = self._asked_for()
            mark = self.request.GET.get("mark", "")
            known = int(mark) if mark.isascii() and mark[:18].isdigit() else reviewing.last_noted()
            return self.form_class(initial={"which": pack(self.ids), "mark": known})
        form = self.form_class(sent)
        form.full_clean()
        self.ids = form.cleaned_data["which"]
        return form

    def page(self, **context: Any) -> HttpResponse:
        """With the count in the button, so that nobody sends off more than they meant to."""
        if self.foreseen is not None:
            context["button"] = self.button.format(mails=counted(len(self.foreseen.done)))
        return super().page(**context)

    def preview(self, form: ActForm) -> Preview:
        keys = queues.keys(self.ids)
        self.foreseen = foreseen = reviewing.preview(self.verb, keys, one_each=self._one_each(form))
        meanwhile = self._meanwhile(form)
        shown = list(
            NotificationLog.objects.filter(key__in=foreseen.done[:MOST_SHOWN])
            .select_related("customer", "content")
            .order_by("pk")
        )
        context = {
            "page": self,
            "fits": len(foreseen.done),
            "mails": [
                {
                    "kind": kind,
                    "partner": partner,
                    "because": because,
                    "count": count,
                }
                for kind, partner, because, count in foreseen.mails
            ],
            "left_alone": foreseen.reasons,
            "left_alone_count": len(foreseen.left_alone),
            "untrue": foreseen.untrue,
            "going": len(foreseen.done) - foreseen.untrue,
            "halts": halting.active_halts((Process.NOTIFICATIONS,)) if self.goes_out else [],
            "meanwhile": meanwhile,
            "is_cut": self.is_cut,
            "most": queues.MOST_AT_ONCE,
            "all": shown,
            "examples": shown[:EXAMPLES],
        }
        world = [self.verb, sorted(foreseen.mails), foreseen.untrue, digest(foreseen.done), foreseen.reasons]
        damage = " ".join(map(str, form.non_field_errors())) if form.is_bound else ""
        refusal = damage or ("" if foreseen.done else self._nothing(foreseen, meanwhile))
        return Preview(world, context | self._more(foreseen), self.preview_template_name, refusal)

    def _more(self, foreseen: Foreseen) -> dict[str, Any]:
        """What this verb's preview shows besides."""
        return {}

    def do(self, form: ActForm) -> Done:
        keys = queues.keys(self.ids)
        reason, mark = form.cleaned_data["reason"], form.cleaned_data["mark"]
        is_one = len(keys) == 1
        try:
            with act(
                by=self.by,
                verb=self.verb.value,
                noun="mail" if is_one else "mails",
                name=keys[0] if is_one else f"{len(keys)} mails",
                reason=reason,
                once=form.cleaned_data["once"],
            ) as doing:
                bound_waits()
                doing.before = standing(self.ids)
                reviewed = self._order(keys, form)
                if not reviewed.done:
                    raise Refused(self._nothing(reviewed, reviewing.done_since(mark, self.ids)))
                doing.after = standing(self.ids)
                doing.summary = self._sentence(reviewed, [])
        except OperationalError as error:
            raise Refused(
                "The database took too long over this, or somebody else has these mails in hand: nothing was done, to"
                " none of them. Try again, or fewer at once."
            ) from error
        others = reviewing.done_since(mark, self.ids, but_by=self.by)
        level = messages.SUCCESS if len(reviewed.done) == len(keys) else messages.WARNING
        return Done(self._sentence(reviewed, others), self._onward(is_one), level)

    def _order(self, keys: list[str], form: ActForm) -> Reviewed:
        return reviewing.review(self.verb, keys, reason=form.cleaned_data["reason"], by=self.by)

    def _one_each(self, form: ActForm) -> bool:
        return False

    def _asked_for(self) -> tuple[list[int], bool]:
        """The mails that the address names: some by their ids, all that a filter fits, or those sent too often."""
        query = self.request.GET
        if "ids" in query:
            ids = [int(text) for text in query.getlist("ids") if text.isascii() and text.isdigit() and len(text) < 19]
            return ids[: queues.MOST_AT_ONCE], len(ids) > queues.MOST_AT_ONCE
        if "twice" in query:
            days, kind, partner = filters.asked_for_repeats(query)
            ids = repeats.beyond_the_first(days=days, kind=kind, partner=partner)
            return ids[: queues.MOST_AT_ONCE], len(ids) > queues.MOST_AT_ONCE
        if "queue" in query:
            return queues.ids(filters.asked_for(query))
        return [], False

    def _meanwhile(self, form: ActForm) -> str:
        """What others have done since these mails were seen, in a sentence; empty: nothing."""
        mark = form.cleaned_data.get("mark") if form.is_bound else form.initial.get("mark")
        if mark is None:
            return ""
        if not form.is_bound and "queue" in self.request.GET and "ids" not in self.request.GET:
            return in_words(queues.done_since(filters.asked_for(self.request.GET), mark), "of this queue's mails")
        return in_words(reviewing.done_since(mark, self.ids), "of these mails")

    def _nothing(self, reviewed: Reviewed, others: Any) -> str:
        """Why there is nothing to do."""
        meanwhile = others if isinstance(others, str) else in_words(others, "of these mails")
        if not reviewed.left_alone:
            return f"No mails are chosen that this could be done to. {meanwhile}".strip()
        whys = "; ".join(f"{count:,}: {'it is ' if why == ALREADY else ''}{why}" for why, count in reviewed.reasons)
        return f"There is nothing left to do. {meanwhile} Left alone: {whys}.".replace("  ", " ")

    def _sentence(self, reviewed: Reviewed, others: list[tuple[str, str, int]]) -> str:
        done = len(reviewed.done)
        sentence = f"{counted(done)} {self.past}."
        if reviewed.left_alone:
            whys = "; ".join(f"{count:,}: {why}" for why, count in reviewed.reasons)
            sentence += f" {counted(len(reviewed.left_alone))} left alone ({whys})."
        if done and self.goes_out:
            sentence += f" {self.going} go out {when_mails_go()}."
        if others:
            sentence += f" {in_words(others, 'of these mails')}"
        return sentence

    def _subject(self) -> str:
        if self.foreseen is None:
            return self.title
        return f"{self.name}: {counted(len(self.foreseen.done))}"

    def _back(self) -> str:
        if place := places.said(self.request):
            return place.address
        if "twice" in self.request.GET:
            days, kind, partner = filters.asked_for_repeats(self.request.GET)
            return f"{reverse('admin:review_twice')}?{filters.address_of_repeats(days, kind, partner)}"
        return f"{reverse('admin:review')}?{filters.address_of(filters.asked_for(self.request.GET))}"

    def _onward(self, is_one: bool) -> str:
        """After one mail the next of the queue; after many the queue, without what was done.

        Whoever came to the mail from elsewhere was not going through the queue, and goes back there.
        """
        if place := places.said(self.request):
            return place.address
        which = filters.asked_for(self.request.GET)
        if is_one and self.ids and "ids" in self.request.GET:
            following = queues.neighbours(which, self.ids[0])[1]
            if following is not None:
                return f"{reverse('admin:review_mail', args=[following])}?{filters.address_of(which)}"
        if which.words is not None or which.hour is not None:
            return f"{reverse('admin:review')}?queue={which.queue.value}"
        return self._back()


class DeliveredPage(OrderPage):
    verb = Verb.DELIVERED
    permission = "notifications.review_mails"
    title = "Mark mails as delivered"
    name = "Delivered"
    button = "Mark {mails} as delivered"
    key = "d"
    past = "marked as delivered"
    follows = (
        "You know that they arrived: the customer says so, or the mail server's log. They count as sent, and their"
        " customers as told."
    )


class ResendPage(OrderPage):
    verb = Verb.RESEND
    permission = "notifications.review_mails"
    title = "Send uncertain mails again"
    name = "Send again"
    button = "Send {mails} again"
    key = "e"
    past = "will be sent again"
    is_dangerous = True
    goes_out = True
    follows = (
        "Whoever got the first copy may get a second. It carries the same Message-ID, so that some mailboxes show only"
        " one."
    )


class ApprovePage(OrderPage):
    verb = Verb.APPROVE
    permission = "notifications.review_mails"
    title = "Let held mails go out"
    name = "Approve"
    button = "Let {mails} go out"
    key = "a"
    past = "approved"
    goes_out = True
    follows = (
        "They go out within a minute or two, exempt from the breaker's limits. Mails that are not true any more are"
        " suppressed on the way."
    )


class RetryPage(OrderPage):
    verb = Verb.RETRY
    permission = "notifications.review_mails"
    title = "Try failed mails again"
    name = "Try again"
    button = "Try {mails} again"
    key = "r"
    past = "will be tried again"
    goes_out = True
    follows = "They were provably not delivered. Mails without an address go to the one that the customer has by now."


class SuppressPage(OrderPage):
    verb = Verb.SUPPRESS
    permission = "notifications.review_mails"
    title = "Suppress mails"
    name = "Suppress"
    button = "Suppress {mails} for good"
    key = "s"
    past = "suppressed: they never go out"
    is_dangerous = True
    follows = "They never go out, and that can't be undone. Their customers are not told of these falls."


class ErrantPage(OrderPage):
    verb = Verb.ERRANT
    permission = "notifications.mark_errant"
    title = "Mark mails as errant"
    name = "Mark as errant"
    button = "Mark {mails} as errant"
    key = "m"
    past = "marked as errant"
    follows = (
        "Errant is a mail that should not have gone out so: it was wrong, or one copy too many. Those marked wait under"
        " “Errant” for an apology; nothing is sent by this."
    )

    def _onward(self, is_one: bool) -> str:
        return super()._onward(is_one) if is_one else f"{reverse('admin:review')}?queue=errant"


class ApologisePage(OrderPage):
    verb = Verb.APOLOGISE
    permission = "notifications.apologise"
    form_class = ApologyForm
    title = "Apologise for errant mails"
    name = "Apologise"
    button = "Apologise for {mails}"
    key = "p"
    past = "apologised for"
    going = "The apologies"
    goes_out = True
    follows = "Each recipient gets a mail that names the one that it is about, and says what was wrong with it."
    preview_template_name = "admin/staff/review/apologies_preview.html"

    def _one_each(self, form: ActForm) -> bool:
        return bool(form.cleaned_data.get("one_each")) if form.is_bound else True

    def _more(self, foreseen: Foreseen) -> dict[str, Any]:
        return {"samples": apologies.samples(foreseen.done)}

    def _order(self, keys: list[str], form: ActForm) -> Reviewed:
        return reviewing.apologise(
            keys, reason=form.cleaned_data["reason"], by=self.by, one_each=form.cleaned_data["one_each"]
        )


PAGES: dict[Verb, type[OrderPage]] = {
    page.verb: page
    for page in (DeliveredPage, ResendPage, ApprovePage, RetryPage, SuppressPage, ErrantPage, ApologisePage)
}


def when_mails_go() -> str:
    """When a mail that is owed now goes out, with regard to the halts that there are."""
    halts = halting.active_halts((Process.NOTIFICATIONS,))
    if any(halt.partner is None for halt in halts):
        return "as soon as notifications are resumed; they are halted now"
    if halts:
        names = " and ".join(sorted({halt.partner.name for halt in halts if halt.partner}))
        return f"within a minute or two; those of {names} as soon as that partner's notifications are resumed"
    return "within a minute or two"


def counted(count: int) -> str:
    """`1 mail`, `1,000 mails`."""
    return f"{count:,} {'mail' if count == 1 else 'mails'}"


def in_words(lines: Iterable[tuple[str, str, int]], of: str) -> str:
    """Who did what to how many meanwhile, in a sentence; empty: nobody did anything."""
    told = [f"{by} {history.PAST.get(verb, f'did “{verb}” to')} {count:,}" for by, verb, count in lines]
    return f"Meanwhile, {'; '.join(told)} {of}." if told else ""


def standing(ids: list[int]) -> dict[str, int]:
    """How many of these mails are in which state, for the audit trail; errant ones apart."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT CASE WHEN is_errant THEN 'errant' ELSE state END, count(*)
            FROM notifications_notificationlog WHERE id = ANY(%s) GROUP BY 1 ORDER BY 1
            """,
            [ids],
        )
        return dict(cursor.fetchall())


def digest(keys: Iterable[str]) -> str:
    """A short text that is another one for other keys."""
    return hashlib.sha256("\0".join(keys).encode()).hexdigest()


def bound_waits() -> None:
    """Give up, and take all of it back, rather than let a person wait for a page that never comes."""
    assert transaction.get_connection().in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
            [f"{LONGEST_SECONDS}s", "10s"],
        )
