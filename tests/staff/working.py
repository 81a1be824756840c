"""How tests of the work pages log in, and send forms as a browser does: with what the form carries unseen."""

import re
from typing import Any

from django.test import Client

from tests.staff.forms import browser_of, member


def staff(role: str = "") -> Client:
    """The browser of somebody who works here and has this role."""
    return browser_of(member(role))


def hidden(page: Any) -> dict[str, str]:
    """What a form carries unseen: once, and what was seen."""
    return dict(re.findall(r'name="(once|seen)" value="([^"]*)"', page.content.decode()))


def send(client: Client, url: str, **said: Any) -> Any:
    """Open the page, and send its form, with what it carries."""
    return client.post(url, {**hidden(client.get(url)), **said})


def send_after_preview(client: Client, url: str, **said: Any) -> Any:
    """The same where what would follow is shown first."""
    shown = client.post(url, {**hidden(client.get(url)), **said})
    assert shown.status_code == 200
    return client.post(url, {**hidden(shown), **said})
