from typing import Any

from django.core.management.base import CommandParser

from billing import item_changes
from billing.item_changes import Change
from billing.management.base import decimal_string
from billing.management.item_changing import ItemCommand


class Command(ItemCommand):
    help = (
        "End an item on a date, the first day that is not charged any more. --credit gives back what was charged beyond"
        " it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--on", required=True, metavar="DATE", help="In the customer's days.")
        parser.add_argument("--credit", action="store_true", help="Give back what was charged for the days from then.")

    def handle(self, *args: Any, **options: Any) -> None:
        reference = options["reference"]
        on = self.day("--on", options["on"])

        def told(change: Change) -> str:
            ends = f"{reference}: ends on {on}"
            if change.credit is not None:
                given = f"{decimal_string(change.credit.amount)} {change.credit.currency}"
                return f"{ends}; {given} given back, as {change.credit.key}."
            return f"{ends}; nothing to give back." if options["credit"] else f"{ends}."

        self.tell(
            options,
            lambda: item_changes.end(reference, on=on, by=self.person(), with_credit=options["credit"]),
            told,
        )
