"""No byte of another partner's, from any address of the portal, for anybody."""

import ast
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pypdf import PdfReader

import ivy.portal.views
from ivy.accounts.models import User
from ivy.portal import looking
from ivy.portal.models import Role, StaffLook
from tests import factories
from tests.portal.matrix import ROWS, Row, World

NAMESPACES = ("portal", "status")

pytestmark = pytest.mark.django_db


def patterns(resolver: URLResolver | None = None, namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every address of the portal's namespaces, by its name."""
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, pattern.namespace or namespace)
        elif namespace in NAMESPACES:
            yield f"{namespace}:{pattern.name}", pattern


@pytest.fixture
def worlds(settings: Any) -> tuple[World, World]:
    settings.AXES_ENABLED = False  # it asks for an address, which no forced log-in brings
    return World.of("Zanzibar", "7.313131"), World.of("Quetzal", "4.717171")


def ask(
    user: User | None, row: Row, ids: Mapping[str, str], asked_of: World, look: StaffLook | None = None
) -> HttpResponseBase:
    """The answer, read to its end; what asking has changed is taken back, so that all ask the same world."""
    with transaction.atomic():
        answer = _ask(user, row, ids, asked_of, look)
        if answer.streaming:
            answer.streaming_content = [b"".join(answer.streaming_content)]  # type: ignore[attr-defined]
        transaction.set_rollback(True)
    return answer


def _ask(
    user: User | None, row: Row, ids: Mapping[str, str], asked_of: World, look: StaffLook | None
) -> HttpResponseBase:
    client = Client()
    if user:
        client.force_login(user)
    if look:
        session = client.session
        session[looking.SESSION_KEY] = look.pk
        session.save()
    path = reverse(row.route, kwargs=dict(ids))
    if row.form is not None:
        return client.post(path, dict(row.form(asked_of)))
    return client.get(path, dict(row.query(asked_of)))


def body(answer: HttpResponseBase) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
    if answer.headers["Content-Type"] == "application/pdf":
        content = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages).encode()
    headers = " ".join(f"{name}: {value}" for name, value in answer.items() if name != "Expires")
    return f"{headers}\n{content.decode(errors='replace')}"


def holds_nothing_of(world: World, answer: HttpResponseBase, asked: Mapping[str, str]) -> None:
    text = body(answer)
    for word in asked.values():  # what was asked for may be repeated: it says nothing of whether it is there
        for written in (word, quote(word), quote(quote(word, safe=""), safe="")):
            text = text.replace(written, "")
    for mark in world.marks:
        assert mark not in text, f"“{mark}” in: {text[:2000]}"


def without_what_changes(text: str, ids: Mapping[str, str]) -> str:
    """The answer without its tokens, and without the id that it was asked for; a number stands in addresses alone."""
    for word in ids.values():
        text = text.replace(*((f"/{word}/", "/…/") if word.isdecimal() else (word, "…")))
    return re.sub(r'(csrfmiddlewaretoken" value=|X-CSRFToken": )"[^"]+"', "", text)


class TestTheMatrix:
    def test_has_a_row_for_every_route_and_no_other(self) -> None:
        assert {row.route for row in ROWS} == {route for route, _ in patterns()}


class TestEveryAddress:
    """Each test builds its two worlds once, and asks all addresses of them: a world takes longer than a page."""

    @pytest.fixture
    def wrong(self) -> Iterator[list[str]]:
        """What was found, address by address; the test goes on behind a finding and fails in the end."""
        found: list[str] = []
        yield found
        assert found == []

    def test_gives_each_role_its_own_and_nothing_foreign(self, worlds: tuple[World, World], wrong: list[str]) -> None:
        for row, (mine, other) in product(ROWS, (worlds, worlds[::-1])):
            with noting(row, wrong):
                for role, user in mine.people.items():
                    answer = ask(user, row, row.ids(mine), mine)
                    allowed = row.role is None or role.includes(row.role)
                    expected = row.answers if allowed else (403,)
                    assert answer.status_code in expected, f"{role}: {answer.status_code}"
                    holds_nothing_of(other, answer, {})

    def test_tells_of_foreign_ids_as_of_absent_ones(self, worlds: tuple[World, World], wrong: list[str]) -> None:
        for row, (mine, other) in product(ROWS, (worlds, worlds[::-1])):
            with noting(row, wrong):
                foreign, absent = row.ids(other), {**row.ids(other), **row.absent}
                for user in mine.people.values():
                    answer = ask(user, row, foreign, other)
                    if row.tells_whoever_asks:
                        continue
                    holds_nothing_of(other, answer, {**foreign, **row.query(other), **_texts(row, other)})
                    if row.absent:
                        never = ask(user, row, absent, other)
                        assert answer.status_code == never.status_code
                        assert answer.status_code in {403, 404}
                        assert without_what_changes(body(answer), foreign) == without_what_changes(body(never), absent)

    def test_is_shut_to_strangers_and_to_staff_who_do_not_say_that_they_look(
        self, worlds: tuple[World, World], wrong: list[str]
    ) -> None:
        staff, nobody = factories.make_superuser(), factories.make_user()
        for row, world in product(ROWS, worlds):
            with noting(row, wrong):
                for user in (None, staff, nobody):
                    answer = ask(user, row, row.ids(world), world)
                    if row.role is None:
                        assert answer.status_code in row.answers
                    else:
                        assert answer.status_code == (404 if user else 302)
                    if not row.tells_whoever_asks:
                        holds_nothing_of(world, answer, {**row.ids(world), **row.query(world), **_texts(row, world)})

    def test_shows_staff_who_look_that_partner_and_lets_them_send_nothing(
        self, worlds: tuple[World, World], wrong: list[str]
    ) -> None:
        staff = factories.make_superuser()
        for seen, other in (worlds, worlds[::-1]):
            look = looking.begin(seen.partner, by=staff, reason="They asked for help.")
            for row in ROWS:
                with noting(row, wrong):
                    answer = ask(staff, row, row.ids(seen), seen, look)
                    if row.role is not None:
                        assert answer.status_code in ((403,) if row.form else row.staff_looking)
                        assert "as staff" in body(answer) or "<html" not in body(answer)
                    holds_nothing_of(other, answer, {})
                    if row.absent:
                        assert ask(staff, row, row.ids(other), other, look).status_code in {403, 404}

    def test_is_shut_to_who_was_one_of_them(self, worlds: tuple[World, World], wrong: list[str]) -> None:
        world = worlds[0]
        world.partner.portal_users.update(is_active=False)
        for row in ROWS:
            with noting(row, wrong):
                answer = ask(world.people[Role.OWNER], row, row.ids(world), world)
                assert answer.status_code in (row.answers if row.role is None else (404,))

    def test_takes_nothing_that_was_forged(self, worlds: tuple[World, World], wrong: list[str]) -> None:
        world = worlds[0]
        client = Client(enforce_csrf_checks=True)
        client.force_login(world.people[Role.OWNER])
        for row in ROWS:
            with noting(row, wrong):
                assert client.post(reverse(row.route, kwargs=dict(row.ids(world)))).status_code == 403


@contextmanager
def noting(row: Row, wrong: list[str]) -> Iterator[None]:
    """Note what fails at this address, and go on with the next."""
    try:
        yield
    except AssertionError as error:
        wrong.append(f"{row}: {error}")


def _texts(row: Row, world: World) -> dict[str, str]:
    return {name: value for name, value in (row.form(world) if row.form else {}).items() if isinstance(value, str)}


class TestACustomerThatCameFromAnotherPartner:
    def test_brings_along_no_mail_and_no_wish_of_that_one(self, worlds: tuple[World, World]) -> None:
        before, now = worlds
        before.customer.partner = now.partner
        before.customer.save()
        client = Client()
        client.force_login(now.people[Role.OWNER])
        account = {"account": before.customer.account}
        for route, ids in (("customer", account), ("items", account), ("customer_alerts", account), ("overview", {})):
            page = body(client.get(reverse(f"portal:{route}", kwargs=ids)))
            assert before.people[Role.MANAGER].email not in page
            assert f"{before.marks[0]} is low" not in page
            assert f"{before.marks[0]} wants a trunk" not in page
        assert client.get(reverse("portal:mail"), {"key": before.ids["mail"]}).status_code == 404
        withdraw = reverse("portal:withdraw_request", kwargs={"number": before.ids["request"]})
        assert client.post(withdraw).status_code == 404


class TestViews:
    def test_touch_no_model_but_through_the_scope(self) -> None:
        for file in sorted(Path(ivy.portal.views.__file__).parent.glob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
                assert name not in {"objects", "_default_manager", "_base_manager", "connection", "raw"}, (
                    f"{file.name}, line {node.lineno}: views ask request.scope, which knows whose rows they may show"
                )

    def test_have_the_portal_s_door_before_them(self) -> None:
        open_to_all = {row.route for row in ROWS if row.role is None}
        for route, pattern in patterns():
            assert hasattr(pattern.callback, "portal_role") != (route in open_to_all), route
