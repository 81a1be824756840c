from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from billing.admin.base import ReadOnlyAdmin
from billing.models import ProcessSwitch, SwitchHistory


class SwitchColumns:
    """Both tables tell the same: what stands, for whom, why and by whom."""

    @admin.display(description="for", ordering="partner")
    def for_whom(self, row: ProcessSwitch | SwitchHistory) -> str:
        return row.partner.name if row.partner else "everyone"

    @admin.display(description="state", ordering="is_halted")
    def state(self, row: ProcessSwitch | SwitchHistory) -> str:
        return "halted" if row.is_halted else "working"

    state.label = {"halted": "danger", "working": "success"}  # type: ignore[attr-defined]


@admin.register(ProcessSwitch)
class ProcessSwitchAdmin(SwitchColumns, ReadOnlyAdmin):
    """Switched by `halt`, `resume` and `reset_breaker`, which wait for work in flight; never by a form."""

    list_display = ("process", "for_whom", "cause", "state", "since", "reason", "changed_by")
    list_select_related = ("partner",)
    list_filter = (
        ("process", ChoicesDropdownFilter),
        "is_halted",
        ("cause", ChoicesDropdownFilter),
        ("partner", RelatedDropdownFilter),
    )
    ordering = ("-is_halted", "process")
    fields = (("process", "for_whom"), ("state", "since"), ("cause", "changed_by"), "reason")
    readonly_fields = ("for_whom", "state")


@admin.register(SwitchHistory)
class SwitchHistoryAdmin(SwitchColumns, ReadOnlyAdmin):
    list_display = ("changed_at", "process", "for_whom", "cause", "state", "reason", "changed_by")
    list_select_related = ("partner",)
    list_filter = (
        ("process", ChoicesDropdownFilter),
        "is_halted",
        ("cause", ChoicesDropdownFilter),
        ("partner", RelatedDropdownFilter),
    )
    search_fields = ("reason", "changed_by")
    date_hierarchy = "changed_at"
    ordering = ("-changed_at", "-id")
    fields = (("process", "for_whom"), ("state", "changed_at"), ("cause", "changed_by"), "reason")
    readonly_fields = ("for_whom", "state")
