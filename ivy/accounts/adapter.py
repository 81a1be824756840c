from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest
from django.urls import reverse


class AccountAdapter(DefaultAccountAdapter):
    """How Ivy differs from allauth: nobody signs up, staff land in the admin, and partners in their portal."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        if getattr(request.user, "is_staff", False):
            return reverse("admin:index")
        place = getattr(request.user, "portal_user", None)
        if place is not None and place.is_active:
            return reverse("portal:overview")
        return super().get_login_redirect_url(request)
