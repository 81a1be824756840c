"""What a kind of mail is: its key, whom it goes to, when it is still true, and what it says.

A new kind is one file beside this one, two templates (`templates/mail/<name>.txt` and `.html`, in Jinja2) and a line in
`notifications.kinds`.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from notifications.facts import Facts
from notifications.models import NotificationLog

# What a header can't hold. Line breaks would begin a header of their own.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Fall:
    """One episode, as a kind needs it for its keys and recipients. `recipients` are the alert's own."""

    episode_id: int
    opened_at: datetime
    alert_id: int
    alert_kind: str
    threshold: Decimal
    customer_id: int
    partner_id: int
    email: str
    recipients: Sequence[str]


class Kind:
    """A kind of mail. `name` stands in the log and is the name of its templates.

    What it says: `subject`; `lead`, a sentence or two that mailboxes show beside the subject; and `rows`, the facts in
    a small table. The headline, what to do and the rest are its templates'. All of it is said by `Facts.say`, and by
    `say` in templates, so that catalogues can say it in other languages (`notifications.languages`).
    """

    name: ClassVar[str]
    # Sent only while the episode is open and the balance below its threshold, checked again at the point of no return.
    needs_the_fall: ClassVar[bool] = True
    # Whether the episode counts as told of, once such a mail went out.
    tells: ClassVar[bool] = False
    # Mails of these words that are owed to one recipient of a customer at once are one: it tells of the others. Empty:
    # each stands for itself.
    together: ClassVar[str] = ""
    # Whether it says how to be spared of it. What a contract needs to be told is no mailing list.
    can_be_declined: ClassVar[bool] = False

    def why_untrue(self, log: NotificationLog) -> str:
        """Why it must not go out as things stand, in words; empty: it may. Beside what the fall says of it."""
        return ""

    def key(self, fall: Fall, recipient: str, *, reminder_number: int = 0) -> str:
        """What makes the mail one of its kind: parts that never change, and nothing of the moment of sending."""
        begin = fall.opened_at.astimezone(UTC).isoformat(timespec="microseconds")
        return f"{self.name}:{fall.alert_id}:{begin}:{reminder_number}:{recipient_hash(recipient)[:32]}"

    def recipients(self, fall: Fall) -> list[str]:
        """The alert's recipients; where it has none, the customer. An empty string stands for: nobody is known."""
        return clean(fall.recipients) or clean([fall.email]) or [""]

    def subject(self, facts: Facts) -> str:
        raise NotImplementedError

    def lead(self, facts: Facts) -> str:
        raise NotImplementedError

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        """Label and value, the account last; rows without a value are left out."""
        return [(facts.say("Account"), facts.account), (facts.say("Customer"), facts.customer)]


def clean(addresses: Iterable[str]) -> list[str]:
    """The addresses trimmed, in lower case, each once, in order; empty ones left out."""
    return list(dict.fromkeys(address for address in (text.strip().lower() for text in addresses) if address))


def recipient_hash(recipient: str) -> str:
    """What stands for an address where the address itself must not: in keys, and in rows that are kept for ever."""
    return hashlib.sha256(recipient.encode()).hexdigest()


def why_unusable(recipient: str) -> str:
    """Why no mail can go to this address, in words; empty: one can."""
    if not recipient:
        return "the customer has no address"
    if CONTROL_CHARACTERS.search(recipient):
        return f"“{CONTROL_CHARACTERS.sub('?', recipient)}” is no address: it holds a line break or control character"
    try:
        validate_email(recipient)
    except ValidationError:
        return f"“{recipient}” is no address"
    return ""
