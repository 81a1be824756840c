from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Partner


class StaffLook(models.Model):
    """A member of staff looked at a partner's portal: who, at which, from when to when, and why.

    A trigger refuses every change but its end. It counts until it is ended, at most until `expires_at`.
    """

    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="looks")
    partner = models.ForeignKey(Partner, on_delete=models.PROTECT, related_name="looks")
    reason = models.TextField()
    began_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [
            ("look_as_partner", "Can look at a partner's portal"),
            ("invite_people", "Can invite people to a partner's portal"),
        ]
        constraints = [
            models.CheckConstraint(condition=~Q(reason=""), name="looks_have_a_reason"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("began_at")), name="looks_end_after_they_begin"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.by} at {self.partner}, {self.began_at:%Y-%m-%d %H:%M} UTC"
