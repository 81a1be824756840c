"""What a mail says, rendered once: subject, text and HTML, in the customer's time zone and way to write money.

`render` writes it from how things are now; what it wrote is frozen beside the log. `assemble` and `for_backend` make
the message from what was frozen, the same at every try.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from email import policy
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
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
    """A mail, ready to be frozen. `sender` and `reply_to` are whole header values, `reply_to` may be empty.

    `message` is what `assemble` makes of it, as it goes over the wire.
    """

    sender: str
    reply_to: str
    subject: str
    text: str
    html: str
    frozen_at: datetime
    message: bytes = b""


RELATED = ("customer__balance_row", "partner", "alert", "episode", "content", "errant__content")


def known(ids: Iterable[int]) -> dict[int, Any]:
    """These mails with all that they are about, as it is now; `as_of` tells when that is. One query."""
    rows = NotificationLog.objects.select_related(*RELATED).annotate(as_of=Now(output_field=DateTimeField()))
    return rows.in_bulk(list(ids))


def render(log: NotificationLog) -> Written:
    """Write the mail from how things are, or were when `known` fetched it. Raises Unusable with the reason in words.

    What it returns has been assembled once, so that no later try fails for what it says.
    """
    kind = KINDS.get(log.kind)
    if kind is None:
        raise Unusable(f"Ivy knows no mails of the kind “{log.kind}”.")
    about: Any = _with_all_it_is_about(log)
    _refuse_what_no_header_holds(about)
    context = _told_by(kind, facts_of(about, at=about.as_of))
    written = Written(
        sender=str(Address(straight(about.partner.name), addr_spec=ascii_address(about.partner.sender))),
        reply_to=ascii_address(about.partner.reply_to) if about.partner.reply_to else "",
        subject=context["subject"],
        text=_filled(f"mail/{kind.name}.txt", context).strip() + "\n",
        html=_filled(f"mail/{kind.name}.html", context).strip() + "\n",
        frozen_at=datetime.now(UTC),
    )
    return replace(written, message=_try_out(about, written))


def _with_all_it_is_about(log: NotificationLog) -> NotificationLog:
    about = log if hasattr(log, "as_of") else known([log.pk])[log.pk]
    if not hasattr(about, "content"):
        raise Unusable("It has no recipient: the row beside the log that names one is missing.")
    if about.errant is None and (about.episode is None or about.alert is None):
        raise Unusable("It is about no fall below an alert's threshold, and about no earlier mail.")
    return about


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


def _try_out(log: NotificationLog, written: Written) -> bytes:
    """The message of it. Raises Unusable if none can be made, or its addresses would read otherwise."""
    what = {field.name: getattr(written, field.name) for field in fields(written) if field.name != "message"}
    # By id: given the log itself, it would take the place of the log's own content.
    content = NotificationContent(notification_id=log.pk, recipient=log.content.recipient, **what)
    try:
        assembled = assemble(log, content).as_bytes()
        message = BytesParser(policy=policy.default).parsebytes(assembled, headersonly=True)
    except Exception as error:
        raise Unusable(f"No message can be made of it: {_named(error)}.") from error
    read = [str(address.addr_spec) for name in ("From", "To") for address in message[name].addresses]
    if read != [ascii_address(log.partner.sender), ascii_address(content.recipient)]:
        raise Unusable(f"No message can be made of it: its addresses would read {', '.join(read)}.")
    return assembled


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


def message_of(log: NotificationLog) -> bytes:
    """The message as it goes over the wire: as `render` has just made it, or from what was frozen."""
    return getattr(log, "message", b"") or assemble(log, log.content).as_bytes()


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
