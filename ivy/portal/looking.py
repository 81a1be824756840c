"""Staff who look at a partner's portal, as the partner sees it: read-only, for an hour at most, with a record of it."""

from datetime import timedelta

from django.db.models.functions import Now

from billing.models import Partner
from ivy.accounts.models import User
from ivy.models import AuditEntry
from ivy.portal.models import StaffLook

MINUTES = 60
SESSION_KEY = "portal-look"
PERMISSION = "portal.look_as_partner"


def begin(partner: Partner, *, by: User, reason: str) -> StaffLook:
    """Note that somebody begins to look, and why. Each time is a record of its own."""
    look = StaffLook.objects.create(
        partner=partner, by=by, reason=reason, expires_at=Now() + timedelta(minutes=MINUTES)
    )
    look.refresh_from_db()
    return look


def end(look_id: int, *, by: User) -> bool:
    """Note that they look no more; False if that was so already."""
    return bool(StaffLook.objects.filter(pk=look_id, by=by, ended_at__isnull=True).update(ended_at=Now()))


def note_file(look: StaffLook, file_name: str) -> None:
    """Note that somebody who looks takes a file with them: in the audit trail, where all exports by staff stand."""
    AuditEntry.objects.create(
        by=look.by.get_username(),
        verb="export",
        noun="partner",
        name=look.partner.slug,
        summary=f"{file_name} was taken from the portal of {look.partner.slug}, while looking because: {look.reason}",
    )


def standing(look_id: object, *, by: User) -> StaffLook | None:
    """The look while it counts: theirs, not ended, not expired, and they still may."""
    if not isinstance(look_id, int) or not by.is_staff or not by.has_perm(PERMISSION):
        return None
    looks = StaffLook.objects.select_related("partner", "by")
    return looks.filter(pk=look_id, by=by, ended_at__isnull=True, expires_at__gt=Now()).first()
