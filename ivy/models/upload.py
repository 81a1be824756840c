import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class UploadKind(models.TextChoices):
    """What a file may hold; each has an importer in `billing.imports`."""

    PARTNERS = "partners"
    CUSTOMERS = "customers"
    ITEMS = "items"
    RATES = "rates"
    PAYMENTS = "payments"


class Upload(models.Model):
    """A file that somebody sent and that waits for a word: what was previewed is what is imported, byte by byte.

    Gone once it is imported, and after a day.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=UploadKind)
    file_name = models.TextField()
    content = models.BinaryField()
    options = models.JSONField(default=dict, help_text="What else was said: the deck, the source of payments.")
    by = models.TextField(help_text="The e-mail address of who sent it.")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=UploadKind.values), name="upload_kind_is_known"),
            models.CheckConstraint(condition=~Q(by=""), name="uploads_are_sent_by_somebody"),
        ]
        indexes = [models.Index(F("at"), name="uploads_by_age")]

    def __str__(self) -> str:
        return f"{self.file_name} ({self.kind})"
