from typing import ClassVar

from django.contrib import admin
from django.db.models import F, Func, Q, QuerySet, TextField
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.base import (
    BillingAdmin,
    BookedMonthFilter,
    MillionsAdmin,
    ReadOnlyAdmin,
    change_link,
    changelist_link,
    count,
    label,
    money,
    side_by_side,
)
from billing.models import (
    ArrivalBatch,
    CallRecord,
    Delivery,
    FreeCall,
    LedgerEntry,
    QuarantinedCall,
    QuarantineState,
    Source,
    UnparsableLine,
)


@admin.register(Source)
class SourceAdmin(BillingAdmin):
    """The name is part of every call's key: it stays."""

    list_display = ("name", "format", "timezone", "region", "expected_gap", "is_retired")
    list_filter = (("format", ChoicesDropdownFilter),)
    search_fields = ("name__startswith",)
    fixed_fields = ("name",)
    readonly_fields = ("look_at", "created_at")
    fieldsets: ClassVar = (
        (
            None,
            {
                "fields": (
                    ("name", "look_at"),
                    "format",
                    ("timezone", "region"),
                    ("expected_gap", "is_retired"),
                    "created_at",
                )
            },
        ),
    )
    add_fieldsets: ClassVar = ((None, {"fields": ("name", "format", ("timezone", "region"), "expected_gap")}),)

    @admin.display(description="look at")
    def look_at(self, source: Source) -> SafeString:
        return side_by_side(
            [
                changelist_link("deliveries", "delivery", source__id__exact=source.pk),
                changelist_link("calls", "callrecord", source__id__exact=source.pk),
            ]
        )


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "file_name",
        "source",
        "started_at",
        "finished_at",
        "read",
        "accepted",
        "duplicate",
        "quarantined",
        "unparsable",
    )
    list_select_related = ("source",)
    list_filter = (("source", RelatedDropdownFilter), ("finished_at", admin.EmptyFieldListFilter))
    search_fields = ("file_name",)
    ordering = ("-id",)
    fields = (
        "file_name",
        ("source", "look_at"),
        ("started_at", "finished_at"),
        ("read_count", "accepted_count"),
        ("duplicate_count", "quarantined_count"),
        "unparsable_count",
    )
    readonly_fields = ("look_at",)

    read = count("read_count")
    accepted = count("accepted_count")
    duplicate = count("duplicate_count")
    quarantined = count("quarantined_count")
    unparsable = count("unparsable_count")

    @admin.display(description="look at")
    def look_at(self, delivery: Delivery) -> SafeString:
        return side_by_side(
            [
                changelist_link("batches", "arrivalbatch", delivery__id__exact=delivery.pk),
                changelist_link("unparsable lines", "unparsableline", delivery__id__exact=delivery.pk),
            ]
        )


@admin.register(ArrivalBatch)
class ArrivalBatchAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "kind", "delivery", "arrived_at", "call_count", "closed_at")
    list_select_related = ("delivery",)
    list_filter = (("kind", ChoicesDropdownFilter), ("closed_at", admin.EmptyFieldListFilter))
    ordering = ("-id",)
    fields = ("kind", ("delivery", "look_at"), "call_count", ("arrived_at", "closed_at"))
    readonly_fields = ("look_at",)

    @admin.display(description="look at")
    def look_at(self, batch: ArrivalBatch) -> SafeString:
        if batch.delivery_id is None:
            return changelist_link("released calls", "quarantinedcall", release_batch__id__exact=batch.pk)
        return changelist_link("calls", "callrecord", batch__id__exact=batch.pk)


@admin.register(UnparsableLine)
class UnparsableLineAdmin(ReadOnlyAdmin):
    list_display = ("delivery", "line_number", "reason", "source")
    list_select_related = ("delivery", "source")
    list_filter = (("source", RelatedDropdownFilter),)
    search_fields = ("delivery__file_name",)
    ordering = ("-id",)
    fields = (("source", "delivery"), "line_number", "reason", "line")
    readonly_fields = ("line",)

    @admin.display(description="line, as it came")
    def line(self, row: UnparsableLine) -> str:
        return bytes(row.raw).decode(errors="backslashreplace")


@admin.register(CallRecord)
class CallRecordAdmin(MillionsAdmin):
    key_field = "call_id"
    search_help_text = "Beginning of a call id, or an account"
    list_display = (
        "started_at",
        "customer",
        "direction",
        "from_number",
        "to_number",
        "seconds",
        "is_answered",
        "source",
    )
    list_select_related = ("customer", "source")
    list_filter = (
        ("customer", AutocompleteSelectFilter),
        BookedMonthFilter,
        ("direction", ChoicesDropdownFilter),
        "is_answered",
        "is_internal",
        ("source", RelatedDropdownFilter),
    )
    readonly_fields = ("outcome",)
    fieldsets: ClassVar = (
        (None, {"fields": (("customer", "direction"), ("from_number", "to_number"), "outcome")}),
        (
            "Times, UTC",
            {"fields": (("started_at", "answered_at"), ("ended_at", "seconds"), ("is_answered", "is_internal"))},
        ),
        ("As the source writes it", {"fields": ("account_code", ("from_peer", "to_peer"))}),
        (
            "Where it came from",
            {"fields": (("source", "batch"), ("call_id", "line_number"), "content_hash")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[CallRecord]:
        key = Func(F("source__name"), F("call_id"), function="call_key", output_field=TextField())
        return super().get_queryset(request).annotate(call_key=key)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CallRecord], search_term: str
    ) -> tuple[QuerySet[CallRecord], bool]:
        digits = search_term.strip().removeprefix("+")
        if "customer__id__exact" in request.GET and digits.isdecimal():
            numbers = Q(from_number__contains=digits) | Q(to_number__contains=digits)
            return queryset.filter(numbers | Q(call_id__startswith=digits)), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description="outcome")
    def outcome(self, call: CallRecord) -> SafeString | str:
        """The charge, or the reason why there is none; by key, as nothing points into these tables."""
        key: str = call.call_key  # type: ignore[attr-defined]
        entry = LedgerEntry.objects.filter(key=key).first()
        if entry:
            return change_link(f"charged {money(-entry.amount, entry.currency)}", "ledgerentry", entry.pk)
        free = FreeCall.objects.filter(call_key=key).first()
        if free:
            return change_link(f"free: {free.get_reason_display()}", "freecall", free.pk)
        stopped = QuarantinedCall.objects.filter(call_key=key, content_hash=call.content_hash).first()
        if stopped:
            return change_link(f"quarantine: {stopped.get_reason_display()}", "quarantinedcall", stopped.pk)
        return "none yet"


@admin.register(FreeCall)
class FreeCallAdmin(MillionsAdmin):
    key_field = "call_key"
    is_searched_by_account = False
    search_help_text = "Beginning of a key"
    list_display = ("call_key", "customer", "reason", "billed_seconds", "settled_at")
    list_select_related = ("customer",)
    list_filter = (("reason", ChoicesDropdownFilter),)
    fields = ("call_key", ("customer", "reason"), ("rate_id", "billed_seconds"), ("run_id", "settled_at"))


@admin.register(QuarantinedCall)
class QuarantinedCallAdmin(MillionsAdmin):
    key_field = "call_key"
    search_help_text = "Beginning of a key, or an account"
    list_display = ("call_key", "show_state", "reason", "detail", "customer", "since")
    list_select_related = ("customer",)
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("reason", ChoicesDropdownFilter),
        ("customer", AutocompleteSelectFilter),
    )
    fields = (
        "call_key",
        ("state", "since"),
        ("reason", "customer"),
        "detail",
        "raw",
        "content_hash",
        "release_batch",
        ("dismissed_by", "dismissed_because"),
    )

    show_state = label("state", {QuarantineState.WAITING: "warning", QuarantineState.RELEASED: "info"})
