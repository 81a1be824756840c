from typing import Any

from django.core.management.base import CommandParser

from billing.explain import UnknownKey, explain
from billing.management.base import IvyCommand


class Command(IvyCommand):
    help = "Tell how a charge, a free call, a call in quarantine or any other ledger entry came about, step by step."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("key", metavar="KEY", help="As in the ledger, such as call:pbx-north:leg-17.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = explain(options["key"])
        except UnknownKey as unknown:
            self.refuse(str(unknown))
        numbered = [f"{number:2}. {step}" for number, step in enumerate(found.steps, start=1)]
        self.answer(
            options,
            {"key": found.key, "outcome": found.outcome, "steps": found.steps},
            "\n".join([found.key, *numbered]),
        )
