"""Which mails an address of the review asks for, and the address that asks for some mails."""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from django.http import QueryDict

from billing.models import Partner
from notifications.kinds import KINDS
from notifications.models import Because
from notifications.queues import AGES, Queue, Which
from notifications.repeats import DAYS

REASONS: dict[Queue, tuple[Because, ...]] = {
    Queue.UNCERTAIN: (Because.BROKE_OFF, Because.LEASE_EXPIRED, Because.COPIED),
    Queue.HELD: (Because.BREAKER, Because.TOO_MANY),
    Queue.FAILED: (
        Because.REFUSED, Because.BOUNCED, Because.NO_ADDRESS, Because.UNUSABLE, Because.TRIES_USED_UP,
    ),
}  # fmt: skip
"""Why mails are in a queue; those of other queues have no reason."""

LONGEST_ACCOUNT = 200


def asked_for(query: QueryDict, queue: Queue | None = None) -> Which:
    """The mails that the address names; what makes no sense is left out. The default queue is the first."""
    name = query.get("queue", "")
    queue = Queue(name) if name in Queue.values else queue or Queue.UNCERTAIN
    alert, order = query.get("alert", ""), query.get("order", "")
    return Which(
        queue=queue,
        kind=query.get("kind", "") if query.get("kind", "") in KINDS else "",
        partner=query.get("partner", "")[:64],
        alert=int(alert) if alert.isascii() and alert.isdigit() and len(alert) < 19 else None,
        account=query.get("account", "").strip()[:LONGEST_ACCOUNT],
        because=query.get("because", "") if query.get("because", "") in Because.values else "",
        words=query.get("words", "")[:200] if "words" in query else None,
        order=int(order) if order.isascii() and order.isdigit() and len(order) < 19 else None,
        hour=_hour(query.get("hour", "")),
        age=query.get("age", "") if query.get("age", "") in AGES else "",
        apologised=queue == Queue.ERRANT and query.get("apologised") == "yes",
    )


def address_of(which: Which, **more: object) -> str:
    """The query that asks for these mails, to go behind a question mark."""
    told: dict[str, object] = {"queue": which.queue.value}
    for name in ("kind", "partner", "alert", "account", "because", "age"):
        if value := getattr(which, name):
            told[name] = value
    if which.words is not None:
        told["words"] = which.words
    if which.order is not None:
        told["order"] = which.order
    if which.hour is not None:
        told["hour"] = which.hour.astimezone(UTC).strftime("%Y-%m-%dT%H")
    if which.apologised:
        told["apologised"] = "yes"
    return urlencode(told | more, doseq=True)


def _hour(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError:
        return None


@dataclass(frozen=True)
class Chip:
    """One thing that narrows the queue, in words, and the address without it."""

    words: str
    without: str


def chips(which: Which) -> list[Chip]:
    """What narrows the queue by more than the form above it: what a person came to by a link."""
    found = []
    if which.words is not None:
        found.append(Chip(f"what happened: {which.words or 'nothing was noted'}", _without(which, "words")))
    if which.order is not None:
        found.append(Chip(f"order {which.order} of staff" if which.order else "no order", _without(which, "order")))
    if which.hour is not None:
        found.append(Chip(f"the hour from {which.hour:%Y-%m-%d %H:%M} UTC", _without(which, "hour")))
    if which.alert is not None:
        found.append(Chip(f"alert {which.alert}", _without(which, "alert")))
    return found


def _without(which: Which, name: str) -> str:
    query = QueryDict(address_of(which), mutable=True)
    del query[name]
    return query.urlencode()


def is_narrowed(which: Which) -> bool:
    """Whether these are not all mails of the queue."""
    return address_of(which) != address_of(Which(which.queue, apologised=which.apologised))


@dataclass(frozen=True)
class Choice:
    """One option of a field of the form above the queue."""

    value: str
    words: str
    is_chosen: bool


def choices(which: Which) -> dict[str, list[Choice]]:
    """The options of each field, the first of which leaves it open. One query."""
    partners = Partner.objects.order_by("name").values_list("slug", "name")
    fields = {
        "kind": ("any kind", [(name, name.replace("_", " ")) for name in KINDS], which.kind),
        "partner": ("any partner", list(partners), which.partner),
        "because": (
            "any reason",
            [(because.value, str(because.label)) for because in REASONS.get(which.queue, ())],
            which.because,
        ),
        "age": ("any age", ages(which.queue), which.age or ("day" if which.queue == Queue.SENT else "")),
    }
    return {
        name: [
            *([Choice("", open_words, not chosen)] if not (name == "age" and which.queue == Queue.SENT) else []),
            *(Choice(value, words, value == chosen) for value, words in options),
        ]
        for name, (open_words, options, chosen) in fields.items()
        if options
    }


def ages(queue: Queue) -> list[tuple[str, str]]:
    """The ages that a queue can be narrowed to: what was ever sent is too much to look at."""
    return [(name, words) for name, (words, _, is_before) in AGES.items() if not (queue == Queue.SENT and is_before)]


def kept(which: Which) -> list[tuple[str, str]]:
    """What a form has to carry beside its own fields, so that it comes back to these mails."""
    return parse_qsl(address_of(which), keep_blank_values=True)


def asked_for_repeats(query: QueryDict) -> tuple[int, str, str]:
    """Days, kind and partner, of which customers who got two mails; what makes no sense is left out."""
    days = query.get("days", "")
    which = asked_for(query)
    return (int(days) if days in {str(one) for one in DAYS} else DAYS[0]), which.kind, which.partner


def address_of_repeats(days: int, kind: str, partner: str, **more: object) -> str:
    """The query that asks for all mails of these repeats but each recipient's first."""
    return urlencode({"twice": "yes", "days": days, "kind": kind, "partner": partner} | more)
