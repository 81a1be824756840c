from typing import Any

from django.core.management.base import CommandParser

from billing import item_changes
from billing.management.item_changing import ItemCommand


class Command(ItemCommand):
    help = (
        "Charge an item no more from a date on, until it is resumed. Days that were charged already are not given back:"
        " then the pause begins after them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--from", dest="from_date", required=True, metavar="DATE", help="In the customer's days.")

    def handle(self, *args: Any, **options: Any) -> None:
        reference = options["reference"]
        from_date = self.day("--from", options["from_date"])
        self.tell(
            options,
            lambda: item_changes.pause(reference, from_date=from_date, by=self.person()),
            lambda change: f"{reference}: paused from {change.holds_from} on.",
        )
