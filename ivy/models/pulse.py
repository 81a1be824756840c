from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Pulse(models.Model):
    """When something that must keep happening happened last. One row per name; rewritten at every beat."""

    name = models.CharField(max_length=60, primary_key=True)
    beaten_at = models.DateTimeField(db_default=Now(), help_text="By the database's clock.")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField("process id")

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return f"{self.name} at {self.beaten_at:%Y-%m-%d %H:%M:%S}"
