from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Customer
from billing.models.fields import KeyField


class RequestKind(models.TextChoices):
    NEW = "new", "a new item"
    END = "end", "the end of an item"


class RequestState(models.TextChoices):
    WAITING = "waiting"
    DONE = "done"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class ItemRequest(models.Model):
    """What a partner's manager asks for: an item for a customer, or the end of one. Staff do it, or say why not.

    Asking charges nothing and ends nothing. What was asked never changes.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False, related_name="item_requests")
    kind = models.CharField(max_length=4, choices=RequestKind)
    item = KeyField(blank=True, default="", help_text="The reference: of the item to end, or of the one that was made.")
    text = models.TextField(help_text="What is wanted, in the asker's words.")
    on = models.DateField(help_text="From which day; for an end the first day that is not charged any more.")
    asked_by = models.TextField()
    asked_at = models.DateTimeField(db_default=Now(), editable=False)
    state = models.CharField(max_length=9, choices=RequestState, default=RequestState.WAITING)
    decided_by = models.TextField(blank=True, default="")
    decided_at = models.DateTimeField(null=True)
    answer = models.TextField(blank=True, default="", help_text="What staff say to it; the partner reads it.")

    class Meta:
        default_permissions = ("view",)
        permissions = [("decide_requests", "Can decide about requests of partners")]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(F("customer"), F("id").desc(), name="item_requests_of_a_customer"),
            models.Index(F("id"), condition=Q(state="waiting"), name="waiting_item_requests"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(kind__in=RequestKind.values), name="item_request_kind_is_known"),
            models.CheckConstraint(condition=Q(state__in=RequestState.values), name="item_request_state_is_known"),
            models.CheckConstraint(condition=~Q(text="") & ~Q(asked_by=""), name="item_requests_say_what_and_who"),
            models.CheckConstraint(condition=~Q(kind="end", item=""), name="ends_are_asked_of_an_item"),
            models.CheckConstraint(
                condition=Q(state="waiting", decided_at__isnull=True)
                | (~Q(state="waiting") & Q(decided_at__isnull=False) & ~Q(decided_by="")),
                name="decided_item_requests_name_who_and_when",
            ),
            models.UniqueConstraint(
                fields=["item", "kind"],
                condition=Q(state="waiting", kind="end"),
                name="one_waiting_request_to_end_an_item",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} for {self.customer}"
