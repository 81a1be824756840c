from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.management.answers import preview_as_json, preview_in_words
from ivy import switches
from ivy.management.switching import SwitchCommand


class Command(SwitchCommand):
    verb = "resume"
    help = "End a halt by staff, with --preview show first what would follow. A halt by the breaker is reset_breaker's."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--preview", action="store_true", help="Show what the next run would do; change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        partner = self.partner(options["partner"])
        name = self.process(options)
        if options["preview"]:
            found = switches.what_follows(name, at=timezone.now(), partner=partner)
            mails = len(found.mails.mails)
            self.answer(
                options, preview_as_json(found.charges, mails=mails), preview_in_words(found.charges, mails=mails)
            )
            return
        self.tell(options, switches.resume(name, reason=self.reason(options), by=self.person(), partner=partner))
