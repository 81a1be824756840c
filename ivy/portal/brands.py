"""What owners say of themselves: name, sender of mails, colour and logo."""

import hashlib

from django.db import transaction
from django.db.models.functions import Now

from billing.models import Partner
from ivy.portal.models import Brand


def change(
    partner: Partner,
    *,
    by: str,
    name: str,
    sender_name: str,
    reply_to: str,
    colour: str,
    logo: bytes | None = None,
    forgets_logo: bool = False,
) -> None:
    """Make it so; may be repeated. `logo`: a PNG from `logos.drawn_anew`, None keeps the one there is."""
    with transaction.atomic():
        Partner.objects.filter(pk=partner.pk).update(name=name, sender_name=sender_name, reply_to=reply_to)
        values: dict[str, object] = {"colour": colour, "changed_by": by, "changed_at": Now()}
        if logo is not None:
            values |= {"logo": logo, "logo_hash": hashlib.sha256(logo).hexdigest()[:16]}
        elif forgets_logo:
            values |= {"logo": None, "logo_hash": ""}
        Brand.objects.update_or_create(partner=partner, defaults=values)
