"""docs/runbook.md tells of every alarm there can be, of no other, and staff read it in the admin."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.test import Client
from django.urls import reverse

from ivy import runbook
from ivy.accounts.models import User
from tests import factories

LOOKED_THROUGH = ("billing", "notifications", "ivy")
ASKED = ["It means", "Affects", "Look", "Stop harm", "Restart"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Unreadable(Exception):
    """A key of a check is made in a way that nobody can read from the source: write it as a literal."""


def keys_in(source: str) -> set[str]:
    """First parts of all keys that `Check(…)` is called with: literals, f-strings, names that stand for such.

    Parameters are followed to the calls of their function in the same module. Raises Unreadable for anything else.
    """
    tree = ast.parse(source)
    keys: set[str] = set()
    for owner, call in _calls(tree):
        if isinstance(call.func, ast.Name) and call.func.id == "Check":
            key = call.args[0] if call.args else next((word.value for word in call.keywords if word.arg == "key"), None)
            keys |= {text.partition(":")[0] for text in _texts(key, owner, tree)}
    return keys


def _calls(tree: ast.AST, owner: Function | None = None) -> Iterator[tuple[Function | None, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        inside = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else owner
        if isinstance(node, ast.Call):
            yield owner, node
        yield from _calls(node, inside)


def _texts(key: ast.expr | None, owner: Function | None, tree: ast.Module) -> set[str]:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return {key.value}
    if isinstance(key, ast.JoinedStr) and isinstance(first := key.values[0], ast.Constant) and ":" in str(first.value):
        return {str(first.value)}
    if isinstance(key, ast.JoinedStr) and isinstance(first, ast.FormattedValue):
        return _texts(first.value, owner, tree)
    if isinstance(key, ast.IfExp):
        return _texts(key.body, owner, tree) | _texts(key.orelse, owner, tree)
    if isinstance(key, ast.Name):
        values = _assigned(key.id, owner) or _assigned(key.id, tree) or _passed(key.id, owner, tree)
        if values:
            return set().union(*(_texts(value, caller, tree) for value, caller in values))
    raise Unreadable(ast.unparse(key) if key else "no key")


def _assigned(name: str, scope: ast.AST | None) -> list[tuple[ast.expr, Any]]:
    """What is assigned to the name within a function, or at the top of the module."""
    inner = ast.walk(scope) if isinstance(scope, ast.FunctionDef) else getattr(scope, "body", [])
    owner = scope if isinstance(scope, ast.FunctionDef) else None
    return [
        (node.value, owner)
        for node in inner
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
    ]


def _passed(name: str, owner: Function | None, tree: ast.Module) -> list[tuple[ast.expr, Any]]:
    """What the function is called with for its parameter of this name."""
    if owner is None:
        return []
    parameters = [parameter.arg for parameter in (*owner.args.posonlyargs, *owner.args.args)]
    found: list[tuple[ast.expr, Any]] = []
    for caller, call in _calls(tree):
        if isinstance(call.func, ast.Name) and call.func.id == owner.name:
            found += [(word.value, caller) for word in call.keywords if word.arg == name]
            if name in parameters and len(call.args) > parameters.index(name):
                found.append((call.args[parameters.index(name)], caller))
    return found


def all_keys() -> set[str]:
    paths = [path for folder in LOOKED_THROUGH for path in (settings.BASE_DIR / folder).rglob("*.py")]
    return set().union(*(keys_in(path.read_text()) for path in paths if "migrations" not in path.parts))


def sections() -> dict[str, str]:
    """What stands below each alarm's heading."""
    text = (settings.BASE_DIR / "docs" / "runbook.md").read_text()
    alarms = text.partition("\n## The alarms\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", alarms, re.MULTILINE | re.DOTALL))


class TestKeys:
    def test_are_read_however_they_are_written(self) -> None:
        source = """
TOP = "top"
def a(): return Check("plain"), Check(key="named")
def b(name): return Check(f"many:{name}") if name else Check(TOP)
def c(name):
    key = f"some:{name}" if name else "some"
    return Check(key, wrong="it is")
def d(key, why): return Check(key)
def e(): return d("passed", 1), [d(key="passed-by-name", why=2)]
"""
        assert keys_in(source) == {"plain", "named", "many", "top", "some", "passed", "passed-by-name"}

    @pytest.mark.parametrize("key", ["f'{part}-quiet'", "KEYS[part]", "part.key", "part"])
    def test_that_nobody_can_read_are_no_keys(self, key: str) -> None:
        with pytest.raises(Unreadable):
            keys_in(f"def check(part): return Check({key})")

    def test_are_found_in_the_source(self) -> None:
        assert {"billing-runs", "halt-forgotten", "source-quiet", "breaker", "uncertain-mails"} <= all_keys()


class TestTheRunbook:
    def test_has_a_heading_for_every_alarm_and_none_that_is_stale(self) -> None:
        assert set(sections()) == all_keys()

    def test_says_of_each_what_it_means_and_what_to_do(self) -> None:
        for key, text in sections().items():
            assert re.findall(r"^\*\*(.+?):\*\* ", text, re.MULTILINE) == ASKED, key

    def test_leads_nowhere_that_is_not_there(self) -> None:
        text = (settings.BASE_DIR / "docs" / "runbook.md").read_text()
        anchors = set(re.findall(r' id="([^"]+)"', runbook.read().body))
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors

    def test_names_commands_that_there_are(self) -> None:
        text = (settings.BASE_DIR / "docs" / "runbook.md").read_text()
        named = set(re.findall(r"manage\.py ([a-z_]+)", text)) | set(re.findall(r"`([a-z]+_[a-z_]+)[ `]", text))
        assert named - set(get_commands()) <= {"no_rate"}

    def test_is_a_file_of_the_checkout(self) -> None:
        assert Path(__file__).parents[2] / "docs" / "runbook.md" == runbook.PATH


@pytest.mark.django_db
class TestThePage:
    @pytest.fixture
    def staff(self, client: Client, settings: Any) -> Client:
        settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
        client.force_login(factories.make_superuser())
        return client

    def test_has_an_anchor_for_every_alarm(self, staff: Client) -> None:
        page = staff.get("/admin/runbook/").content.decode()
        for key in sections():
            assert f'<h3 id="{key}">' in page
            assert f'href="#{key}"' in page

    def test_stands_in_the_menu_and_keeps_the_admins_policy(self, staff: Client) -> None:
        page = staff.get(reverse("admin:runbook"))
        assert 'href="/admin/runbook/"' in staff.get("/admin/").content.decode()
        assert "'unsafe-inline'" in page.headers["Content-Security-Policy"]

    def test_is_for_staff(self, client: Client, settings: Any) -> None:
        settings.AXES_ENABLED = False
        assert client.get("/admin/runbook/").status_code == 302
        client.force_login(User.objects.create_user("partner@example.org", "a long walk along the quay"))
        assert client.get("/admin/runbook/").status_code == 302
