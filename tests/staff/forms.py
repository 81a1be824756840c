"""Members of staff before the pages of the control room, and their forms as a browser would send them."""

import html
import re
from typing import Any

from django.http import HttpResponse
from django.test import Client

from ivy.accounts.models import User
from tests import factories


def member(role: str = "", *, email: str = "", superuser: bool = False) -> User:
    """A member of staff with a role (none: superusers, or people who may do nothing)."""
    user = factories.make_user(
        email=email or f"{role or 'anybody'}.{factories._next()}@ivy.example", is_staff=True, is_superuser=superuser
    )
    if role:
        user.groups.add(factories.role(role))
    return user


def browser_of(user: User) -> Client:
    """A browser in which this person has logged in."""
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def text_of(response: HttpResponse) -> str:
    """What a person reads on the page: no tags, one space between words."""
    body = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def filled_in(response: HttpResponse, **said: Any) -> dict[str, Any]:
    """The page's form as it stands, with what a person writes into it."""
    form = response.context["form"]
    values = {field.html_name: field.value() for field in form}
    return {name: value for name, value in {**values, **said}.items() if value not in (None, False)}


def shown_and_done(browser: Client, url: str, **said: Any) -> HttpResponse:
    """Open the page, write, look at what would follow, and do it; the answer to the last click."""
    shown = browser.post(url, filled_in(browser.get(url), **said))
    assert shown.status_code == 200, "what would follow is shown first"
    assert not shown.context["form"].errors, shown.context["form"].errors
    return browser.post(url, filled_in(shown))
