"""What a partner's new customers begin with, and how the mails of all of them are written. Safe to repeat."""

from decimal import Decimal

from billing.alerts import Terms
from billing.models import Partner, PartnerAlert


def keep(partner: Partner, threshold: Decimal, terms: Terms) -> PartnerAlert:
    """Let new customers of the partner get an alert at this threshold, with these terms; others keep theirs."""
    alert, _ = PartnerAlert.objects.update_or_create(
        partner=partner,
        threshold=threshold,
        defaults={
            "rearm_margin": terms.rearm_margin,
            "remind_every_days": terms.remind_every_days,
            "remind_at_most": terms.remind_at_most,
            "tells_restored": terms.tells_restored,
        },
    )
    return alert


def remove(partner: Partner, threshold: Decimal) -> bool:
    """Let new customers get it no more; False if there is none at this threshold."""
    deleted, _ = PartnerAlert.objects.filter(partner=partner, threshold=threshold).delete()
    return bool(deleted)


def change_language(partner: Partner, language: str) -> bool:
    """Write mails in this language, but for customers with one of their own; False if they are."""
    return bool(Partner.objects.filter(pk=partner.pk).exclude(language=language).update(language=language))
