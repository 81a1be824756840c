"""Other apps' admin pages, in Unfold's clothes and with the rights that are right here.

Their admin modules are imported by name, so that what is replaced here has been registered before.
"""

from typing import Any

import allauth.account.admin
import allauth.mfa.admin
import axes.admin
import django_q.admin  # noqa: F401 - registers what is replaced here
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.html import format_html
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from billing.admin.base import MillionsAdmin
from ivy import incident_admin, schedules
from ivy.models import Alarm, AlarmMessage, AuditEntry, CacheFailure, CustomerNote, Probe, Pulse, Repair
from ivy.staff.customers import admin as customer_admin

__all__ = ["customer_admin", "incident_admin"]

# allauth's table of addresses stays empty: the address of a user is `User.email`. axes keeps attempts, not failures.
admin.site.unregister([EmailAddress, AccessFailureLog])
admin.site.unregister([Authenticator, AccessAttempt, AccessLog, Schedule, Success, Failure, OrmQ])


class LookOnlyAdmin(ModelAdmin):
    """What the program writes and people only read."""

    actions = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class DeletableAdmin(LookOnlyAdmin):
    """What people may read and delete."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super(LookOnlyAdmin, self).has_delete_permission(request, obj)


@admin.register(Pulse)
class PulseAdmin(LookOnlyAdmin):
    list_display = ("name", "beaten_at", "host", "pid")


class StandingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "standing"), ("over", "over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alarm]) -> QuerySet[Alarm]:
        return queryset.filter(cleared_at__isnull=self.value() == "standing") if self.value() else queryset


class AlarmMessageInline(TabularInline):
    """Who was told of it, by which way, and what came of it."""

    model = AlarmMessage
    verbose_name_plural = "what staff were told"
    fields = ("event", "number", "channel", "created_at", "tries", "next_try", "sent_at", "answer")
    readonly_fields = fields
    ordering = ("pk",)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("ivy.view_alarm")

    @admin.display(description="next try at")
    def next_try(self, message: AlarmMessage) -> str | None:
        if message.sent_at is not None:
            return None
        return localize(message.next_try_at) if message.next_try_at else "given up"


@admin.register(Probe)
class ProbeAdmin(DeletableAdmin):
    """What processes have found. Deleting the rows of a machine that is gone for good ends its alarm."""

    list_display = ("part", "is_well", "where", "kind", "words", "since", "last_good_at", "probed_at")
    list_filter = ("part", "is_well", "role")
    ordering = ("is_well", "part", "host", "pid")  # what fails comes first


@admin.register(CacheFailure)
class CacheFailureAdmin(LookOnlyAdmin):
    list_display = ("kind", "count", "first_at", "last_at", "words")


@admin.register(Alarm)
class AlarmAdmin(LookOnlyAdmin):
    """Those that stand come first."""

    list_display = ("key", "state", "wrong", "affects", "since", "cleared_at")
    list_filter = (StandingFilter,)
    search_fields = ("key", "wrong")
    fields = (
        "key", "state", "wrong", "affects", "todo", "runbook", "since", "raised_at", "seen_at", "well_since",
        "flap_count", "reminder_count", "next_reminder", "cleared_at",
    )  # fmt: skip
    readonly_fields = ("state", "runbook", "next_reminder")
    ordering = (F("cleared_at").desc(nulls_first=True), "-raised_at")
    inlines = (AlarmMessageInline,)

    @display(  # type: ignore[untyped-decorator]
        description="state", label={"wrong": "danger", "well, watched": "warning", "over": "success"}
    )
    def state(self, alarm: Alarm) -> str:
        if alarm.cleared_at is not None:
            return "over"
        return "wrong" if alarm.well_since is None else "well, watched"

    @admin.display(description="runbook")
    def runbook(self, alarm: Alarm) -> str:
        return format_html('<a href="{}" class="underline">{}</a>', alarm.link, alarm.link)

    @admin.display(description="next reminder at")
    def next_reminder(self, alarm: Alarm) -> str | None:
        return localize(alarm.next_reminder_at) if alarm.cleared_at is None else None


@admin.register(Repair)
class RepairAdmin(LookOnlyAdmin):
    list_display = ("part", "what", "at", "host")
    ordering = ("-at",)


@admin.register(AuditEntry)
class AuditEntryAdmin(MillionsAdmin):
    """Who did what, to what, why: searched by person, by the name of the thing, and by verb."""

    list_display = ("at", "by", "verb", "noun", "name", "summary", "reason")
    list_filter = ("verb", "noun")
    search_help_text = "The e-mail address of a person, or the account, key or name of a thing."
    fields = (("at", "by"), ("verb", "noun"), "name", "summary", "reason", "before", "after")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("by", "name")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(Q(by=term.lower()) | Q(name=term)) if term else queryset), False


@admin.register(CustomerNote)
class CustomerNoteAdmin(LookOnlyAdmin):
    list_display = ("at", "by", "customer", "text")
    list_select_related = ("customer",)
    ordering = ("-id",)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(DeletableAdmin, axes.admin.AccessAttemptAdmin):
    """Failed log-ins. Deleting one lifts its lock-out."""


@admin.register(AccessLog)
class AccessLogAdmin(LookOnlyAdmin, axes.admin.AccessLogAdmin):
    pass


@admin.register(Authenticator)
class AuthenticatorAdmin(DeletableAdmin, allauth.mfa.admin.AuthenticatorAdmin):
    """Second factors. Deleting one lets in somebody who lost their telephone; the secret itself is not shown."""

    fields = ("user", "type", "created_at", "last_used_at")


SHORT = 120


class QueueColumns:
    """What the queue's pages tell: what was called, in words, and what came of it; arguments and pickles are left out.

    Nothing is started from here, and no function can be named: django-q2's own actions and forms are not offered.
    """

    @admin.display(description="what it does")
    def what(self, row: Schedule | Task | OrmQ) -> str:
        func = row.func() if callable(row.func) else row.func
        return schedules.in_words(str(func or "not readable"))

    @admin.display(description="function")
    def function(self, row: Schedule | Task | OrmQ) -> str:
        func = row.func() if callable(row.func) else row.func
        return str(func or "not readable")

    @admin.display(description="took")
    def took(self, task: Task) -> str:
        return f"{(task.stopped - task.started).total_seconds():,.1f}\N{NO-BREAK SPACE}s"

    @admin.display(description="what came of it")
    def outcome(self, task: Task) -> str:
        """One line: of an error the last, which says what was wrong."""
        if not isinstance(task.result, str) or not task.result.strip():
            return "done" if task.success else "failed, and said nothing"
        lines = task.result.strip().splitlines()
        words = lines[0] if task.success else lines[0].partition(" : Traceback")[0] or lines[-1]
        return words if len(words) <= SHORT else f"{words[: SHORT - 1]}…"

    @admin.display(description="all that it said")
    def said(self, task: Task) -> str:
        return task.result if isinstance(task.result, str) and task.result else "nothing"


@admin.register(Schedule)
class ScheduleAdmin(QueueColumns, LookOnlyAdmin):
    """To be changed in `ivy.schedules` only: here, one slip in the arguments would stop every schedule."""

    list_display = ("name", "what", "every", "next_run")
    ordering = ("name",)
    fields = ("name", "what", "function", "every", "next_run")

    @admin.display(description="how often")
    def every(self, schedule: Schedule) -> str:
        if schedule.repeats == 0:
            return "never: switched off"
        if schedule.schedule_type == Schedule.MINUTES and schedule.minutes:
            return "every minute" if schedule.minutes == 1 else f"every {schedule.minutes} minutes"
        return str(schedule.get_schedule_type_display()).lower()


class TaskAdmin(QueueColumns, LookOnlyAdmin):
    """One call of a function by the queue, the last first."""

    list_display = ("started", "what", "took", "outcome")
    ordering = ("-started",)
    fields = ("what", "function", ("started", "took"), "said", "name")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return super().get_queryset(request).filter(success=self.model is Success)


@admin.register(Success)
class SuccessAdmin(TaskAdmin):
    pass


@admin.register(Failure)
class FailureAdmin(DeletableAdmin, TaskAdmin):
    pass


@admin.register(OrmQ)
class OrmQAdmin(QueueColumns, DeletableAdmin):
    """Tasks that wait, or that a worker has just now: `locked until` is when another may take it."""

    list_display = ("id", "what", "lock")
    ordering = ("id",)
    fields = ("what", "function", "lock")
