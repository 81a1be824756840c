"""Staff's lists of who may see which portal. People come in by invitation, from the page of their partner."""

from typing import ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from ivy.portal import tokens
from ivy.portal.models import ApiToken, Invitation, PortalUser, StaffLook


class _WrittenElsewhere(ModelAdmin):
    """What comes in by a page of its own."""

    actions: tuple[str, ...] = ()
    list_per_page = 50
    list_fullwidth = True
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(PortalUser)
class PortalUserAdmin(_WrittenElsewhere):
    list_display = ("user", "partner", "role", "is_active", "created_at")
    list_select_related = ("user", "partner")
    list_filter = ("role", "is_active")
    search_fields = ("user__email__startswith", "partner__slug__startswith")
    readonly_fields = ("user", "partner", "created_at")
    fieldsets: ClassVar = (
        (None, {"fields": ("user", "partner", "role", "is_active")}),
        ("How they read it", {"fields": ("language", "timezone", "created_at")}),
    )


@admin.register(Invitation)
class InvitationAdmin(_WrittenElsewhere):
    list_display = (
        "email", "partner", "role", "invited_by", "sent_at", "expires_at", "accepted_at", "withdrawn_at",
    )  # fmt: skip
    list_select_related = ("partner",)
    search_fields = ("email__startswith", "partner__slug__startswith")
    ordering = ("-id",)
    exclude = ("reference",)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(StaffLook)
class StaffLookAdmin(_WrittenElsewhere):
    list_display = ("by", "partner", "reason", "began_at", "ended_at", "expires_at")
    list_select_related = ("by", "partner")
    search_fields = ("by__email__startswith", "partner__slug__startswith")
    ordering = ("-id",)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(ApiToken)
class ApiTokenAdmin(_WrittenElsewhere):
    """Keys of partners' programs. Owners make them in the portal; here they are seen, and revoked."""

    list_display = ("name", "hint", "partner", "resources", "is_limited", "made_by", "expires_at", "revoked_at")
    list_select_related = ("partner", "made_by")
    search_fields = ("name__startswith", "hint__startswith", "partner__slug__startswith")
    ordering = ("-id",)
    exclude = ("digest", "reference", "customers")
    actions = ("revoke",)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("portal.revoke_apitoken")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> None:
        revoked = sum(tokens.revoke(token, by=request.user.get_username()) for token in chosen)
        messages.success(request, f"{revoked} revoked; whoever has them reads nothing any more.")
