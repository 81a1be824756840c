import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from billing.models import Partner
from ivy.portal.models.user import PortalUser, Role


class Invitation(models.Model):
    """The offer of a place in a partner's portal, sent by mail. Its link is signed, expires, and works once.

    Sent again, the link of the mail before stops working. It ends by being accepted or withdrawn.
    """

    reference = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    partner = models.ForeignKey(Partner, on_delete=models.PROTECT, db_index=False, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=8, choices=Role)
    invited_by = models.TextField(help_text="The e-mail address of who invited.")
    invited_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(db_default=Now(), editable=False)
    mail_number = models.PositiveSmallIntegerField(default=1, help_text="How often it was sent; the last link counts.")
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(PortalUser, on_delete=models.SET_NULL, null=True, related_name="invitations")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invited_role_is_known"),
            models.CheckConstraint(condition=Q(email=Lower("email")) & ~Q(email=""), name="invited_in_lower_case"),
            models.CheckConstraint(condition=~Q(invited_by=""), name="somebody_invites"),
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True) | Q(withdrawn_at__isnull=True),
                name="accepted_or_withdrawn_not_both",
            ),
            models.UniqueConstraint(
                F("partner"),
                F("email"),
                condition=Q(accepted_at__isnull=True, withdrawn_at__isnull=True),
                name="one_open_invitation_per_partner_and_address",
            ),
        ]
        indexes = [models.Index(F("partner"), F("sent_at"), name="invitations_of_a_partner")]

    def __str__(self) -> str:
        return f"{self.email}, {self.role} of {self.partner}"

    @property
    def inviting(self) -> str:
        """Who invites, as the invited person reads it: the beginning of a sentence."""
        return f"{self.invited_by} invites" if "@" in self.invited_by else "The staff of your carrier invite"
