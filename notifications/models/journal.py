from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class JournalCanary(models.Model):
    """A mail to the journal alone. Once it is found there, what the same server took before it is there, too."""

    message_id = models.TextField(unique=True)
    server = models.TextField(help_text="Host and port.")
    sent_at = models.DateTimeField(db_default=Now())
    found_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "journal canaries"
        indexes = [models.Index(F("server"), F("sent_at"), condition=Q(found_at__isnull=False), name="found_canaries")]

    def __str__(self) -> str:
        return self.message_id
