"""What the commands on one item have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import CommandParser

from billing.item_changes import Change, ItemNotChangeable
from billing.management.base import IvyCommand


class ItemCommand(IvyCommand):
    """A command on one item, named by its reference."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("reference", metavar="REF", help="The item's reference.")

    def tell(self, options: Mapping[str, Any], verb: Callable[[], Change], sentence: Callable[[Change], str]) -> None:
        """Call the verb and print what it did; a refusal is bad input. Already so: a sentence that says so."""
        try:
            change = verb()
        except ItemNotChangeable as refusal:
            self.refuse(str(refusal))
        told = sentence(change) if change.changed else f"{options['reference']}: so already; nothing changed."
        self.answer(options, {"changed": change.changed}, told)
