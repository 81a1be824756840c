"""Other apps' admin pages, in Unfold's clothes and with the rights that are right here.

Their admin modules are imported by name, so that what is replaced here has been registered before.
"""

import allauth.account.admin
import allauth.mfa.admin
import axes.admin
import django_q.admin
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin

from ivy.models import Alarm, Pulse, Repair

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


@admin.register(Alarm)
class AlarmAdmin(LookOnlyAdmin):
    list_display = ("key", "words", "raised_at", "cleared_at", "mailed_at")
    ordering = ("-raised_at",)


@admin.register(Repair)
class RepairAdmin(LookOnlyAdmin):
    list_display = ("part", "what", "at", "host")
    ordering = ("-at",)


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


@admin.register(Schedule)
class ScheduleAdmin(LookOnlyAdmin, django_q.admin.ScheduleAdmin):
    """To be changed in `ivy.schedules` only: here, one slip in the arguments would stop every schedule."""


@admin.register(Success)
class SuccessAdmin(LookOnlyAdmin, django_q.admin.TaskAdmin):
    pass


@admin.register(Failure)
class FailureAdmin(DeletableAdmin, django_q.admin.FailAdmin):
    pass


@admin.register(OrmQ)
class OrmQAdmin(DeletableAdmin, django_q.admin.QueueAdmin):
    pass
