from typing import Any

from django.core.management.base import CommandParser

from billing import exports
from billing.management.base import IvyCommand
from billing.models import Customer


class Command(IvyCommand):
    help = "The ledger as CSV on stdout, oldest posting first. --from and --to: half-open, on occurred_at."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account")
        parser.add_argument("--from", dest="since", help="ISO 8601; no zone means UTC.")
        parser.add_argument("--to", dest="until", help="The first instant not exported.")

    def handle(self, *args: Any, **options: Any) -> None:
        account = options["account"]
        if account is not None and not Customer.objects.filter(account=account).exists():
            self.refuse(f"There is no customer “{account}”.")
        since = self.time("--from", options["since"]) if options["since"] else None
        until = self.time("--to", options["until"]) if options["until"] else None
        rows = exports.ledger(account=account, since=since, until=until)
        self.export(options, exports.LEDGER_COLUMNS, rows)
