"""What staff see of mails: the log, each mail's life, the breaker. Verbs have their own commands and screens."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
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

DETAIL_SHOWN = 80
MAILS_SHOWN = 300

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


class ErrantFilter(admin.BooleanFieldListFilter):
    """Those that should not have gone out so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "whether it is errant"


@admin.register(NotificationLog)
class NotificationLogAdmin(MillionsAdmin):
    """One mail a row. Written by the program and by `review`; never by a form."""

    list_display = ("created_at", "customer", "show_kind", "recipient", "show_state", "show_sent", "show_detail")
    list_select_related = ("customer", "content")
    list_filter = (("state", ChoicesDropdownFilter), ("partner", RelatedDropdownFilter), ("is_errant", ErrantFilter))
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
        ("subject", "show_errant"),
        "text",
        "show_key",
        "show_message_id",
        ("episode", "covered_by"),
    )
    readonly_fields = (
        "review",
        "recipient",
        "show_state",
        "subject",
        "show_errant",
        "text",
        "show_key",
        "show_message_id",
    )

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

    @admin.display(description="kind", ordering="kind")
    def show_kind(self, log: NotificationLog) -> str:
        return log.kind.replace("_", " ")

    @admin.display(description="what happened")
    def show_detail(self, log: NotificationLog) -> SafeString:
        errant = "errant; " if log.is_errant else ""
        return format_html('<span class="wraps">{}{}</span>', errant, Truncator(log.detail).chars(DETAIL_SHOWN))

    @admin.display(description="sent at", ordering="sent_at")
    def show_sent(self, log: NotificationLog) -> str:
        if log.sent_at is None:
            return ""
        is_same_day = log.sent_at.date() == log.created_at.date()
        return f"{log.sent_at:%H:%M:%S}" if is_same_day else f"{log.sent_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="errant")
    def show_errant(self, log: NotificationLog) -> str:
        return "yes: wrong, or one copy too many" if log.is_errant else "no"

    @admin.display(description="key")
    def show_key(self, log: NotificationLog) -> SafeString:
        return format_html('<span class="wraps">{}</span>', log.key)

    @admin.display(description="Message-ID")
    def show_message_id(self, log: NotificationLog) -> SafeString:
        return format_html('<span class="wraps">{}</span> (at every attempt the same)', log.message_id)

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
    fields = (("verb", "by"), ("count", "at"), "reason", "mails")
    readonly_fields = ("mails",)

    @admin.display(description="mails")
    def mails(self, order: StaffOrder) -> SafeString:
        """Which mails it was about, with how each is now; of an order of thousands the first."""
        lines = order.history.select_related("notification__customer", "notification__content").order_by("pk")
        mails = [line.notification for line in lines[:MAILS_SHOWN]]
        listed = format_html_join(
            "",
            '<li><a class="text-link" href="{}">{} to {}, account {}</a>: {}</li>',
            (
                (
                    reverse("admin:review_mail", args=[log.pk]),
                    log.kind.replace("_", " "),
                    log.content.recipient or "nobody",
                    log.customer.account,
                    State(log.state).label,
                )
                for log in mails
            ),
        )
        rest = f"and {order.count - len(mails):,} more" if order.count > len(mails) else ""
        return format_html('<ul class="wraps">{}</ul>{}', listed, rest)


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
