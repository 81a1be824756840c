"""The rehearsal of 2019: the old way fails in it, and Ivy does not."""

import io
import json
from collections.abc import Iterator

import pytest
from django.core.management import call_command

from ivy.rehearsal.stage import Stage
from tests.faults.warm import Command, Warm


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its processes are forked from one that has loaded Ivy, as those of `tests.faults`: there are more than thirty."""
    warm: list[Warm] = []

    def start(stage: Stage, *arguments: str) -> Command:
        if not warm:
            warm.append(Warm(stage.environment))
        return warm[0].start(*arguments)

    monkeypatch.setattr(Stage, "start", start)
    yield
    for one in warm:
        one.end()


def test_ivy_holds_where_the_old_way_fails(db: None) -> None:
    out = io.StringIO()
    call_command("rehearse_incident", "--json", stdout=out)
    answer = json.loads(out.getvalue())
    assert answer["ivy_held"]
    assert answer["old_way_errant"] == 270
    assert (answer["ivy_mails"], answer["ivy_duplicates"], answer["ivy_missing"]) == (30, 0, 0)
    assert (answer["breaker_held"], answer["breaker_let_through"], answer["alarm_mails"]) == (90, 0, 1)
