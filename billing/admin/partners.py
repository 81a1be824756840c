from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString

from billing.admin.alerts import DefaultAlertInline
from billing.admin.base import BillingAdmin, changelist_link, side_by_side
from billing.models import Partner


@admin.register(Partner)
class PartnerAdmin(BillingAdmin):
    list_display = ("name", "slug", "currency", "timezone", "rate_deck", "sender")
    list_select_related = ("rate_deck",)
    search_fields = ("slug__startswith", "name")
    autocomplete_fields = ("rate_deck",)
    fixed_fields = ("slug",)
    readonly_fields = ("look_at", "created_at")
    inlines = (DefaultAlertInline,)
    fieldsets: ClassVar = (
        (None, {"fields": ("name", "slug", "look_at")}),
        ("Mails to customers", {"fields": (("sender", "reply_to"), ("sender_name", "language"))}),
        ("What new customers begin with", {"fields": (("currency", "timezone"), "rate_deck", "created_at")}),
    )
    add_fieldsets: ClassVar = (
        (None, {"fields": ("name", "slug")}),
        ("Mails to customers", {"fields": (("sender", "reply_to"), ("sender_name", "language"))}),
        ("What new customers begin with", {"fields": (("currency", "timezone"), "rate_deck")}),
    )

    @admin.display(description="look at")
    def look_at(self, partner: Partner) -> SafeString:
        return side_by_side(
            [
                changelist_link("customers", "customer", partner__id__exact=partner.pk),
                changelist_link("halts", "processswitch", partner__id__exact=partner.pk),
            ]
        )
