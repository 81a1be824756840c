"""The journal: an archive mailbox that gets each mail as second recipient of the same hand-over, read over IMAP.

Found there, a mail was accepted: the server takes a message for all recipients of a conversation, or for none. Missing
proves something only once a later mail through the same server, a canary, was found.
"""

import imaplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr

from django.conf import settings
from django.db.models.functions import Now
from imap_tools import AND, BaseMailBox, H, MailBox, MailBoxUnencrypted, MailMessageFlags
from imap_tools.errors import ImapToolsError

from notifications.models import JournalCanary
from notifications.smtp import HandOverFailed, MailServer, ServerSettings

IMAP_SECONDS = 10.0
UNREADABLE = (ImapToolsError, imaplib.IMAP4.error, OSError, EOFError)
REPORTS_AT_A_PASS = 200


@dataclass(frozen=True)
class Mailbox:
    """The journal's address and where it is read. `wait_seconds`: how long a mail may take to turn up."""

    address: str
    host: str
    port: int
    user: str
    password: str
    folder: str
    uses_tls: bool
    wait_seconds: int


class JournalUnreadable(Exception):
    """The archive mailbox can't be read just now: a sentence."""


def mailbox() -> Mailbox | None:
    """The journal that JOURNAL_URL names; None without one."""
    return Mailbox(**settings.JOURNAL) if settings.JOURNAL else None


def address() -> str:
    """The journal's address; empty without a journal."""
    return str(settings.JOURNAL.get("address", ""))


class Journal:
    """An open archive mailbox."""

    def __init__(self, box: BaseMailBox) -> None:
        self._box = box

    def holds(self, message_id: str) -> bool:
        """Whether a message with this Message-ID is there. Raises JournalUnreadable."""
        with _sentences():
            return bool(self._box.uids(AND(header=H("Message-ID", message_id))))

    def new_reports(self) -> Iterator[tuple[bytes, str]]:
        """Delivery reports that nobody has read yet: the whole message, and the mark to give to `note_read`.

        As they came: anybody may write to an address, and what they write need not make sense.
        """
        with _sentences():
            marks = self._box.uids(AND(seen=False, header=H("Content-Type", "multipart/report")))
        for mark in marks[:REPORTS_AT_A_PASS]:
            with _sentences():
                _, parts = self._box.client.uid("FETCH", mark, "(BODY.PEEK[])")
            yield b"".join(part[1] for part in parts if isinstance(part, tuple)), mark

    def note_read(self, mark: str) -> None:
        """Let `new_reports` leave this one out from now on."""
        with _sentences():
            self._box.flag(mark, MailMessageFlags.SEEN, True)


@contextmanager
def opened(box: Mailbox) -> Iterator[Journal]:
    """Read the archive. Raises JournalUnreadable with a sentence when it can't be reached or logged in to."""
    with _sentences():
        opening: BaseMailBox = (
            MailBox(box.host, box.port, timeout=IMAP_SECONDS)
            if box.uses_tls
            else MailBoxUnencrypted(box.host, box.port, timeout=IMAP_SECONDS)
        )
        opening.login(box.user, box.password, initial_folder=box.folder)
    try:
        yield Journal(opening)
    finally:
        with suppress(*UNREADABLE):
            opening.logout()


def send_canary(server: ServerSettings, box: Mailbox, *, sender: str) -> JournalCanary | None:
    """Send a mail to the journal alone, through the server that customers' mails take; None if it wasn't taken.

    `sender`: a From header's value.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = box.address
    message["Subject"] = "Canary: what was sent before this has arrived"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="notifications.ivy.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("Ivy sends this to find out whether mails that it is not sure of have reached the journal.\n")
    try:
        with MailServer(server) as connection:
            connection.offer(parseaddr(sender)[1], box.address)
            connection.hand_over(message.as_bytes())
    except HandOverFailed:
        return None
    return JournalCanary.objects.create(message_id=message["Message-ID"], server=server.name, sent_at=Now())


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise JournalUnreadable(f"The journal can't be read: {words}") from error
