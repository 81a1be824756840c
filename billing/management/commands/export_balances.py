from typing import Any

from billing import exports
from billing.management.base import IvyCommand


class Command(IvyCommand):
    help = "The balance of every customer as CSV on stdout: what switches read to let calls through."

    def handle(self, *args: Any, **options: Any) -> None:
        self.export(options, exports.BALANCE_COLUMNS, exports.balances())
