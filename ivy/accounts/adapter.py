import logging
from threading import Thread
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as under_way
from django.contrib.sites.shortcuts import get_current_site
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.urls import reverse

logger = logging.getLogger(__name__)


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

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Write the mail, and have it handed over beside the answer: how long that takes, and whether it works, would
        tell who asks which addresses Ivy knows.
        """
        request = under_way.request
        about = {"request": request, "email": email, "current_site": get_current_site(request), **context}
        message = self.render_mail(template_prefix, email, about)
        Thread(target=_hand_over, args=[message], name="mail-of-an-account").start()


def _hand_over(message: EmailMessage) -> None:
    try:
        message.send()
    except OSError as error:  # smtplib's own are among them
        logger.error("The mail server did not take a mail about an account: %s", type(error).__name__)
