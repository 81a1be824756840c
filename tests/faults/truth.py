"""Who had to be told what, by the ledger, the alerts and the falls; and what customers got, by the mail server.

A simple model beside Ivy's: it never looks at the notification log, save for what is shown to staff there and is
therefore no silent loss. Pure, so that its own tests can plant what it has to find.

    duplicate   more than one mail to a recipient while the balance stayed below one threshold, or one mail twice
    loss        the balance is below the threshold, its fall is not silent, nobody was told, and staff are not shown it
    wrong       no fall asks for the mail; or another recipient, account, threshold or balance than it should name
    stale       the body came although the ledger had the balance back at the threshold `SLACK` before
"""

import bisect
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email import message_from_bytes
from email.policy import default
from itertools import pairwise

# The body may follow its commit by two seconds; what is left is for a busy machine.
SLACK = timedelta(seconds=3.5)
FOREVER = datetime.max.replace(tzinfo=UTC)
MONEY = re.compile(r"(-?)\u20ac(-?[\d,]+\.\d\d)")
ACCOUNT = re.compile(r"\bC\d+\b")


@dataclass(frozen=True)
class Posting:
    """A ledger entry."""

    account: str
    at: datetime
    amount: Decimal


@dataclass(frozen=True)
class Alert:
    """A threshold of an account, and whom its mails go to."""

    id: int
    account: str
    kind: str
    threshold: Decimal
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class Fall:
    """An episode, as billing has judged it."""

    id: int
    alert: Alert
    opened_at: datetime
    closed_at: datetime | None
    is_silent: bool = False

    def message_id(self, recipient: str) -> str:
        """The Message-ID of the mail about it, reckoned anew from what the documents say of keys."""
        opened = self.opened_at.astimezone(UTC).isoformat(timespec="microseconds")
        key = f"{self.alert.kind}:{self.alert.id}:{opened}:0:{_digest(recipient)[:32]}"
        return f"<{_digest(key)[:40]}@notifications.ivy.invalid>"


@dataclass(frozen=True)
class Mail:
    """A mail that the server took: when its last byte came, to whom, and what it says."""

    at: datetime
    message_id: str
    to: str
    header_to: str
    accounts: frozenset[str]
    amounts: frozenset[Decimal]


@dataclass
class Reckoning:
    """What was found, a sentence each. `staff`: not told, and shown to staff, by the state that it is shown in."""

    duplicates: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    staff: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not (self.duplicates or self.losses or self.wrong or self.stale)


def read(content: bytes, *, at: float, to: str) -> Mail:
    """A mail from its bytes."""
    message = message_from_bytes(content, policy=default)
    part = message.get_body(("plain",))
    text = str(part.get_content()) if part is not None else ""
    return Mail(
        at=datetime.fromtimestamp(at, UTC),
        message_id=str(message["Message-ID"]).strip(),
        to=to,
        header_to=str(message["To"]).strip(),
        accounts=frozenset(ACCOUNT.findall(text)),
        amounts=frozenset(Decimal((one + two).replace(",", "")) for one, two in MONEY.findall(text)),
    )


class Balances:
    """What the balance of each account was, at any time."""

    def __init__(self, postings: Iterable[Posting]) -> None:
        self._steps: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
        for one in sorted(postings, key=lambda posting: posting.at):
            steps = self._steps[one.account]
            steps.append((one.at, (steps[-1][1] if steps else Decimal(0)) + one.amount))

    def now(self, account: str) -> Decimal:
        """The final balance."""
        steps = self._steps[account]
        return steps[-1][1] if steps else Decimal(0)

    def between(self, account: str, begin: datetime, end: datetime) -> set[Decimal]:
        """The balance at the begin, and every one that followed until the end."""
        steps = self._steps[account]
        times = [at for at, _ in steps]
        first = max(0, bisect.bisect_right(times, begin) - 1)
        return {balance for _, balance in steps[first : bisect.bisect_right(times, end)]}

    def stretches_below(self, account: str, threshold: Decimal) -> list[tuple[datetime, datetime]]:
        """From when until when the balance stayed below the threshold, the oldest first."""
        found: list[tuple[datetime, datetime]] = []
        began: datetime | None = None
        for at, balance in self._steps[account]:
            if balance < threshold and began is None:
                began = at
            elif balance >= threshold and began is not None:
                found.append((began, at))
                began = None
        return [*found, (began, FOREVER)] if began is not None else found


def reckon(
    postings: Sequence[Posting],
    alerts: Sequence[Alert],
    falls: Sequence[Fall],
    mails: Sequence[Mail],
    *,
    shown_to_staff: dict[tuple[int, str], str] | None = None,
) -> Reckoning:
    """Compare Ivy's mails with what had to be told. `shown_to_staff`: state by episode and recipient."""
    found = Reckoning()
    balances = Balances(postings)
    asked_for = {fall.message_id(to): (fall, to) for fall in falls for to in fall.alert.recipients}
    told: dict[tuple[int, str], Mail] = {}
    about: list[tuple[Alert, Mail]] = []
    for mail in sorted(mails, key=lambda mail: mail.at):
        if mail.message_id not in asked_for:
            found.wrong.append(f"no fall asks for {mail.message_id} to {mail.to}")
            continue
        fall, to = asked_for[mail.message_id]
        if (fall.id, to) in told:
            found.duplicates.append(f"{mail.message_id} to {mail.to} again at {mail.at:%H:%M:%S}")
            continue
        told[fall.id, to] = mail
        about.append((fall.alert, mail))
        found.wrong += _what_is_wrong(mail, fall, to, balances)
        found.stale += _if_stale(mail, fall.alert, balances)
    found.duplicates += _several_in_a_stretch(about, balances)
    _losses(found, falls, alerts, told, balances, shown_to_staff or {})
    return found


def reckon_by_ledger(postings: Sequence[Posting], alerts: Sequence[Alert], mails: Sequence[Mail]) -> Reckoning:
    """The same for a sender that knows no falls, by account, threshold and recipient alone."""
    found = Reckoning()
    balances = Balances(postings)
    alert_of = {(alert.account, alert.threshold, to): alert for alert in alerts for to in alert.recipients}
    about: list[tuple[Alert, Mail]] = []
    for mail in sorted(mails, key=lambda mail: mail.at):
        named = [alert_of.get((account, amount, mail.to)) for account in mail.accounts for amount in mail.amounts]
        alert = next((alert for alert in named if alert is not None), None)
        if alert is None:
            found.wrong.append(f"no alert asks for the mail to {mail.to} at {mail.at:%H:%M:%S}")
            continue
        about.append((alert, mail))
        found.stale += _if_stale(mail, alert, balances)
    found.duplicates += _several_in_a_stretch(about, balances)
    for alert in alerts:
        stretches = balances.stretches_below(alert.account, alert.threshold)
        if alert.kind != "low_balance" or not stretches or stretches[-1][1] != FOREVER:
            continue
        for to in alert.recipients:
            if not any(other is alert and mail.to == to and mail.at >= stretches[-1][0] for other, mail in about):
                found.losses.append(f"{to} was not told that {alert.account} is below {alert.threshold}")
    return found


def _what_is_wrong(mail: Mail, fall: Fall, to: str, balances: Balances) -> list[str]:
    account, threshold = fall.alert.account, fall.alert.threshold
    held = balances.between(account, fall.opened_at, mail.at)
    problems = {
        f"went to {mail.to} instead of {to}": mail.to != to or mail.header_to != to,
        f"names {sorted(mail.accounts)} instead of {account}": mail.accounts != {account},
        # Of a balance that is used up, there is no threshold to tell.
        f"does not name the threshold {threshold}": fall.alert.kind == "low_balance" and threshold not in mail.amounts,
        f"names none of the balances {sorted(held)}": not (held & mail.amounts),
    }
    return [f"{mail.message_id} {problem}" for problem, is_so in problems.items() if is_so]


def _if_stale(mail: Mail, alert: Alert, balances: Balances) -> list[str]:
    stretches = [one for one in balances.stretches_below(alert.account, alert.threshold) if one[0] <= mail.at]
    if not stretches:
        return [f"{mail.message_id} to {mail.to}: {alert.account} had not been below {alert.threshold}"]
    late = mail.at - stretches[-1][1]
    if late <= SLACK:
        return []
    return [f"{mail.message_id} to {mail.to} came {late.total_seconds():.1f} s after {alert.account} had recovered"]


def _several_in_a_stretch(about: Iterable[tuple[Alert, Mail]], balances: Balances) -> list[str]:
    """Mails beyond the first to one recipient about one threshold, while the balance stayed below it."""
    mails: dict[tuple[Alert, str], list[Mail]] = defaultdict(list)
    for alert, mail in about:
        mails[alert, mail.to].append(mail)
    found = []
    for (alert, to), sent in mails.items():
        stretches = balances.stretches_below(alert.account, alert.threshold)
        begins = [begin for begin, _ in stretches]
        for one, other in pairwise(sorted(sent, key=lambda mail: mail.at)):
            if bisect.bisect_right(begins, one.at) == bisect.bisect_right(begins, other.at):
                found.append(f"{to} was told of {alert.account} below {alert.threshold} again at {other.at:%H:%M:%S}")
    return found


def _losses(
    found: Reckoning,
    falls: Sequence[Fall],
    alerts: Sequence[Alert],
    told: dict[tuple[int, str], Mail],
    balances: Balances,
    shown_to_staff: dict[tuple[int, str], str],
) -> None:
    is_open = {fall.alert.id for fall in falls if fall.closed_at is None}
    for alert in alerts:
        if balances.now(alert.account) < alert.threshold and alert.id not in is_open:
            found.losses.append(f"{alert.account} is below {alert.threshold}, and nobody has judged it so")
    of_account = defaultdict(list)
    for fall in falls:
        of_account[fall.alert.account].append(fall)
    for fall in falls:
        account, threshold = fall.alert.account, fall.alert.threshold
        if fall.closed_at is not None or fall.is_silent or balances.now(account) >= threshold:
            continue
        # A mail about a lower threshold tells of this one, too, if this fall had begun or began while that one went on.
        lower = [
            other
            for other in of_account[account]
            if other.alert.threshold < threshold and (other.closed_at or FOREVER) > fall.opened_at
        ]
        for to in fall.alert.recipients:
            if any((one.id, to) in told for one in [fall, *lower]):
                continue
            if state := shown_to_staff.get((fall.id, to)):
                found.staff.append(state)
            else:
                found.losses.append(f"{to} was not told that {account} is below {threshold} since {fall.opened_at}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
