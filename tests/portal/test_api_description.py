"""The API against its own description: whatever is asked, what comes back is what the description promises."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.result import Ok

from ivy.portal import tokens
from ivy.portal.models import Resource
from tests.factories import make_entry, make_user
from tests.portal.matrix import World

EXAMPLES = 10  # of each kind, an address


@pytest.fixture
def one_connection() -> Iterator[None]:
    """Requests go by the test's own connection, in its transaction, as they do by Django's test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.django_db
@pytest.mark.usefixtures("one_connection")
class TestTheApi:
    @pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["sense", "nonsense"])
    def test_keeps_what_its_description_says(self, mode: GenerationMode) -> None:
        world = World.of("Zanzibar", "7.313131")
        for _ in range(3):
            make_entry(customer=world.customer)
        token, text = tokens.make(world.partner, name="Fuzz", by=make_user(), rate_per_minute=6_000)
        assert set(token.resources) == set(Resource)
        schema = schemathesis.openapi.from_wsgi("/portal/api/v1/openapi.json", WSGIHandler())
        asked: set[tuple[str, int]] = set()
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            answers = answers_of(found.ok(), mode, token=text, account=world.customer.account)
            asked |= {(found.ok().label, status) for status in answers}
        assert {label for label, _ in asked} == {f"GET {path}" for path in schema.raw_schema["paths"]}
        assert (200 if mode == GenerationMode.POSITIVE else 422) in {status for _, status in asked}


def answers_of(operation: Any, mode: GenerationMode, *, token: str, account: str) -> set[int]:
    """Ask it so many times, of that account now and then, and check each answer against the description."""
    answers: set[int] = set()

    @seed(8)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), is_ours=st.booleans())
    def ask(case: Case, is_ours: bool) -> None:
        if is_ours and mode == GenerationMode.POSITIVE and "account" in case.path_parameters:
            case.path_parameters["account"] = account
        nonsense = case.headers.get("Authorization") if mode == GenerationMode.NEGATIVE else None
        # No description can say which cursors are ours, and that one time lies behind another.
        answer = case.call_and_validate(
            headers={"Authorization": nonsense or f"Bearer {token}"}, excluded_checks=[positive_data_acceptance]
        )
        answers.add(answer.status_code)

    ask()
    return answers
