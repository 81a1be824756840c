"""A real browser before a real server: the system's Chromium, driven by Playwright, on the test database.

`staff_page` and the like log in through the session table, which takes a millisecond; one test logs in by hand.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from ivy.accounts.models import User
from ivy.staff import roles
from tests.faults.processes import wait_until
from tests.notifications.conftest import mail_server

__all__ = ["mail_server"]

# Playwright's loop runs in this thread, and Django would take our queries for those of a coroutine.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

PATIENCE = 60_000  # milliseconds; only what does not come at all takes so long
expect.set_options(timeout=PATIENCE)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module; each test has a context, and so cookies, of its own.

    Not for all of a process: while Playwright runs, its event loop is that of the thread, and other tests need none.
    """
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=os.environ["IVY_CHROMIUM"], args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser, transactional_db: None) -> Iterator[BrowserContext]:
    """A window that reaches this machine and nothing else, and fails the test when a page asks for more."""
    asked_elsewhere: list[str] = []
    context = browser.new_context(locale="en-GB", timezone_id="UTC", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)

    def only_here(route, request) -> None:
        if request.url.startswith(("http://localhost:", "http://127.0.0.1:", "data:", "blob:")):
            route.continue_()
        else:
            asked_elsewhere.append(request.url)
            route.abort()

    context.route("**/*", only_here)
    yield context
    context.close()
    wait_until(lambda: not requests_under_way(), what="the end of what the pages had asked for")
    assert not asked_elsewhere, "the page asked for something from outside"


def requests_under_way() -> list[str]:
    """The threads of the server that answer; while they do, the tables can't be emptied for the next test."""
    return [thread.name for thread in threading.enumerate() if "process_request_thread" in thread.name]


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A page whose script errors fail whoever looks at `page.mistakes`."""
    page = context.new_page()
    page.mistakes = []
    page.on("pageerror", lambda error: page.mistakes.append(str(error)))
    return page


@pytest.fixture
def log_in(context: BrowserContext, live_server) -> Callable[..., User]:
    """Log a person in: `log_in("operator")`, `log_in("support", "billing")`, `log_in(superuser=True)`."""

    def log_in(*names: str, email: str = "night.shift@ivy.example", superuser: bool = False) -> User:
        roles.install()
        user = User.objects.filter(email=email).first() or User.objects.create_user(
            email, "a long enough secret", is_staff=True, is_superuser=superuser, name="Night Shift"
        )
        user.groups.set(Group.objects.filter(name__in=names))
        carry_session(context, live_server.url, user)
        return user

    return log_in


def carry_session(context: BrowserContext, url: str, user: User) -> None:
    """Give the window the cookie of a session of this user, as if they had logged in."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": url}])


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is now, if it is serious or critical; each with where."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    page.evaluate(script.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{finding['id']}: {node['target']} {node.get('failureSummary', '')}"
        for finding in found["violations"]
        if finding["impact"] in {"serious", "critical"}
        for node in finding["nodes"]
    ]


def overflows(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1")
