from typing import Any

from django.core.management.base import CommandParser

from billing import item_changes
from billing.management.item_changing import ItemCommand


class Command(ItemCommand):
    help = "Charge a paused item again from a date on. A pause that has not begun by then is taken back."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--from", dest="from_date", required=True, metavar="DATE", help="In the customer's days.")

    def handle(self, *args: Any, **options: Any) -> None:
        reference = options["reference"]
        from_date = self.day("--from", options["from_date"])
        self.tell(
            options,
            lambda: item_changes.resume(reference, from_date=from_date, by=self.person()),
            lambda change: f"{reference}: charged again from {change.holds_from} on.",
        )
