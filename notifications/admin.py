"""What staff see of mails: the log, each mail's life, the breaker. Verbs have their own commands and screens."""

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.base import MillionsAdmin, ReadOnlyAdmin, ReadOnlyInline, StaffAdmin
from notifications.models import (
    BreakerLimits,
    BreakerTrip,
    DeliveryAttempt,
    NotificationHistory,
    NotificationLog,
    StaffOrder,
    State,
)

COLOURS = {
    "owed": "info",
    "a worker has it": "info",
    "being handed over": "info",
    "the mail server took it": "success",
    "failed for good": "danger",
    "perhaps delivered": "warning",
    "held back": "warning",
    "not sent any more": "info",
}


class AttemptInline(ReadOnlyInline):
    model = DeliveryAttempt
    fields = ("number", "began_at", "ended_at", "server", "phase", "outcome", "code", "words")
    verbose_name_plural = "attempts"


class HistoryInline(ReadOnlyInline):
    model = NotificationHistory
    fields = ("at", "by", "verb", "reason", "from_state", "to_state")
    verbose_name_plural = "what was done to it"


@admin.register(NotificationLog)
class NotificationLogAdmin(MillionsAdmin):
    """One mail a row. Written by the program and by `review`; never by a form."""

    list_display = ("created_at", "customer", "kind", "recipient", "show_state", "detail", "sent_at", "is_errant")
    list_select_related = ("customer", "content")
    list_filter = (("state", ChoicesDropdownFilter), ("partner", RelatedDropdownFilter), "is_errant")
    search_help_text = "The beginning of a mail's key, or a customer's account."
    ordering = ("-id",)
    inlines = (AttemptInline, HistoryInline)
    fields = (
        "review",
        ("customer", "kind"),
        ("recipient", "show_state"),
        ("because", "detail"),
        ("created_at", "sent_at"),
        ("try_count", "next_try_at"),
        ("subject", "is_errant"),
        "text",
        ("key", "message_id"),
        ("episode", "covered_by"),
    )
    readonly_fields = ("review", "recipient", "show_state", "subject", "text")

    @admin.display(description="review")
    def review(self, log: NotificationLog) -> SafeString:
        url = reverse("admin:review_mail", args=[log.pk])
        return format_html('<a class="text-link" href="{}">All that is known of it, and what can be done</a>', url)

    @admin.display(description="to")
    def recipient(self, log: NotificationLog) -> str:
        return log.content.recipient or "nobody"

    @admin.display(description="state", ordering="state")
    def show_state(self, log: NotificationLog) -> str:
        return str(State(log.state).label)

    show_state.label = COLOURS  # type: ignore[attr-defined]

    @admin.display(description="subject")
    def subject(self, log: NotificationLog) -> str:
        return log.content.subject or "not written yet"

    @admin.display(description="what it says")
    def text(self, log: NotificationLog) -> str:
        return log.content.text or "not written yet"


@admin.register(StaffOrder)
class StaffOrderAdmin(ReadOnlyAdmin):
    list_display = ("at", "verb", "by", "count", "reason")
    list_filter = (("verb", ChoicesDropdownFilter),)
    search_fields = ("by", "reason")
    ordering = ("-id",)
    fields = (("verb", "by"), ("count", "at"), "reason")


@admin.register(BreakerTrip)
class BreakerTripAdmin(ReadOnlyAdmin):
    """Reset by `reset_breaker`, which shows first what would follow."""

    list_display = ("at", "reason", "reset_at", "reset_by", "reset_because")
    ordering = ("-id",)
    fields = (("limit", "at"), "reason", ("reset_at", "reset_by"), "reset_because")


@admin.register(BreakerLimits)
class BreakerLimitsAdmin(StaffAdmin):
    """One row of limits, for staff to set."""

    list_display = ("mails_a_recipient_a_day", "mails_an_hour", "customers_a_pass", "released_a_minute")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and not BreakerLimits.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: BreakerLimits | None = None) -> bool:
        return False
