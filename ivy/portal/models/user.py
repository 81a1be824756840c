from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Partner
from billing.models.fields import TimeZoneField


class Role(models.TextChoices):
    """What a partner's user may do: look; change alerts and ask for items; invite people and shape the brand.

    Each may also do what those before it may.
    """

    VIEWER = "viewer"
    MANAGER = "manager"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what the other one may. Roles are words: never compare them with < or >."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(Role(other))


class PortalUser(models.Model):
    """A person's place with the one partner whose portal they see. Not active: they see nothing of it any more."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="portal_user")
    partner = models.ForeignKey(Partner, on_delete=models.PROTECT, db_index=False, related_name="portal_users")
    role = models.CharField(max_length=8, choices=Role, default=Role.VIEWER)
    language = models.CharField(
        max_length=16, blank=True, default="", help_text="How money and dates are written; empty: as for the partner."
    )
    timezone = TimeZoneField(blank=True, default="", help_text="The zone of all times; empty: the partner's.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(role__in=Role.values), name="portal_role_is_known")]
        indexes = [models.Index(F("partner"), F("id"), name="portal_users_of_a_partner")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role} of {self.partner})"
