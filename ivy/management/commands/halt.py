from typing import Any

from ivy import switches
from ivy.management.switching import SwitchCommand


class Command(SwitchCommand):
    verb = "halt"
    help = "Stop a process at once. Returns when nothing of it is in flight any more."

    def handle(self, *args: Any, **options: Any) -> None:
        partner = self.partner(options["partner"])
        changes = switches.halt(self.process(options), reason=self.reason(options), by=self.person(), partner=partner)
        self.tell(options, changes)
