"""What a mail says, rendered once: subject, text and HTML, in the customer's time zone and way to write money."""

from dataclasses import dataclass

from notifications.models import NotificationLog


class Unusable(Exception):
    """The mail can't be written as things stand (a name with a line break, a template that fails): a sentence."""


@dataclass(frozen=True)
class Written:
    """A mail, ready to be frozen. `sender` and `reply_to` are whole header values, `reply_to` may be empty."""

    sender: str
    reply_to: str
    subject: str
    text: str
    html: str


def render(log: NotificationLog) -> Written:
    """Write the mail from how things are now. Raises Unusable with the reason in words."""
    raise Unusable("not written yet")
