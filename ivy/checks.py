"""Refuses to run with an environment that makes no sense."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error


def environment_makes_sense(**_: Any) -> list[CheckMessage]:
    """One error per refused value. Carries no tag, so that it runs before every command that runs checks at all."""
    return [Error(problem, id="ivy.E001") for problem in settings.ENVIRONMENT_PROBLEMS]
