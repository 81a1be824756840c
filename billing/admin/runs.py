from decimal import Decimal
from typing import ClassVar

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.base import ReadOnlyAdmin, ReadOnlyInline, changelist_link, count, label, money, side_by_side
from billing.models import BillingChunk, BillingRun, BillingWorker, ChunkState, RunState, WorkerState

ERRORS_SHOWN = 50


class WorkerInline(ReadOnlyInline):
    model = BillingWorker
    fields = ("host", "pid", "state", "started_at", "heartbeat_at")
    verbose_name_plural = "workers"


@admin.register(BillingRun)
class BillingRunAdmin(ReadOnlyAdmin):
    list_display = (
        "started_at",
        "page",
        "show_state",
        "started_by",
        "took",
        "billed",
        "free",
        "quarantined",
        "all_items",
        "charged",
        "error_count",
    )
    list_filter = (("state", ChoicesDropdownFilter), ("partner", RelatedDropdownFilter))
    date_hierarchy = "started_at"
    ordering = ("-started_at",)
    inlines = (WorkerInline,)
    readonly_fields = ("took", "what", "charged", "left_alone", "trouble", "look_at")
    fieldsets: ClassVar = (
        (None, {"fields": (("state", "ended_because"), ("started_by", "what"), ("partner", "look_at"))}),
        ("When", {"fields": (("started_at", "ended_at"), ("took", "business_at"))}),
        (
            "What it did",
            {
                "fields": (
                    ("charged", "calls_billed"),
                    ("calls_free", "calls_quarantined"),
                    ("item_charges", "one_off_charges"),
                    ("episodes_opened", "episodes_closed"),
                )
            },
        ),
        ("What it left", {"fields": ("left_alone", "trouble", ("max_periods", "charges_long_overdue"))}),
    )

    billed = count("calls_billed", "calls")
    free = count("calls_free", "free")
    quarantined = count("calls_quarantined", "quarantined")
    show_state = label(
        "state",
        {
            RunState.RUNNING: "info",
            RunState.DONE: "success",
            RunState.PARTIAL: "warning",
            RunState.HALTED: "warning",
            RunState.FAILED: "danger",
        },
    )

    @admin.display(description="took")
    def took(self, run: BillingRun) -> str:
        return f"{(run.ended_at - run.started_at).total_seconds():,.1f}\N{NO-BREAK SPACE}s" if run.ended_at else "-"

    @admin.display(description="items")
    def all_items(self, run: BillingRun) -> str:
        return f"{run.item_charges + run.one_off_charges:,}"

    @admin.display(description="charges")
    def what(self, run: BillingRun) -> str:
        return ", ".join(run.processes)

    @admin.display(description="charged")
    def charged(self, run: BillingRun) -> str:
        return ", ".join(money(Decimal(amount), currency) for currency, amount in sorted(run.amount.items())) or "-"

    @admin.display(description="errors")
    def error_count(self, run: BillingRun) -> int:
        return len(run.errors)

    @admin.display(description="left alone, since halted")
    def left_alone(self, run: BillingRun) -> str:
        return ", ".join(f"{halt['process']} of {halt['partner'] or 'everyone'}" for halt in run.halted) or "-"

    @admin.display(description="errors")
    def trouble(self, run: BillingRun) -> SafeString | str:
        """The first errors, one a line."""
        lines = [(error["kind"], error["key"], error["error"]) for error in run.errors[:ERRORS_SHOWN]]
        if len(run.errors) > ERRORS_SHOWN:
            lines.append(("…", "", f"and {len(run.errors) - ERRORS_SHOWN} more"))
        return format_html_join("", "<p>{} <strong>{}</strong>: {}</p>", lines) if lines else "none"

    @admin.display(description="look at")
    def look_at(self, run: BillingRun) -> SafeString:
        return side_by_side([self.page(run), changelist_link("chunks", "billingchunk", run__id__exact=run.pk)])

    @admin.display(description="in full")
    def page(self, run: BillingRun) -> SafeString:
        """The run's page in the control room: stages, workers, errors with links, charges by kind."""
        url = reverse("admin:control_run", args=[run.pk])
        return format_html('<a class="text-link whitespace-nowrap" href="{}">run {}</a>', url, run.pk)


@admin.register(BillingWorker)
class BillingWorkerAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "run", "show_state", "started_at", "heartbeat_at")
    list_select_related = ("run",)
    list_filter = (("state", ChoicesDropdownFilter),)
    search_fields = ("host",)
    ordering = ("-id",)
    fields = ("run", "state", ("host", "pid"), ("started_at", "heartbeat_at"))

    show_state = label("state", {WorkerState.RUNNING: "info", WorkerState.DONE: "success", WorkerState.DEAD: "danger"})


@admin.register(BillingChunk)
class BillingChunkAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "run", "partner", "show_state", "worker")
    list_select_related = ("run", "partner", "worker")
    list_filter = (("state", ChoicesDropdownFilter), ("partner", RelatedDropdownFilter))
    ordering = ("-id",)
    show_facets = admin.ShowFacets.NEVER

    show_state = label("state", {ChunkState.TAKEN: "info", ChunkState.DONE: "success", ChunkState.LEFT: "warning"})
