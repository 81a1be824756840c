from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.fields import KeyField, TimeZoneField, name_of_a_thing


class SourceFormat(models.TextChoices):
    """What the files of a source look like; each has a reader in `billing.imports.call_formats`."""

    IVY = "ivy"
    ASTERISK = "asterisk"
    ASTERISK_CUSTOM = "asterisk-custom", "Asterisk, custom columns"
    FREESWITCH_CSV = "freeswitch-csv", "FreeSWITCH, CSV"
    FREESWITCH_JSON = "freeswitch-json", "FreeSWITCH, JSON"
    THREECX = "3cx", "3CX"


class Source(models.Model):
    """A switch that delivers call records. Registered once, so that a mistyped name cannot bill everything twice."""

    name = KeyField(unique=True, max_length=64, validators=[name_of_a_thing])
    format = models.CharField(max_length=32, choices=SourceFormat)
    timezone = TimeZoneField(blank=True, help_text="Needed when the format writes local times without a zone.")
    region = models.CharField(
        max_length=2, blank=True, help_text="Country (ISO 3166) whose dialling rules its numbers follow; none: digits."
    )
    expected_gap = models.DurationField(
        default=timedelta(hours=24), help_text="Longest ordinary silence between two deliveries."
    )
    is_retired = models.BooleanField(
        "retired", default=False, db_default=False, help_text="Delivers no more, on purpose: no alarm when it is quiet."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class IdentityKind(models.TextChoices):
    CODE = "code", "account code"
    PEER = "peer", "SIP peer"
    NUMBER = "number", "phone number"


class CallIdentity(models.Model):
    """What a source (or any source) writes for a customer. One value names one customer at a time.

    `identities_never_overlap` (an exclusion constraint over source, kind, value and validity) holds that.
    """

    customer = models.ForeignKey("billing.Customer", on_delete=models.CASCADE, related_name="identities")
    source = models.ForeignKey(Source, on_delete=models.PROTECT, null=True, blank=True, related_name="identities")
    kind = models.CharField(max_length=8, choices=IdentityKind)
    value = KeyField(help_text="Phone numbers as digits in international form.")
    valid_from = models.DateTimeField(null=True, blank=True, help_text="Empty: from the beginning.")
    valid_to = models.DateTimeField(null=True, blank=True, help_text="The first instant it no longer holds.")

    class Meta:
        verbose_name_plural = "call identities"
        indexes = [models.Index(F("kind"), F("value"), name="identity_by_value")]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=IdentityKind.values), name="identity_kind_is_known"),
            models.CheckConstraint(condition=~Q(value=""), name="identity_is_not_empty"),
            models.CheckConstraint(
                condition=~Q(kind=IdentityKind.NUMBER) | Q(value__regex=r"^[0-9]+$"), name="number_identity_is_digits"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"
