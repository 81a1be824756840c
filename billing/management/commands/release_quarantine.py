from typing import Any

from billing import quarantine
from billing.management.quarantining import QuarantineCommand


class Command(QuarantineCommand):
    help = "Let calls that wait in quarantine be billed in the next run. What can't be charged then comes back."

    def handle(self, *args: Any, **options: Any) -> None:
        released = quarantine.release(self.selection(options))
        waits = "" if released else " (calls that name no customer, and ids that were billed already, stay)"
        self.answer(options, {"released": released}, f"{released} calls released; the next run bills them{waits}.")
