"""What `reverse` and `adjust` have in common: who says why, and what was posted."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from billing.corrections import Correction
from billing.management.base import IvyCommand
from billing.models import EntryKind


class CorrectingCommand(IvyCommand):
    """A command that posts an entry which a person answers for."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help="Why; kept with the entry.")

    def tell(self, options: Mapping[str, Any], correction: Correction, sentence: str) -> None:
        """Print what was posted: amounts positive where the customer was charged."""
        entry = correction.entry
        is_reversal = entry.kind == EntryKind.REVERSAL
        result = {
            "reversed": int(correction.changed and is_reversal),
            "charged": int(correction.changed and not is_reversal),
            "amount": {entry.currency: -entry.amount} if correction.changed else {},
        }
        self.answer(options, result, sentence)
