from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Partner


class Brand(models.Model):
    """How a partner's portal looks: its colour, and its logo as a PNG that Ivy itself has drawn. No row: as Ivy's own.

    Name, sender name and reply address belong to the partner itself, where mails find them.
    """

    partner = models.OneToOneField(Partner, on_delete=models.CASCADE, primary_key=True, related_name="brand")
    colour = models.CharField(
        max_length=7, blank=True, default="", help_text="#rrggbb, in lower case; empty: Ivy's green."
    )
    logo = models.BinaryField(null=True)
    logo_hash = models.CharField(max_length=16, blank=True, default="")
    changed_at = models.DateTimeField(db_default=Now())
    changed_by = models.TextField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(colour="") | Q(colour__regex=r"^#[0-9a-f]{6}$"), name="brand_colour_is_one"
            ),
            models.CheckConstraint(
                condition=Q(logo__isnull=True, logo_hash="") | (Q(logo__isnull=False) & ~Q(logo_hash="")),
                name="logos_and_only_they_have_a_hash",
            ),
        ]

    def __str__(self) -> str:
        return f"brand of {self.partner_id}"
