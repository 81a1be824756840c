from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing import halting
from billing.management.answers import preview_as_json, preview_in_words
from billing.models import HaltCause
from billing.preview import preview
from ivy.management.switching import SwitchCommand
from notifications import preview as mails_owed


class Command(SwitchCommand):
    verb = "resume"
    help = "End a halt by staff, with --preview show first what would follow. A halt by the breaker is reset_breaker's."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--preview", action="store_true", help="Show what the next run would do; change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        partner = self.partner(options["partner"])
        processes = self.processes(options)
        if options["preview"]:
            charged = [process for process in processes if process in halting.BILLING]
            found = preview(at=timezone.now(), processes=charged, partner=partner)
            mails = len(mails_owed.preview(at=timezone.now()).mails)
            result = {**preview_as_json(found), "mails": mails}
            self.answer(options, result, f"{preview_in_words(found)}\n{mails} mails are owed and would go out.")
            return
        changes = [
            halting.resume(
                process, reason=self.reason(options), by=self.person(), partner=partner, cause=HaltCause.STAFF
            )
            for process in processes
        ]
        self.tell(options, changes)
