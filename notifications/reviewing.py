"""What staff may order of mails: each a verb, noted with who ordered it and why, and safe to repeat or to do at once.

    approve     a held mail goes out after all
    retry       a failed mail is tried again
    resend      an uncertain mail goes out again, perhaps a second time to its recipient, with the same Message-ID
    delivered   an uncertain mail is known to have arrived
    suppress    a mail that waits, is held, has failed or is uncertain is not sent any more
    errant      a sent mail was an error of ours
    apologise   one mail of apology for each errant one

A verb changes the mails that it fits, and tells of the others why not. What goes out by order is exempt from the
breaker's limits; its budget is the number of mails named in the order. An order of 50,000 mails takes some seconds: all
of it is a handful of statements in one transaction, so that it is done or not done, and never half.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models.functions import Now

from notifications import history, kinds, owing, telling
from notifications.kinds import clean, why_unusable
from notifications.models import (
    Because,
    DeliveryAttempt,
    NotificationContent,
    NotificationHistory,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
    Verb,
)

APOLOGISING = 1_230_012  # the advisory lock of whoever owes apologies


@dataclass
class Reviewed:
    """What a verb has done: the keys that it changed, and why it left the others alone, by key."""

    done: list[str] = field(default_factory=list)
    left_alone: dict[str, str] = field(default_factory=dict)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why mails were left alone and how many each, the commonest first."""
        return Counter(self.left_alone.values()).most_common()


@dataclass
class Foreseen(Reviewed):
    """What a verb would do. `mails`: of those that it fits, how many by kind, partner and why they are where they are.

    `untrue`: how many of them would not go out after all, since their fall is over or their customer closed.
    """

    mails: list[tuple[str, str, str, int]] = field(default_factory=list)
    untrue: int = 0


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
        reviewed, mails = _sorted_out(keys, _why_not(verb), lock=True)
        if mails:
            ids = [mail.pk for mail in mails]
            order = StaffOrder.objects.create(verb=verb, by=by, reason=reason, count=len(mails))
            history.note(ids, by=by, verb=verb, reason=reason, to=rule.ends, order=order)
            _change(ids, rule, order if rule.goes_out else None, f"{verb} by {by}: {reason}")
            if verb == Verb.RETRY:
                _look_up_addresses(mails)
            if verb == Verb.DELIVERED:
                _end_attempts(ids, Outcome.ACCEPTED)
                telling.count_as_told(ids)
    return reviewed


def mark_errant(keys: Sequence[str], *, reason: str, by: str) -> Reviewed:
    """Mark sent mails as errors of ours: to be counted, and apologised for. May be repeated."""
    with transaction.atomic():
        reviewed, mails = _sorted_out(keys, _why_not_errant, lock=True)
        if mails:
            ids = [mail.pk for mail in mails]
            order = StaffOrder.objects.create(verb=Verb.ERRANT, by=by, reason=reason, count=len(mails))
            history.note(ids, by=by, verb=Verb.ERRANT, reason=reason, to=State.SENT, order=order)
            NotificationLog.objects.filter(pk__in=ids).update(is_errant=True)
    return reviewed


def preview(verb: Verb, keys: Sequence[str], *, one_each: bool = False) -> Foreseen:
    """What `review` would do with these mails just now, or `apologise`. Writes nothing, and waits for nobody."""
    if verb == Verb.APOLOGISE:
        reviewed, mails = _apologies(keys, lock=False, one_each=one_each)
    elif verb == Verb.ERRANT:
        reviewed, mails = _sorted_out(keys, _why_not_errant)
    else:
        reviewed, mails = _sorted_out(keys, _why_not(verb))
    counted = Counter((mail.kind, mail.partner, _why_there(mail)) for mail in mails)
    foreseen = Foreseen(reviewed.done, reviewed.left_alone)
    foreseen.mails = [(*what, count) for what, count in counted.most_common()]
    if verb in RULES and RULES[verb].goes_out:
        foreseen.untrue = len(mails) - len(telling.still_true(mail.pk for mail in mails))
    return foreseen


def apologies_for(keys: Sequence[str]) -> Reviewed:
    """A preview of `apologise`: whose recipients would get one, and who not, and why. Writes nothing."""
    return _apologies(keys, lock=False)[0]


def apologise(keys: Sequence[str], *, reason: str, by: str, one_each: bool = False) -> Reviewed:
    """Owe an apology for each of these errant mails, to the recipient of the mail. May be repeated: one each, ever.

    `one_each`: to a recipient of several of these mails only one, for the last of them; and none where an apology was
    owed since the mail went out.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Two orders about different mails of one recipient would not see each other's apologies.
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [APOLOGISING])
        reviewed, mails = _apologies(keys, lock=True, one_each=one_each)
        if mails:
            order = StaffOrder.objects.create(verb=Verb.APOLOGISE, by=by, reason=reason, count=len(mails))
            history.note(
                [mail.pk for mail in mails], by=by, verb=Verb.APOLOGISE, reason=reason, to=State.SENT, order=order
            )
            _owe_apologies(mails, order)
    return reviewed


def last_noted() -> int:
    """A mark in the history of all mails: what is done from now on comes after it."""
    return NotificationHistory.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def done_since(mark: int, ids: Collection[int], *, but_by: str = "") -> list[tuple[str, str, int]]:
    """Who has done what to how many of these mails since `last_noted` gave that mark: by, verb, count.

    `but_by`: whose own doings are left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT by, verb, count(*) FROM (
                SELECT DISTINCT by, verb, notification_id FROM notifications_notificationhistory
                WHERE id > %s AND by <> %s AND notification_id IN (SELECT unnest(%s::bigint[]))
            ) lately
            GROUP BY by, verb ORDER BY 3 DESC, 1, 2
            """,
            [max(mark, last_noted() - LOOKED_BACK), but_by, list(ids)],
        )
        return cursor.fetchall()


ALREADY = "already so"
LOOKED_BACK = 200_000  # lines of history


@dataclass(slots=True)
class _Mail:
    """What a verb goes by."""

    pk: int
    key: str
    kind: str
    state: str
    because: str
    is_errant: bool
    sent_at: datetime | None
    customer_id: int
    recipient_hash: str
    partner: str
    recipient: str
    erased_at: datetime | None
    email: str
    """The address that the customer has now."""
    order: str = ""
    """By which order it went out last; empty: by none."""


_MAILS = """
SELECT n.id, n.key, n.kind, n.state, n.because, n.is_errant, n.sent_at, n.customer_id, n.recipient_hash, p.slug,
    coalesce(c.recipient, ''), c.erased_at, cu.email, o.verb, o.by, o.reason
FROM notifications_notificationlog n
JOIN billing_customer cu ON cu.id = n.customer_id
JOIN billing_partner p ON p.id = n.partner_id
LEFT JOIN notifications_notificationcontent c ON c.notification_id = n.id
LEFT JOIN notifications_stafforder o ON o.id = n.order_id
WHERE n.key = ANY(%s) ORDER BY n.id
"""


def _known(keys: Sequence[str], *, lock: bool) -> dict[str, _Mail]:
    """The mails of these keys, locked in id order."""
    with connection.cursor() as cursor:
        cursor.execute(_MAILS + (" FOR UPDATE OF n" if lock else ""), [list(set(keys))])
        found: dict[str, _Mail] = {}
        for *known, verb, by, reason in cursor.fetchall():
            mail = _Mail(*known)
            mail.order = history.in_words(verb, by, reason) if verb else ""
            found[mail.key] = mail
        return found


def _why_there(mail: _Mail) -> str:
    if mail.because:
        return str(Because(mail.because).label)
    return mail.order or ("it went out by itself" if mail.state == State.SENT else "owed")


def _sorted_out(
    keys: Sequence[str], why_not: Callable[[_Mail], str], *, lock: bool = False
) -> tuple[Reviewed, list[_Mail]]:
    """The mails that a verb fits, and why it does not fit the others."""
    known = _known(keys, lock=lock)
    return _told_apart(keys, known, {key: why for key, mail in known.items() if (why := why_not(mail))})


def _told_apart(keys: Sequence[str], known: dict[str, _Mail], whys: dict[str, str]) -> tuple[Reviewed, list[_Mail]]:
    reviewed = Reviewed()
    for key in dict.fromkeys(keys):
        if key in known and key not in whys:
            reviewed.done.append(key)
        else:
            reviewed.left_alone[key] = whys.get(key, "there is no such mail")
    return reviewed, [known[key] for key in reviewed.done]


def _why_not(verb: Verb) -> Callable[[_Mail], str]:
    rule = RULES[verb]
    begins = " or ".join(sorted(rule.begins))

    def why_not(mail: _Mail) -> str:
        if mail.state in rule.begins:
            if verb == Verb.RETRY and why_unusable(mail.recipient):
                return why_unusable(_address_now(mail))
            return ""
        if mail.state in rule.already:
            return ALREADY
        return f"it is {mail.state}: {verb} is for mails that are {begins}"

    return why_not


def _why_not_errant(mail: _Mail) -> str:
    if mail.state != State.SENT:
        return f"it is {mail.state}, and only sent mails can be errant"
    return ALREADY if mail.is_errant else ""


def _apologies(keys: Sequence[str], *, lock: bool, one_each: bool = False) -> tuple[Reviewed, list[_Mail]]:
    """The errant mails to apologise for, and why not for the others."""
    known = _known(keys, lock=lock)
    apologies = {_apology_key(mail): mail.key for mail in known.values() if mail.erased_at is None}
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM notifications_notificationlog WHERE key = ANY(%s)", [list(apologies)])
        whys = dict.fromkeys((apologies[key] for (key,) in cursor.fetchall()), ALREADY)
    for key, mail in known.items():
        if not mail.is_errant:
            whys[key] = "it is not marked as errant"
        elif mail.erased_at is not None:
            whys[key] = "its recipient was erased"
    if one_each:
        whys = _and_one_each(known, whys)
    return _told_apart(keys, known, whys)


def _and_one_each(known: dict[str, _Mail], whys: dict[str, str]) -> dict[str, str]:
    """Why not, where a recipient gets one apology for all of these mails."""
    left = sorted((mail for key, mail in known.items() if key not in whys), key=lambda mail: (mail.sent_at, mail.pk))
    last = {(mail.customer_id, mail.recipient_hash): mail for mail in left}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT customer_id, recipient_hash, max(created_at) FROM notifications_notificationlog
            WHERE kind = %s AND customer_id = ANY(%s) GROUP BY 1, 2
            """,
            [kinds.APOLOGY.name, list({mail.customer_id for mail in left})],
        )
        apologised = {(customer, recipient): at for customer, recipient, at in cursor.fetchall()}
    for mail in left:
        who = mail.customer_id, mail.recipient_hash
        if who in apologised and mail.sent_at is not None and apologised[who] >= mail.sent_at:
            whys[mail.key] = "its recipient got an apology since"
        elif last[who] is not mail:
            whys[mail.key] = "its recipient gets one apology, for a later mail"
    return whys


def _owe_apologies(errants: Sequence[_Mail], order: StaffOrder) -> None:
    keys = [_apology_key(mail) for mail in errants]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH apology AS (
                INSERT INTO notifications_notificationlog (
                    key, kind, customer_id, partner_id, errant_id, recipient_hash, message_id, order_id,
                    reminder_number, state, because, detail, is_errant, try_count
                )
                SELECT a.key, %s, n.customer_id, n.partner_id, n.id, n.recipient_hash, a.message_id, %s, 0,
                    'pending', '', '', false, 0
                FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS a (errant, key, message_id)
                JOIN notifications_notificationlog n ON n.id = a.errant ORDER BY n.id
                RETURNING id, errant_id
            )
            INSERT INTO notifications_notificationcontent (
                notification_id, recipient, sender, reply_to, subject, text, html
            )
            SELECT a.id, c.recipient, '', '', '', '', '' FROM apology a
            JOIN notifications_notificationcontent c ON c.notification_id = a.errant_id
            """,
            [
                kinds.APOLOGY.name,
                order.pk,
                [mail.pk for mail in errants],
                keys,
                [owing.message_id(key) for key in keys],
            ],
        )


def _apology_key(errant: _Mail) -> str:
    return kinds.APOLOGY.key_for(errant.key, errant.recipient)


def _change(ids: Sequence[int], rule: _Rule, order: StaffOrder | None, detail: str) -> None:
    what: dict[str, object] = {"state": rule.ends, "detail": detail, "lease_until": None}
    if rule.ends == State.SUPPRESSED:
        what["because"] = Because.STAFF
    elif rule.ends == State.SENT:
        what |= {"because": Because.NOTHING, "sent_at": Now()}
    else:
        what |= {"because": Because.NOTHING, "next_try_at": Now(), "order": order, "try_count": 0, "token": None}
    NotificationLog.objects.filter(pk__in=ids).update(**what)


def _look_up_addresses(mails: Sequence[_Mail]) -> None:
    """A mail that failed for want of an address goes to the one that the customer has by now."""
    for mail in mails:
        if why_unusable(mail.recipient):
            NotificationContent.objects.filter(pk=mail.pk, frozen_at__isnull=True).update(recipient=_address_now(mail))


def _address_now(mail: _Mail) -> str:
    return next(iter(clean([mail.email])), "")


def _end_attempts(ids: Sequence[int], outcome: Outcome) -> None:
    DeliveryAttempt.objects.filter(notification__in=ids, outcome__in=[Outcome.OPEN, Outcome.UNKNOWN]).update(
        outcome=outcome, ended_at=Now()
    )
