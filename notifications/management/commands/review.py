from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import BAD_INPUT, DONE, IvyCommand
from notifications import reviewing
from notifications.models import Verb

VERBS = {
    verb.value: verb
    for verb in (
        Verb.APPROVE, Verb.RETRY, Verb.RESEND, Verb.DELIVERED, Verb.SUPPRESS, Verb.ERRANT, Verb.APOLOGISE,
    )
}  # fmt: skip


class Command(IvyCommand):
    help = "Order something of mails by their keys: approve, retry, resend, delivered, suppress, errant, apologise."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("verb", metavar="VERB", help=", ".join(VERBS))
        parser.add_argument("keys", metavar="KEY", nargs="+", help="Keys of mails (export_notifications lists them).")
        parser.add_argument("--reason", default="", help="Why; kept in the history.")
        parser.add_argument("--preview", action="store_true", help="With apologise: show who would get one.")

    def handle(self, *args: Any, **options: Any) -> None:
        verb = VERBS.get(options["verb"])
        if verb is None:
            self.refuse(f"There is no verb “{options['verb']}”: {', '.join(VERBS)}.")
        if options["preview"]:
            if verb != Verb.APOLOGISE:
                self.refuse("--preview is for apologise.")
            found = reviewing.apologies_for(options["keys"])
            result = {"done": 0, "would_apologise": found.done, "left_alone": found.left_alone}
            lines = [f"{len(found.done)} apologies would go out.", *_left_alone(found)]
            self.answer(options, result, "\n".join(lines))
            return
        if not options["reason"].strip():
            self.refuse("Say why: --reason “…”. It is kept in the history.")
        reviewed = reviewing.review(verb, options["keys"], reason=options["reason"].strip(), by=self.person())
        wrong = [why for why in reviewed.left_alone.values() if why != reviewing.ALREADY]
        lines = [f"{verb}: {len(reviewed.done)} mails.", *_left_alone(reviewed)]
        result = {"done": len(reviewed.done), "left_alone": reviewed.left_alone}
        self.answer(options, result, "\n".join(lines), BAD_INPUT if wrong and not reviewed.done else DONE)


def _left_alone(reviewed: reviewing.Reviewed) -> list[str]:
    return [f"  left alone: {key}: {why}" for key, why in reviewed.left_alone.items()]
