from typing import Any

from django.core.management.base import CommandParser

from billing import item_changes
from billing.management.base import decimal_string
from billing.management.item_changing import ItemCommand


class Command(ItemCommand):
    help = (
        "Let an item cost another amount, from its first uncharged period that begins on a date or later. A period that"
        " began before keeps its amount."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--amount", required=True, help="For one whole interval and one piece.")
        parser.add_argument("--from", dest="from_date", required=True, metavar="DATE", help="In the customer's days.")

    def handle(self, *args: Any, **options: Any) -> None:
        reference = options["reference"]
        amount = self.amount("--amount", options["amount"])
        from_date = self.day("--from", options["from_date"])
        self.tell(
            options,
            lambda: item_changes.change_amount(reference, amount, from_date=from_date, by=self.person()),
            lambda change: (
                f"{reference}: {decimal_string(amount)} for periods that begin on {change.holds_from} or later."
            ),
        )
