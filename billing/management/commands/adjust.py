from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing import corrections
from billing.management.base import decimal_string
from billing.management.correcting import CorrectingCommand


class Command(CorrectingCommand):
    help = (
        "Add an amount to a customer's balance, or take it off: 5.00 is in the customer's favour, -5.00 is owed by the"
        " customer. Once for each reference of an account."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("account", metavar="ACCOUNT")
        parser.add_argument(
            "amount",
            metavar="AMOUNT",
            help="In the customer's currency. Positive: added to the balance, in the customer's favour.",
        )
        parser.add_argument("--reference", default="", help="Your name for it, such as a ticket's number.")

    def handle(self, *args: Any, **options: Any) -> None:
        reference = options["reference"].strip()
        if not reference:
            self.refuse("Name it: --reference “…”. The same reference again changes nothing.")
        try:
            done = corrections.adjust(
                options["account"],
                self.amount("AMOUNT", options["amount"]),
                reference=reference,
                reason=self.reason(options),
                by=self.person(),
                at=timezone.now(),
            )
        except corrections.NotCorrectable as refusal:
            self.refuse(str(refusal))
        entry = done.entry
        if done.changed:
            moved = f"{decimal_string(entry.amount)} {entry.currency}"
            self.tell(options, done, f"Posted {entry.key}: {moved} to the balance of {entry.customer.account}.")
        else:
            self.tell(options, done, f"{entry.key} was posted already, by {entry.entered_by}: nothing changed.")
