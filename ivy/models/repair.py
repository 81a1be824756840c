from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Repair(models.Model):
    """Something of the machinery that was damaged and was put right by itself: staff are to know. Kept for 30 days."""

    class Part(models.TextChoices):
        QUEUE = "queue"
        SCHEDULES = "schedules"

    part = models.CharField(max_length=12, choices=Part)
    what = models.TextField(help_text="What was wrong and what was done, in a sentence.")
    at = models.DateTimeField(db_default=Now())
    host = models.CharField(max_length=255)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["at"], name="latest_repairs")]

    def __str__(self) -> str:
        return f"{self.part} at {self.at:%Y-%m-%d %H:%M:%S}"
