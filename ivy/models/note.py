from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Customer


class CustomerNote(models.Model):
    """What staff wrote down about a customer, for each other. Append-only, by trigger."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False, related_name="notes")
    at = models.DateTimeField(db_default=Now(), editable=False)
    by = models.TextField()
    text = models.TextField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("customer"), F("id").desc(), name="notes_of_a_customer")
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~Q(text="") & ~Q(by=""), name="notes_say_something_by_somebody"),
        ]

    def __str__(self) -> str:
        return f"{self.by}, {self.at:%Y-%m-%d %H:%M} UTC"
