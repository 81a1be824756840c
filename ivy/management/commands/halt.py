from typing import Any

from billing import halting
from ivy.management.switching import SwitchCommand


class Command(SwitchCommand):
    verb = "halt"
    help = "Stop a process at once. Returns when nothing of it is in flight any more."

    def handle(self, *args: Any, **options: Any) -> None:
        partner = self.partner(options["partner"])
        changes = [
            halting.halt(process, reason=self.reason(options), by=self.person(), partner=partner)
            for process in self.processes(options)
        ]
        self.tell(options, changes)
