"""What a mail says, rendered once: subject, text and HTML, in the customer's time zone and way to write money.

`render` writes it from how things are now; what it wrote is frozen beside the log. `assemble` and `for_backend` make
the message from what was frozen, the same at every try.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from django.core.mail import EmailMultiAlternatives
from django.db.models import DateTimeField
from django.db.models.functions import Now
from django.template.loader import get_template

from notifications.facts import Facts, facts_of
from notifications.formats import straight
from notifications.kinds import KINDS, Kind, why_unusable
from notifications.kinds.base import CONTROL_CHARACTERS
from notifications.models import NotificationContent, NotificationLog

# Machines look for these to the letter: never folded, never encoded.
TO_THE_LETTER = {"message-id", "list-unsubscribe"}
OF_ADDRESSES = {"from", "to", "reply-to"}
LINE = 78  # characters of a header, where it can be broken


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
    """Write the mail from how things are now. Raises Unusable with the reason in words, and nothing else of the mail's.

    What it returns has been assembled once, so that no later try fails for what it says.
    """
    kind = KINDS.get(log.kind)
    if kind is None:
        raise Unusable(f"Ivy knows no mails of the kind “{log.kind}”.")
    known: Any = _known(log)
    _refuse_what_no_header_holds(known)
    context = _told_by(kind, facts_of(known, at=known.as_of))
    written = Written(
        sender=str(Address(straight(known.partner.name), addr_spec=ascii_address(known.partner.sender))),
        reply_to=ascii_address(known.partner.reply_to) if known.partner.reply_to else "",
        subject=context["subject"],
        text=_filled(f"mail/{kind.name}.txt", context).strip() + "\n",
        html=_filled(f"mail/{kind.name}.html", context).strip() + "\n",
    )
    _try_out(known, written)
    return written


def _known(log: NotificationLog) -> NotificationLog:
    """The log with all that the mail is about, as it is now, and when that is."""
    related = ("customer__balance_row", "partner", "alert", "episode", "content", "errant__content")
    rows = NotificationLog.objects.select_related(*related).annotate(as_of=Now(output_field=DateTimeField()))
    known = rows.get(pk=log.pk)
    if not hasattr(known, "content"):
        raise Unusable("It has no recipient: the row beside the log that names one is missing.")
    if known.errant is None and (known.episode is None or known.alert is None):
        raise Unusable("It is about no fall below an alert's threshold, and about no earlier mail.")
    return known


def _refuse_what_no_header_holds(log: NotificationLog) -> None:
    partner, customer = log.partner, log.customer
    if not partner.sender:
        raise Unusable(
            f"The partner “{partner.slug}” has no sender address: give it one (Partners, Mails to customers)."
        )
    of_partner, of_customer = f"of the partner “{partner.slug}”", f"of the customer “{_shown(customer.account)}”"
    for what, text, where in [
        (f"The name {of_partner}", partner.name, "Partners"),
        (f"The name {of_customer}", customer.name, "Customers"),
        ("The account", customer.account, "Customers"),
    ]:
        if CONTROL_CHARACTERS.search(text):
            raise Unusable(f"{what} holds a line break or control character, “{_shown(text)}”: mend it ({where}).")
    for what, address, where in [
        (f"The sender address {of_partner}", partner.sender, "Partners, Mails to customers"),
        (f"The reply address {of_partner}", partner.reply_to, "Partners, Mails to customers"),
        ("The recipient", log.content.recipient, "the alert's recipients, or the customer's e-mail"),
    ]:
        if not address and what.startswith("The reply"):
            continue
        reason = why_unusable(address) or _why_not_ascii(address)
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


def _why_not_ascii(address: str) -> str:
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
            **asdict(facts),
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
        return get_template(name, using="django").render(context)
    except Exception as error:
        raise Unusable(f"The template {name} does not render: {_named(error)}. Mend the template.") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {_shown(str(error)) or 'without words'}".rstrip(".")


def _try_out(log: NotificationLog, written: Written) -> None:
    content = NotificationContent(
        notification=log, recipient=log.content.recipient, frozen_at=datetime.now(UTC), **asdict(written)
    )
    try:
        message = message_from_bytes(assemble(log, content).as_bytes(), policy=policy.default)
        for_backend(log, content).message()
    except Exception as error:
        raise Unusable(f"No message can be made of it: {_named(error)}.") from error
    read = [str(address.addr_spec) for name in ("From", "To") for address in message[name].addresses]
    if read != [ascii_address(log.partner.sender), ascii_address(content.recipient)]:
        raise Unusable(f"No message can be made of it: its addresses would read {', '.join(read)}.")


# The message ---------------------------------------------------------------------------------------------------------


class _MailPolicy(policy.EmailPolicy):
    """As Python's own for SMTP, with headers that survive it: its folding takes names with commas apart, encodes long
    Message-IDs, and has changed between versions, while every try of a mail must be the same message.
    """

    def fold(self, name: str, value: Any) -> str:
        lower = name.lower()
        if lower in TO_THE_LETTER:
            return f"{name}: {value}{self.linesep}"
        if lower in OF_ADDRESSES:
            (address,) = value.addresses
            return f"{name}: {self._folded_address(name, address)}{self.linesep}"
        if lower == "subject":
            return f"{name}: {self._encoded(name, str(value))}{self.linesep}"
        return super().fold(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("ascii")

    def _folded_address(self, name: str, address: Address) -> str:
        if _is_plain(address.display_name):
            return str(address)
        return f"{self._encoded(name, address.display_name)}{self.linesep} <{address.addr_spec}>"

    def _encoded(self, name: str, text: str) -> str:
        charset = "us-ascii" if _is_plain(text) else "utf-8"
        return Header(text, charset, maxlinelen=LINE - 3, header_name=name).encode(linesep=self.linesep)


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


MAIL = _MailPolicy(linesep="\r\n", cte_type="7bit")


def assemble(log: NotificationLog, content: NotificationContent) -> EmailMessage:
    """The message, from what was frozen: byte for byte the same at every try.

    Reads `log.customer` where the mail can be declined: bring it along.
    """
    message = EmailMessage(policy=MAIL)
    for name, value in _headers(log, content).items():
        message[name] = value
    message.set_content(content.text, cte="quoted-printable")
    message.add_alternative(content.html, subtype="html", cte="quoted-printable")
    # "=_" can't occur in quoted-printable.
    message.set_boundary(f"=_{hashlib.sha256(log.key.encode()).hexdigest()[:32]}")
    return message


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


def _headers(log: NotificationLog, content: NotificationContent) -> dict[str, str | Address]:
    assert content.frozen_at, "a mail is frozen before it is assembled"
    headers: dict[str, str | Address] = {"From": _address(content.sender), "To": _address(content.recipient)}
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


def _address(value: str) -> Address:
    name, address = parseaddr(value)
    return Address(name, addr_spec=ascii_address(address))
