from typing import Any

from django.core.management.base import CommandParser

from billing import corrections
from billing.management.base import decimal_string
from billing.management.correcting import CorrectingCommand


class Command(CorrectingCommand):
    help = (
        "Take a ledger entry back, whole, by its opposite. What was charged by it is not charged again. An entry that"
        " was reversed already stays so."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("key", metavar="KEY", help="The entry's key, such as item:trunk-7:2026-03-01.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = corrections.reverse(options["key"], reason=self.reason(options), by=self.person())
        except corrections.NotCorrectable as refusal:
            self.refuse(str(refusal))
        entry = done.entry
        if done.changed:
            account, moved = entry.customer.account, f"{decimal_string(entry.amount)} {entry.currency}"
            self.tell(options, done, f"Reversed {entry.reverses}: {moved} to the balance of {account}.")
        else:
            at = f"{entry.posted_at:%Y-%m-%d %H:%M} UTC"
            self.tell(options, done, f"{entry.reverses} was reversed already, by {entry.entered_by}, at {at}.")
