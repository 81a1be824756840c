"""What a mail says, rendered once: subject, text and HTML, in the customer's time zone and way to write money.

`render` writes it from how things are now; what it wrote is frozen beside the log. `assemble` and `for_backend` make
the message from what was frozen, the same at every try.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email import policy
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from django.core.mail import EmailMultiAlternatives
from django.db.models import DateTimeField, Prefetch
from django.db.models.functions import Now
from django.template.loader import get_template

from billing import prepared
from notifications.copies import copies_of
from notifications.facts import Facts, facts_of, paces_of, sender_of
from notifications.formats import straight
from notifications.kinds import APOLOGY, KINDS, Kind, why_unusable
from notifications.kinds.base import CONTROL_CHARACTERS
from notifications.models import NotificationContent, NotificationLog

LINE = 78  # characters of a header, where it can be broken
ENCODED_BYTES = 39  # of one encoded word: beside the name of any header that we encode it keeps to the line
BODY_LINE = 76  # the most that quoted-printable may have
# An address that needs no parser: there is one way to read it.
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
PLAIN_ADDRESS = re.compile(rf"{ATOM}(?:\.{ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
NEXT_HEADER = re.compile(r"\r\n(?![ \t])")
# Addresses and names that are kept as they were read and written: those of the partners come back with every mail.
KEPT = 512


class Unusable(Exception):
    """The mail can't be written as things stand (a name with a line break, a template that fails): a sentence."""


@dataclass(frozen=True)
class Written:
    """A mail, ready to be frozen. `sender` and `reply_to` are whole header values, `reply_to` may be empty.

    `message` is what `assemble` makes of it, as it goes over the wire.
    """

    recipient: str
    sender: str
    reply_to: str
    subject: str
    text: str
    html: str
    frozen_at: datetime
    message: bytes = b""


RELATED = ("customer__balance_row", "partner", "alert", "episode", "content")


def known(ids: Iterable[int]) -> dict[int, Any]:
    """These mails with all that they are about, as it is now; `as_of` tells when that is, `pace` how fast money goes.

    Two queries, and two more where some of them apologise for errant ones: of those it tells how many `copies` went.
    """
    rows = NotificationLog.objects.select_related(*RELATED).annotate(as_of=Now(output_field=DateTimeField()))
    errant = Prefetch("errant", NotificationLog.objects.select_related("content"))
    with prepared.planned_once():
        logs: dict[int, Any] = rows.prefetch_related(errant).in_bulk(list(ids))
    if logs:
        as_of = next(iter(logs.values())).as_of  # of the one statement
        paces = paces_of([log.customer_id for log in logs.values()], at=as_of)
        errants = [log.errant for log in logs.values() if log.errant_id is not None]
        copies = copies_of(errant.pk for errant in errants) if errants else {}
        for errant in errants:
            errant.copies = copies[errant.pk]
        for log in logs.values():
            log.pace = paces[log.customer_id]
    return logs


def apology_for(errant: Any) -> NotificationLog:
    """The apology for this mail, which `known` has fetched: as it would be fetched, were it owed. Never saved."""
    errant.copies = copies_of([errant.pk])[errant.pk]
    recipient = errant.content.recipient
    apology: Any = NotificationLog(
        key=APOLOGY.key_for(errant.key, recipient),
        kind=APOLOGY.name,
        customer=errant.customer,
        partner=errant.partner,
        errant=errant,
        recipient_hash=errant.recipient_hash,
        message_id=errant.message_id,
    )
    apology.content = NotificationContent(notification=apology, recipient=recipient)
    apology.as_of, apology.pace = errant.as_of, errant.pace
    return apology


def render(log: NotificationLog) -> Written:
    """Write the mail from how things are, or were when `known` fetched it. Raises Unusable with the reason in words.

    What it returns has been assembled once, so that no later try fails for what it says.
    """
    kind = KINDS.get(log.kind)
    if kind is None:
        raise Unusable(f"Ivy knows no mails of the kind “{log.kind}”.")
    about: Any = _with_all_it_is_about(log)
    _refuse_what_no_header_holds(about)
    context = _told_by(kind, facts_of(about, at=about.as_of, pace=about.pace))
    written = Written(
        recipient=about.content.recipient,
        sender=_sender(about.partner.sender_name or about.partner.name, sender_of(about.partner)),
        reply_to=ascii_address(about.partner.reply_to) if about.partner.reply_to else "",
        subject=context["subject"],
        text=_filled(f"mail/{kind.name}.txt", context).strip() + "\n",
        html=_filled(f"mail/{kind.name}.html", context).strip() + "\n",
        frozen_at=about.as_of,  # the database's clock: this machine's may be wrong, and the mail's date with it
    )
    return replace(written, message=_try_out(about, written))


@lru_cache(maxsize=KEPT)
def _sender(name: str, address: str) -> str:
    return str(Address(straight(name), addr_spec=ascii_address(address)))


def _with_all_it_is_about(log: NotificationLog) -> NotificationLog:
    about = log if hasattr(log, "as_of") else known([log.pk])[log.pk]
    if not hasattr(about, "content"):
        raise Unusable("It has no recipient: the row beside the log that names one is missing.")
    if about.errant is None and (about.episode is None or about.alert is None):
        raise Unusable("It is about no fall below an alert's threshold, and about no earlier mail.")
    return about


def _refuse_what_no_header_holds(log: NotificationLog) -> None:
    partner, customer = log.partner, log.customer
    of_partner, of_customer = f"of the partner “{partner.slug}”", f"of the customer “{_shown(customer.account)}”"
    for what, text, where in [
        (f"The name {of_partner}", partner.name, "Partners"),
        (f"The sender's name {of_partner}", partner.sender_name, "Partners, Mails to customers"),
        (f"The name {of_customer}", customer.name, "Customers"),
        ("The account", customer.account, "Customers"),
    ]:
        if CONTROL_CHARACTERS.search(text):
            raise Unusable(f"{what} holds a line break or control character, “{_shown(text)}”: mend it ({where}).")
    for what, address, where in [
        (f"The sender address {of_partner}", sender_of(partner), "Partners, Mails to customers"),
        (f"The reply address {of_partner}", partner.reply_to, "Partners, Mails to customers"),
        ("The recipient", log.content.recipient, "the alert's recipients, or the customer's e-mail"),
    ]:
        if not address and what.startswith("The reply"):
            continue
        reason = _why_unusable(address)
        if reason:
            raise Unusable(f"{what} can't be used, {reason}: mend it ({where}).")
    try:
        ZoneInfo(customer.timezone)
    except (ValueError, OSError, LookupError):
        raise Unusable(
            f"The time zone {of_customer}, “{_shown(customer.timezone)}”, is none: mend it (Customers)."
        ) from None


def _shown(text: str) -> str:
    return CONTROL_CHARACTERS.sub("?", text)


@lru_cache(maxsize=KEPT)
def _why_unusable(address: str) -> str:
    reason = why_unusable(address)
    if reason:
        return reason
    try:
        ascii_address(address)
    except Unusable as reason:
        return str(reason)
    return ""


def ascii_address(address: str) -> str:
    """The address as any mail server takes it, its domain in the letters of the DNS; Unusable where there is none."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise Unusable(f"“{address}” has letters before the @ that few mail servers take")
    try:
        return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"
    except UnicodeError:
        raise Unusable(f"“{address}” has a domain that can't be written in the letters of the DNS") from None


def _told_by(kind: Kind, facts: Facts) -> dict[str, Any]:
    """What the templates get: the facts by their names, and what the kind makes of them."""
    try:
        return {
            **vars(facts),
            "kind": kind.name,
            "subject": kind.subject(facts),
            "lead": kind.lead(facts),
            "rows": [(label, value) for label, value in kind.rows(facts) if value],
            "can_be_declined": kind.can_be_declined,
        }
    except Exception as error:
        raise Unusable(f"The kind “{kind.name}” fails at telling its facts: {_named(error)}.") from error


def _filled(name: str, context: dict[str, Any]) -> str:
    try:
        return get_template(name, using="mails").render(context)
    except Exception as error:
        raise Unusable(f"The template {name} does not render: {_named(error)}. Mend the template.") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {_shown(str(error)) or 'without words'}".rstrip(".")


def _try_out(log: NotificationLog, written: Written) -> bytes:
    """The message of it. Raises Unusable if none can be made, or its addresses would read otherwise."""
    try:
        message = assemble(log, written)
        read = _addresses(message)
    except Exception as error:
        raise Unusable(f"No message can be made of it: {_named(error)}.") from error
    if read != [ascii_address(sender_of(log.partner)), ascii_address(written.recipient)]:
        raise Unusable(f"No message can be made of it: its addresses would read {', '.join(read)}.")
    return message


def _addresses(message: bytes) -> list[str]:
    """Whom the message is from and to, as it would be read."""
    headers = NEXT_HEADER.split(message.partition(b"\r\n\r\n")[0].decode("ascii"))
    found = []
    for header in headers:
        if header.startswith("To: ") and PLAIN_ADDRESS.fullmatch(header, 4):
            found.append(header[4:])
        elif header.startswith(("From:", "To:")):
            found += _read(header)
    return found


@lru_cache(maxsize=KEPT)
def _read(header: str) -> tuple[str, ...]:
    """The addresses of one header, by Python's parser of whole messages."""
    name, value = policy.default.header_source_parse(header.splitlines(keepends=True))
    return tuple(str(address.addr_spec) for address in policy.default.header_fetch_parse(name, value).addresses)


# The message ---------------------------------------------------------------------------------------------------------


def assemble(log: NotificationLog, content: NotificationContent | Written) -> bytes:
    """The message, from what was frozen: byte for byte the same at every try, in ASCII, with CRLF.

    Reads `log.customer` where the mail can be declined: bring it along. Raises ValueError for what would begin a header
    of its own.

    By hand, since Python's `EmailMessage` takes names with commas apart when it folds them, encodes long Message-IDs,
    has changed between versions, and parses all that it is given: it took ten times as long.
    """
    # "=_" can't occur in quoted-printable.
    boundary = f"=_{hashlib.sha256(log.key.encode()).hexdigest()[:32]}"
    head = [_header(name, value) for name, value in _headers(log, content).items()]
    head += ["MIME-Version: 1.0", f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"']
    between = b"\r\n--" + boundary.encode()
    return b"".join(
        (
            "\r\n".join(head).encode("ascii"),
            b"\r\n",
            between,
            _part("plain", content.text),
            between,
            _part("html", content.html),
            between,
            b"--\r\n",
        )
    )


def _header(name: str, value: str | Address) -> str:
    """One header, folded. Message-ID and List-Unsubscribe never are: machines look for them to the letter."""
    if CONTROL_CHARACTERS.search(str(value)):
        raise ValueError(f"the header {name} holds a line break or control character")
    if isinstance(value, Address):
        if _is_plain(value.display_name):
            return f"{name}: {value}"
        return f"{name}: {_encoded(name, value.display_name)}\r\n <{value.addr_spec}>"
    return f"{name}: {_encoded(name, value) if name == 'Subject' else value}"


@lru_cache(maxsize=KEPT)
def _encoded(name: str, text: str) -> str:
    if _is_plain(text):
        return Header(text, "us-ascii", maxlinelen=LINE - 3, header_name=name).encode(linesep="\r\n")
    words = [b""]
    for letter in text:  # a word of RFC 2047 holds whole letters
        if len(words[-1]) + len(letter.encode()) > ENCODED_BYTES:
            words.append(b"")
        words[-1] += letter.encode()
    return "\r\n ".join(f"=?utf-8?b?{binascii.b2a_base64(word, newline=False).decode()}?=" for word in words)


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


def _part(subtype: str, text: str) -> bytes:
    """One of the two ways to read the mail, from the line break after its boundary on."""
    head = f'\r\nContent-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode("ascii") + _quoted_printable(text)


def _quoted_printable(text: str) -> bytes:
    """The text in lines of at most BODY_LINE, each ended by CRLF, whatever ends them in the text."""
    return b"".join(map(_quoted_line, text.encode().splitlines()))


@lru_cache(maxsize=4 * KEPT)  # most lines stand in every mail
def _quoted_line(text: bytes) -> bytes:
    lines = binascii.b2a_qp(text + b"\r\n").split(b"\r\n")
    # It may leave an encoded space or tab, at the end of a line, beyond the last column.
    return b"\r\n".join(line if len(line) <= BODY_LINE else line[:-3] + b"=\r\n" + line[-3:] for line in lines)


def message_of(log: NotificationLog) -> bytes:
    """The message as it goes over the wire: as `render` has just made it, or from what was frozen."""
    return getattr(log, "message", b"") or assemble(log, log.content)


def for_backend(log: NotificationLog, content: NotificationContent) -> EmailMultiAlternatives:
    """The same for Django's e-mail backends, with the same Message-ID, Date and other headers."""
    headers = {name: str(value) for name, value in _headers(log, content).items()}
    message = EmailMultiAlternatives(
        subject=headers.pop("Subject"),
        body=content.text,
        from_email=headers.pop("From"),
        to=[headers.pop("To")],
        reply_to=[headers.pop("Reply-To")] if "Reply-To" in headers else None,
        headers=headers,
    )
    message.attach_alternative(content.html, "text/html")
    return message


def _headers(log: NotificationLog, content: NotificationContent | Written) -> dict[str, str | Address]:
    assert content.frozen_at, "a mail is frozen before it is assembled"
    is_plain = PLAIN_ADDRESS.fullmatch(content.recipient)
    to = content.recipient if is_plain else _address(content.recipient)
    headers: dict[str, str | Address] = {"From": _address(content.sender), "To": to}
    if content.reply_to:
        headers["Reply-To"] = _address(content.reply_to)
    headers |= {
        "Subject": content.subject,
        "Date": format_datetime(content.frozen_at.astimezone(UTC)),
        "Message-ID": log.message_id,
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
    }
    if KINDS[log.kind].can_be_declined:
        asked = _address(content.reply_to or content.sender).addr_spec
        subject = quote(f"Unsubscribe account {log.customer.account}", safe="")
        headers["List-Unsubscribe"] = f"<mailto:{quote(asked, safe='@')}?subject={subject}>"
    return headers


def address_of(value: str) -> str:
    """The bare address of a header's value, as any mail server takes it."""
    return _address(value).addr_spec


@lru_cache(maxsize=KEPT)
def _address(value: str) -> Address:
    name, address = parseaddr(value)
    return Address(name, addr_spec=ascii_address(address))
