"""What staff may order of mails: each a verb, noted with who ordered it and why, and safe to repeat or to do at once.

    approve     a held mail goes out after all
    retry       a failed mail is tried again
    resend      an uncertain mail goes out again, perhaps a second time to its recipient, with the same Message-ID
    delivered   an uncertain mail is known to have arrived
    suppress    a mail that waits, is held, has failed or is uncertain is not sent any more
    errant      a sent mail was an error of ours
    apologise   one mail of apology for each errant one

A verb changes the mails that it fits, and tells of the others why not. What goes out by order is exempt from the
breaker's limits; its budget is the number of mails named in the order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models.functions import Now

from notifications import history, kinds, owing, telling
from notifications.kinds import clean, why_unusable
from notifications.models import (
    Because,
    DeliveryAttempt,
    NotificationContent,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
    Verb,
)


@dataclass
class Reviewed:
    """What a verb has done: the keys that it changed, and why it left the others alone, by key."""

    done: list[str] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rule:
    """From which states a verb leads where. `already`: states in which there is nothing left to do."""

    begins: frozenset[State]
    ends: State
    already: frozenset[State] = frozenset()
    goes_out: bool = False


RULES = {
    Verb.APPROVE: _Rule(
        frozenset({State.HELD}),
        State.PENDING,
        frozenset({State.PENDING, State.CLAIMED, State.SENDING, State.SENT}),
        goes_out=True,
    ),
    Verb.RETRY: _Rule(
        frozenset({State.FAILED}),
        State.PENDING,
        frozenset({State.PENDING, State.CLAIMED, State.SENDING, State.SENT}),
        goes_out=True,
    ),
    Verb.RESEND: _Rule(
        frozenset({State.UNCERTAIN}),
        State.PENDING,
        frozenset({State.PENDING, State.CLAIMED, State.SENDING, State.SENT}),
        goes_out=True,
    ),
    Verb.DELIVERED: _Rule(frozenset({State.UNCERTAIN}), State.SENT, frozenset({State.SENT})),
    Verb.SUPPRESS: _Rule(
        frozenset({State.PENDING, State.HELD, State.FAILED, State.UNCERTAIN}),
        State.SUPPRESSED,
        frozenset({State.SUPPRESSED}),
    ),
}


def review(verb: Verb, keys: Sequence[str], *, reason: str, by: str) -> Reviewed:
    """Do the verb to these mails. Raises ValueError for a verb that staff can't give, or without a reason.

    One transaction; a mail that somebody else has in hand just now is waited for.
    """
    if not reason.strip():
        raise ValueError("Say why: it is kept in the history.")
    if verb == Verb.ERRANT:
        return mark_errant(keys, reason=reason, by=by)
    if verb == Verb.APOLOGISE:
        return apologise(keys, reason=reason, by=by)
    if verb not in RULES:
        raise ValueError(f"“{verb}” is no verb of staff.")
    rule = RULES[verb]
    with transaction.atomic():
        reviewed, logs = _those(keys, lambda log: _why_not(verb, rule, log))
        if logs:
            order = StaffOrder.objects.create(verb=verb, by=by, reason=reason, count=len(logs))
            history.note(logs, by=by, verb=verb, reason=reason, to=rule.ends, order=order)
            _change(logs, rule, order if rule.goes_out else None, f"{verb} by {by}: {reason}")
            if verb == Verb.RETRY:
                _look_up_addresses(logs)
            if verb == Verb.DELIVERED:
                _end_attempts(logs, Outcome.ACCEPTED)
                telling.count_as_told(logs)
        reviewed.done = [log.key for log in logs]
    return reviewed


def mark_errant(keys: Sequence[str], *, reason: str, by: str) -> Reviewed:
    """Mark sent mails as errors of ours: to be counted, and apologised for. May be repeated."""

    def why_not(log: NotificationLog) -> str:
        if log.state != State.SENT:
            return f"it is {log.state}, and only sent mails can be errant"
        return ALREADY if log.is_errant else ""

    with transaction.atomic():
        reviewed, logs = _those(keys, why_not)
        if logs:
            order = StaffOrder.objects.create(verb=Verb.ERRANT, by=by, reason=reason, count=len(logs))
            history.note(logs, by=by, verb=Verb.ERRANT, reason=reason, to=State.SENT, order=order)
            NotificationLog.objects.filter(pk__in=[log.pk for log in logs]).update(is_errant=True)
        reviewed.done = [log.key for log in logs]
    return reviewed


def apologies_for(keys: Sequence[str]) -> Reviewed:
    """A preview of `apologise`: whose recipients would get one, and who not, and why. Writes nothing."""
    with transaction.atomic():
        reviewed, logs = _those(keys, _why_no_apology, lock=False)
        reviewed.done = [log.key for log in logs]
    return reviewed


def apologise(keys: Sequence[str], *, reason: str, by: str) -> Reviewed:
    """Owe one apology for each of these errant mails, to the recipient of the mail. May be repeated: one each, ever."""
    with transaction.atomic():
        reviewed, logs = _those(keys, _why_no_apology)
        if logs:
            order = StaffOrder.objects.create(verb=Verb.APOLOGISE, by=by, reason=reason, count=len(logs))
            history.note(logs, by=by, verb=Verb.APOLOGISE, reason=reason, to=State.SENT, order=order)
            apologies = []
            for log in logs:
                key = kinds.APOLOGY.key_for(log.key, log.content.recipient)
                apologies.append(
                    NotificationLog(
                        key=key,
                        kind=kinds.APOLOGY.name,
                        customer_id=log.customer_id,
                        partner_id=log.partner_id,
                        errant=log,
                        recipient_hash=log.recipient_hash,
                        message_id=owing.message_id(key),
                        order=order,
                    )
                )
            NotificationLog.objects.bulk_create(apologies)
            NotificationContent.objects.bulk_create(
                NotificationContent(notification=apology, recipient=log.content.recipient)
                for apology, log in zip(apologies, logs, strict=True)
            )
        reviewed.done = [log.key for log in logs]
    return reviewed


ALREADY = "already so"


def _those(
    keys: Sequence[str], why_not: Callable[[NotificationLog], str], *, lock: bool = True
) -> tuple[Reviewed, list[NotificationLog]]:
    """The mails that a verb fits, locked in id order, and why it does not fit the others."""
    found = NotificationLog.objects.select_related("content", "customer").filter(key__in=set(keys)).order_by("pk")
    if lock:
        found = found.select_for_update(of=("self",))
    logs = {log.key: log for log in found}
    reviewed = Reviewed()
    fitting = []
    for key in dict.fromkeys(keys):
        reason = why_not(logs[key]) if key in logs else "there is no such mail"
        if reason:
            reviewed.left_alone[key] = reason
        else:
            fitting.append(logs[key])
    return reviewed, fitting


def _why_not(verb: Verb, rule: _Rule, log: NotificationLog) -> str:
    if log.state in rule.begins:
        if verb == Verb.RETRY and why_unusable(log.content.recipient) and why_unusable(_address_now(log)):
            return why_unusable(_address_now(log))
        return ""
    if log.state in rule.already:
        return ALREADY
    return f"it is {log.state}: {verb} is for mails that are {' or '.join(sorted(rule.begins))}"


def _why_no_apology(log: NotificationLog) -> str:
    if not log.is_errant:
        return "it is not marked as errant"
    if log.content.erased_at is not None:
        return "its recipient was erased"
    key = kinds.APOLOGY.key_for(log.key, log.content.recipient)
    return ALREADY if NotificationLog.objects.filter(key=key).exists() else ""


def _change(logs: Iterable[NotificationLog], rule: _Rule, order: StaffOrder | None, detail: str) -> None:
    what: dict[str, object] = {"state": rule.ends, "detail": detail, "lease_until": None}
    if rule.ends == State.SUPPRESSED:
        what["because"] = Because.STAFF
    elif rule.ends == State.SENT:
        what |= {"because": Because.NOTHING, "sent_at": Now()}
    else:
        what |= {"because": Because.NOTHING, "next_try_at": Now(), "order": order, "try_count": 0, "token": None}
    NotificationLog.objects.filter(pk__in=[log.pk for log in logs]).update(**what)


def _look_up_addresses(logs: Iterable[NotificationLog]) -> None:
    """A mail that failed for want of an address goes to the one that the customer has by now."""
    for log in logs:
        if why_unusable(log.content.recipient):
            NotificationContent.objects.filter(pk=log.pk, frozen_at__isnull=True).update(recipient=_address_now(log))


def _address_now(log: NotificationLog) -> str:
    return next(iter(clean([log.customer.email])), "")


def _end_attempts(logs: Iterable[NotificationLog], outcome: Outcome) -> None:
    DeliveryAttempt.objects.filter(
        notification__in=[log.pk for log in logs], outcome__in=[Outcome.OPEN, Outcome.UNKNOWN]
    ).update(outcome=outcome, ended_at=Now())
