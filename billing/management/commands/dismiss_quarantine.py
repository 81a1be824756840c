from typing import Any

from billing import quarantine
from billing.management.quarantining import QuarantineCommand


class Command(QuarantineCommand):
    help = "Put calls that wait in quarantine away for good: they are never charged."

    def handle(self, *args: Any, **options: Any) -> None:
        why = options["reason"].strip()
        if not why:
            self.refuse("Say why: --reason “…”. It is kept with the calls.")
        dismissed = quarantine.dismiss(self.selection(options), by=self.person(), why=why)
        self.answer(options, {"dismissed": dismissed}, f"{dismissed} calls dismissed.")
