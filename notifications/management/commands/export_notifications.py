from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import IvyCommand
from billing.models import Customer
from notifications import exports


class Command(IvyCommand):
    help = "Print the notification log as CSV: every mail that Ivy owed somebody."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account", help="Only this customer's.")
        parser.add_argument("--from", dest="since", help="Owed at or after: ISO 8601, no zone means UTC.")
        parser.add_argument("--to", dest="until", help="Owed before.")

    def handle(self, *args: Any, **options: Any) -> None:
        account = options["account"]
        if account is not None and not Customer.objects.filter(account=account).exists():
            self.refuse(f"There is no customer “{account}”.")
        rows = exports.notifications(
            account=account,
            since=self.time("--from", options["since"]) if options["since"] else None,
            until=self.time("--to", options["until"]) if options["until"] else None,
        )
        self.export(options, exports.COLUMNS, rows)
