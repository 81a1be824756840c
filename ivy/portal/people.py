"""Who may see a partner's portal: invited by mail, with a role, until an owner shuts the door on them.

Each verb may be repeated. That an address is known elsewhere is told to nobody but to whoever reads its mail.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse

from billing.models import Partner
from ivy.accounts.models import User, lower_case
from ivy.portal.models import Invitation, PortalUser, Role

INVITATION_DAYS = 7
MAILS_AN_HOUR = 30
BETWEEN_MAILS = timedelta(minutes=1)
SALT = "portal.invitation"


class NotPossible(Exception):
    """It can't be done; the message says why, to the person who asked. Nothing was changed."""


@dataclass(frozen=True)
class Sent:
    """An invitation as it stands, and whether the mail server took its mail."""

    invitation: Invitation
    is_mailed: bool


# Inviting ------------------------------------------------------------------------------------------------------------


def invite(partner: Partner, *, email: str, role: Role, by: str) -> Sent:
    """Invite somebody by mail; again, it changes the role of the open invitation and sends a new link.

    Raises NotPossible for who is there already, and for too many mails at once.
    """
    email = lower_case(email)
    standing = partner.portal_users.filter(user__email=email).first()
    if standing is not None:
        raise NotPossible(
            f"{email} is among your people already."
            if standing.is_active
            else f"{email} was among your people and is shut out; open the door again instead."
        )
    expires_at = Now() + timedelta(days=INVITATION_DAYS)
    try:
        with transaction.atomic():
            _keep_the_pace(partner)
            invitation = Invitation.objects.create(
                partner=partner, email=email, role=role, invited_by=by, expires_at=expires_at
            )
    except IntegrityError:
        open_one = Invitation.objects.get(
            partner=partner, email=email, accepted_at__isnull=True, withdrawn_at__isnull=True
        )
        return send_again(open_one, role=role)
    invitation.refresh_from_db()
    return Sent(invitation, _mail(invitation))


def send_again(invitation: Invitation, *, role: Role | None = None) -> Sent:
    """Send a new link, good for some days again; the one before stops working. Raises NotPossible."""
    with transaction.atomic():
        _keep_the_pace(invitation.partner)
        renewed = Invitation.objects.filter(
            pk=invitation.pk,
            accepted_at__isnull=True,
            withdrawn_at__isnull=True,
            sent_at__lt=Now() - BETWEEN_MAILS,
        ).update(
            role=role or F("role"),
            mail_number=F("mail_number") + 1,
            sent_at=Now(),
            expires_at=Now() + timedelta(days=INVITATION_DAYS),
        )
    invitation.refresh_from_db()
    if not renewed:
        if invitation.accepted_at or invitation.withdrawn_at:
            raise NotPossible("This invitation is not open any more.")
        raise NotPossible("It was sent a moment ago: give the mail a minute before you send it again.")
    return Sent(invitation, _mail(invitation))


def withdraw(invitation: Invitation) -> bool:
    """Make the invitation's link worthless; False if it was not open any more."""
    return bool(
        Invitation.objects.filter(pk=invitation.pk, accepted_at__isnull=True, withdrawn_at__isnull=True).update(
            withdrawn_at=Now()
        )
    )


def _keep_the_pace(partner: Partner) -> None:
    """Nobody uses Ivy to fill other people's mailboxes. Whoever invites for the partner at this moment waits.

    Of an invitation that was sent within the hour, all mails count: so the more often one was sent, the seldomer.
    """
    Partner.objects.select_for_update().get(pk=partner.pk)
    lately = Invitation.objects.filter(partner=partner, sent_at__gt=Now() - timedelta(hours=1))
    if (lately.aggregate(mails=Sum("mail_number"))["mails"] or 0) >= MAILS_AN_HOUR:
        raise NotPossible(f"{MAILS_AN_HOUR} invitations were sent within an hour; wait a little.")


def _mail(invitation: Invitation) -> bool:
    words = render_to_string(
        "portal/mail/invitation.txt",
        {"invitation": invitation, "link": link_of(invitation), "days": INVITATION_DAYS},
    )
    name = " ".join(invitation.partner.name.split())
    try:
        EmailMessage(f"Your invitation to the portal of {name}", words, to=[invitation.email]).send()
    except OSError:  # smtplib's own are among them; told to who invites, and sent again by them
        return False
    return True


# Accepting -----------------------------------------------------------------------------------------------------------


def link_of(invitation: Invitation) -> str:
    """The address that the invitation's last mail leads to."""
    token = signing.dumps([invitation.reference.hex, invitation.mail_number], salt=SALT)
    return f"{settings.SITE_URL}{reverse('portal:invitation', args=[token])}"


def open_invitation(token: str) -> Invitation | None:
    """The invitation that a link stands for, while it can be accepted."""
    try:
        reference, mail_number = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return (
        Invitation.objects.select_related("partner")
        .filter(
            reference=uuid.UUID(reference),
            mail_number=mail_number,
            accepted_at__isnull=True,
            withdrawn_at__isnull=True,
            expires_at__gt=Now(),
        )
        .first()
    )


def has_account(invitation: Invitation) -> bool:
    """Whether the invited address logs in to Ivy already. Only whoever holds the link may be told."""
    return User.objects.filter(email=invitation.email).exists()


def accept_as_new(invitation: Invitation, *, name: str, password: str) -> PortalUser:
    """Make the invited person's account and give it its place. Raises NotPossible if somebody was quicker."""
    with transaction.atomic():
        _take(invitation)
        if has_account(invitation):
            raise NotPossible("There is an account with this address already: sign in to accept.")
        user = User.objects.create_user(invitation.email, password, name=name)
        return _give_place(invitation, user)


def accept_as(invitation: Invitation, user: User) -> PortalUser:
    """Give somebody who has an account the place that their address was invited to. Raises NotPossible."""
    if user.email != invitation.email:
        raise NotPossible("This invitation is for somebody else.")
    with transaction.atomic():
        _take(invitation)
        if PortalUser.objects.filter(user=user).exists():
            raise NotPossible("You belong to a portal already, and nobody belongs to two.")
        return _give_place(invitation, user)


def _take(invitation: Invitation) -> None:
    taken = Invitation.objects.filter(
        pk=invitation.pk, accepted_at__isnull=True, withdrawn_at__isnull=True, expires_at__gt=Now()
    ).update(accepted_at=Now())
    if not taken:
        raise NotPossible("This invitation is not open any more.")


def _give_place(invitation: Invitation, user: User) -> PortalUser:
    place = PortalUser.objects.create(user=user, partner=invitation.partner, role=invitation.role)
    Invitation.objects.filter(pk=invitation.pk).update(accepted_by=place)
    return place


# Keeping order -------------------------------------------------------------------------------------------------------


def change(person: PortalUser, *, role: Role | None = None, is_active: bool | None = None) -> bool:
    """Give a person another role, shut them out or let them in again; False if it stood so already.

    Raises NotPossible where no owner would be left.
    """
    with transaction.atomic():
        owners = list(
            PortalUser.objects.select_for_update()
            .filter(partner_id=person.partner_id, role=Role.OWNER, is_active=True)
            .order_by("pk")
        )
        now = PortalUser.objects.select_for_update().get(pk=person.pk)
        new_role = now.role if role is None else role
        new_activity = now.is_active if is_active is None else is_active
        if (now.role, now.is_active) == (new_role, new_activity):
            return False
        stays_owner = new_role == Role.OWNER and new_activity
        if [owner.pk for owner in owners] == [now.pk] and not stays_owner:
            raise NotPossible("A portal has at least one owner: make somebody else one first.")
        PortalUser.objects.filter(pk=now.pk).update(role=new_role, is_active=new_activity)
    return True
