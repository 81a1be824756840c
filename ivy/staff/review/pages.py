"""Looking: a queue by cause and mail by mail, one mail with all that is known of it, and who got mails twice."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from billing import halting
from billing.admin.base import money
from billing.balances import balance_at
from billing.models import Partner, Process
from ivy.staff import places
from ivy.staff.pages import StaffPage
from ivy.staff.places import Place
from ivy.staff.review import filters
from ivy.staff.review.orders import PAGES, OrderPage
from notifications import breaker, history, life, queues, rendering, repeats, reviewing
from notifications.copies import copies_of
from notifications.kinds import KINDS
from notifications.models import (
    Because,
    DeliveryAttempt,
    NotificationHistory,
    NotificationLog,
    Outcome,
    Phase,
    StaffOrder,
    State,
    Verb,
)
from notifications.queues import BY_ORDER, VERBS, Queue

MAY_LOOK = "notifications.view_notificationlog"
ROWS = 50
OTHERS_SHOWN = 20
LINKED = 6  # mails of one recipient

MEANINGS: dict[Queue, tuple[str, str]] = {
    Queue.UNCERTAIN: (
        "Perhaps delivered: the connection broke after the hand-over. Ivy sends none of these again by itself.",
        "Of every mail it is known whether it arrived. That is how it should be.",
    ),
    Queue.HELD: (
        "Held back by the breaker, or because one recipient would have got too many in a day. None goes out by itself.",
        "Nothing is held back. When the breaker trips, what it stopped waits here.",
    ),
    Queue.FAILED: (
        "Failed for good: the mail server said no, or there is no usable address. These customers were not told.",
        "No mail has failed for good.",
    ),
    Queue.ERRANT: (
        "Mails that should not have gone out so: wrong, or one copy too many. Their recipients got no apology since.",
        "No errant mail waits for an apology. Mails are marked as errant among those sent lately or got twice.",
    ),
    Queue.WAITING: (
        "Owed, and not handed over yet. They go out by themselves, now or at their next try; but not while halted.",
        "No mail waits to go out.",
    ),
    Queue.SENT: (
        "What the mail server took. If a burst of these was an error of ours, mark them as errant; then apologise.",
        "Nothing of this kind went out in this time.",
    ),
}
"""What a queue holds, and what it means when it is empty."""

NOTHING_NOTED = {Queue.WAITING: "not tried yet"}
"""What it means that nothing was noted of a mail."""

APOLOGISED = (
    "Errant mails whose recipients got an apology since, or are about to: nothing is left to decide about these.",
    "Nobody was apologised to yet.",
)

REVIEWED = {"review", "review_mail", *(f"review_{verb.value}" for verb in PAGES)}
"""The names of the addresses at which mails are gone through one by one, and decided."""

TAGS = {
    State.SENT: "is-good",
    State.UNCERTAIN: "is-warning",
    State.HELD: "is-warning",
    State.FAILED: "is-bad",
    State.SUPPRESSED: "",
}


@dataclass(frozen=True)
class Tab:
    """One queue in the row of queues; `count` as text, empty where it is not counted."""

    label: str
    count: str
    address: str
    is_current: bool
    is_trouble: bool


def tabs(current: str, counted: dict[Queue, int]) -> list[Tab]:
    """All queues with their counts, and the list of customers who got two mails."""
    trouble = {Queue.UNCERTAIN, Queue.HELD, Queue.FAILED, Queue.ERRANT}
    found = [
        Tab(
            str(queue.label),
            many(counted[queue]) if queue in counted else "",
            f"{reverse('admin:review')}?queue={queue.value}",
            queue.value == current,
            queue in trouble and bool(counted.get(queue)),
        )
        for queue in Queue
    ]
    return [*found, Tab("Got two or more", "", reverse("admin:review_twice"), current == "twice", False)]


def many(count: int, most: int = queues.LOOKED_AT) -> str:
    """A count as people read it, and a plus where counting ended."""
    return f"{count:,}+" if count >= most else f"{count:,}"


@dataclass(frozen=True)
class Button:
    """What can be done about some mails, for those who may."""

    page: type[OrderPage]
    address: str
    is_first: bool = False

    @property
    def is_quiet(self) -> bool:
        """Whether it stands back: only the first one stands out, and never one that does what can't be undone."""
        return self.page.is_dangerous or not self.is_first

    @property
    def url_name(self) -> str:
        """The name of the page's address."""
        return f"admin:review_{self.page.verb.value}"


def buttons(request: HttpRequest, verbs: tuple[Verb, ...], query: str) -> list[Button]:
    """The verbs that this person may give, each with the address that asks for the reason."""
    may = [verb for verb in verbs if request.user.has_perm(PAGES[verb].permission)]
    return [
        Button(PAGES[verb], f"{reverse(f'admin:review_{verb.value}')}?{query}", is_first=verb == may[0]) for verb in may
    ]


class QueuePage(StaffPage):
    """One queue: what its mails have in common, by cause, and below it each mail."""

    permission = MAY_LOOK
    title = "Notification review"
    template_name = "admin/staff/review/queue.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        which = filters.asked_for(request.GET)
        mark = reviewing.last_noted()  # before anything is read: what is done from now on is told as done meanwhile
        causes = queues.causes(which)
        after = request.GET.get("after", "")
        rows = queues.page(which, after=int(after) if after.isascii() and after[:18].isdigit() else None, size=ROWS + 1)
        orders = {log.pk: history.of_order(log.order, log.kind) for log in rows} if which.queue in BY_ORDER else {}
        verbs = VERBS[which.queue] if not which.apologised else ()
        means, is_empty = APOLOGISED if which.apologised else MEANINGS[which.queue]
        labels = dict(Because.choices)
        return self.page(
            tabs=tabs(which.queue.value, queues.counts()),
            which=which,
            queue=which.queue.value,
            label=which.queue.label,
            means=means,
            is_empty=is_empty,
            halts=halting.active_halts((Process.NOTIFICATIONS,)),
            trip=breaker.open_trip() if which.queue in {Queue.HELD, Queue.WAITING} else None,
            choices=filters.choices(which),
            chips=filters.chips(which),
            is_narrowed=filters.is_narrowed(which),
            total=many(causes.total) if not causes.is_cut else f"{causes.total:,}+",
            causes=causes,
            groups=[
                {
                    "cause": cause,
                    "because": labels.get(cause.because, "") if cause.because else "",
                    "address": "?" + filters.address_of(queues.narrowed_to(which, cause)),
                    "buttons": buttons(request, verbs, filters.address_of(queues.narrowed_to(which, cause), mark=mark)),
                }
                for cause in causes.causes
            ],
            buttons=buttons(request, verbs, filters.address_of(which, mark=mark)),
            nothing_noted=NOTHING_NOTED.get(which.queue, "nothing was noted"),
            rows=[
                {"log": log, "told": orders.get(log.pk) or log.detail or NOTHING_NOTED.get(which.queue, "")}
                for log in rows[:ROWS]
            ],
            query=filters.address_of(which),
            mark=mark,
            next_address=f"?{filters.address_of(which, after=rows[ROWS - 1].pk)}" if len(rows) > ROWS else "",
            first_address=f"?{filters.address_of(which)}" if after else "",
            kept=filters.kept(which),
            kinds=KINDS,
        )


class TwicePage(StaffPage):
    """Customers who got two or more mails of one kind lately."""

    permission = MAY_LOOK
    title = "Customers who got two or more mails of one kind"
    template_name = "admin/staff/review/twice.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        days, kind, partner = filters.asked_for_repeats(request.GET)
        found = repeats.repeats(days=days, kind=kind, partner=partner)
        query = filters.address_of_repeats(days, kind, partner, mark=reviewing.last_noted())
        counted = queues.counts()
        return self.page(
            tabs=tabs("twice", counted),
            to_apologise_for=counted[Queue.ERRANT],
            found=found,
            shown=_with_orders(found),
            days=days,
            chosen_kind=kind,
            chosen_partner=partner,
            all_days=repeats.DAYS,
            kinds=KINDS,
            partners=Partner.objects.order_by("name").values_list("slug", "name"),
            wrong_count=found.beyond_count,
            halts=halting.active_halts((Process.NOTIFICATIONS,)),
            buttons=buttons(request, (Verb.ERRANT,), query) if found.beyond_count else [],
            errant_address=f"{reverse('admin:review')}?queue=errant",
        )


def _with_orders(found: repeats.Repeats) -> list[tuple[repeats.Repeat, list[str]]]:
    """Each recipient, and by whose orders mails went out to them again: how it came about, where a person did it."""
    ids = [pk for one in found.shown for pk in one.ids[:LINKED]]
    ordered = NotificationLog.objects.filter(pk__in=ids, order__isnull=False).select_related("order")
    told = {log.pk: history.of_order(log.order, log.kind) for log in ordered}
    return [(one, list(dict.fromkeys(told[pk] for pk in one.ids if pk in told))) for one in found.shown]


class MailPage(StaffPage):
    """One mail: what it says, how it was tried, what it was about, and what can be done about it."""

    permission = MAY_LOOK
    title = "Mail"
    template_name = "admin/staff/review/mail.html"

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        log = rendering.known([pk]).get(pk)
        if log is None:
            raise Http404("There is no such mail.")
        queue = queues.queue_of(log)
        which = filters.asked_for(request.GET, queue)
        previous, following = queues.neighbours(which, pk)
        content = getattr(log, "content", None)
        balance = log.customer.balance_row.balance
        currency = log.customer.currency
        then = balance_at(log.customer_id, log.created_at)
        place = _came_from(request)
        carried = {"back": place.address} if place else {}
        query = filters.address_of(which, **carried)
        mark = reviewing.last_noted()
        apology = queues.apology_since(log) if queue == Queue.ERRANT else None
        return self.page(
            log=log,
            content=content,
            state=State(log.state).label,
            tag=TAGS.get(State(log.state), "is-news"),
            because=Because(log.because).label if log.because else "",
            says=_says(log),
            buttons=buttons(
                request,
                VERBS[queue] if queue is not None and not apology else (),
                filters.address_of(which, ids=log.pk, mark=mark, **carried),
            ),
            cannot=not queue,
            apology=apology,
            copies=copies_of([pk])[pk],
            which=which,
            back=place.address if place else f"{reverse('admin:review')}?{query}",
            back_words=place.words if place else which.queue.label.lower(),
            carried=f"?{urlencode(carried)}" if carried else "",
            previous=f"{reverse('admin:review_mail', args=[previous])}?{query}" if previous else "",
            following=f"{reverse('admin:review_mail', args=[following])}?{query}" if following else "",
            attempts=[_told(attempt) for attempt in log.attempts.order_by("number")],
            balance_now=money(balance, currency),
            balance_then=money(then, currency) if then is not None else "",
            balance_moved=_moved(then, balance, currency),
            threshold=money(log.episode.opened_threshold, currency) if log.episode else "",
            fell_to=money(log.episode.opened_balance, currency) if log.episode else "",
            threshold_now=money(log.alert.threshold, currency) if log.alert else "",
            history=[_line(line) for line in log.history.order_by("pk")],
            ordered=_ordered(log),
            others=NotificationLog.objects.filter(customer=log.customer_id)
            .exclude(pk=pk)
            .select_related("content")
            .order_by("-created_at", "-pk")[:OTHERS_SHOWN],
            others_shown=OTHERS_SHOWN,
            apologies=NotificationLog.objects.filter(errant=log).order_by("pk"),
        )


def _came_from(request: HttpRequest) -> Place | None:
    """The page that the mail was opened from, if that is none of the queues: these are led back to anyhow."""
    if place := places.said(request):
        return place
    place = places.told_by_browser(request) if "queue" not in request.GET else None
    is_queue_or_mail = place is not None and place.name in REVIEWED
    return None if is_queue_or_mail else place


@dataclass(frozen=True)
class Says:
    """What a mail says: as it went out, as it would go out now, or why there is nothing to show."""

    how: str
    is_frozen: bool = False
    sender: str = ""
    reply_to: str = ""
    recipient: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""


def _says(log: NotificationLog) -> Says:
    content = getattr(log, "content", None)
    if content is None:
        return Says("Nothing is kept beside the log: neither its recipient nor what it says.")
    if content.erased_at is not None:
        return Says(f"Erased at {content.erased_at:%Y-%m-%d %H:%M} UTC: whom it went to, and what it said.")
    whom = content.recipient or "nobody: no address was known"
    if content.frozen_at is not None:
        went = log.state in {State.SENT, State.UNCERTAIN, State.SENDING}
        how = "As it went out" if went else "As it was handed over, or would be again"
        return Says(
            f"{how}: written at {content.frozen_at:%Y-%m-%d %H:%M:%S} UTC, the same at every try.",
            True,
            content.sender,
            content.reply_to,
            whom,
            content.subject,
            content.text,
            content.html,
        )
    if log.state == State.SUPPRESSED:
        return Says("It was never written: it was suppressed before it was handed over.", recipient=whom)
    try:
        written = rendering.render(log)
    except rendering.Unusable as unusable:
        return Says(f"It can't be written as things stand. {unusable}", recipient=whom)
    return Says(
        "As it would go now: it has not been written yet, and will say how things are when it goes out.",
        False,
        written.sender,
        written.reply_to,
        whom,
        written.subject,
        written.text,
        written.html,
    )


def _told(attempt: DeliveryAttempt) -> dict[str, Any]:
    """An attempt phase by phase: which it came through, where it ended."""
    order = list(Phase)
    reached = order.index(Phase(attempt.phase))
    is_through = attempt.outcome == Outcome.ACCEPTED
    words = {True: "came through", False: "not reached"}
    return {
        "attempt": attempt,
        "in_words": life.attempt_in_words(attempt),
        "outcome": Outcome(attempt.outcome).label,
        "phases": [
            {
                "name": phase.value,
                "words": "ended here" if place == reached and not is_through else words[is_through or place < reached],
                "is_end": place == reached and not is_through,
                "is_through": is_through or place < reached,
            }
            for place, phase in enumerate(order)
        ],
    }


def _line(line: NotificationHistory) -> dict[str, Any]:
    """What was done to a mail, and from where to where, if that made a difference."""
    labels = dict(State.choices)
    moved = line.from_state != line.to_state
    return {
        "at": line.at,
        "verb": history.PAST.get(line.verb, line.verb),
        "by": line.by,
        "reason": line.reason,
        "order": line.order_id,
        "moved": f"{labels[line.from_state]} → {labels[line.to_state]}" if moved else "",
    }


def _ordered(log: NotificationLog) -> StaffOrder | None:
    """The order that an apology was made by: its own history begins only after that."""
    return log.order if log.errant_id and log.order and log.order.verb == Verb.APOLOGISE else None


def _moved(then: Decimal | None, now: Decimal, currency: str) -> str:
    if then is None or then == now:
        return ""
    return f"{'up' if now > then else 'down'} by {money(abs(now - then), currency)} since"
