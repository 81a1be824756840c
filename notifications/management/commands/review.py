from textwrap import indent
from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import BAD_INPUT, DONE, IvyCommand
from notifications import apologies, reviewing
from notifications.apologies import Sample
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
            texts = apologies.samples(found.done)
            result = {"done": 0, "would_apologise": found.done, "left_alone": found.left_alone,
                      "texts": [_as_row(text) for text in texts]}  # fmt: skip
            lines = [f"{len(found.done)} apologies would go out.", *_left_alone(found)]
            lines += [line for text in texts for line in _in_words(text)]
            self.answer(options, result, "\n".join(lines))
            return
        if not options["reason"].strip():
            self.refuse("Say why: --reason “…”. It is kept in the history.")
        reviewed = reviewing.review(verb, options["keys"], reason=options["reason"].strip(), by=self.person())
        wrong = [why for why in reviewed.left_alone.values() if why != reviewing.ALREADY]
        lines = [f"{verb}: {len(reviewed.done)} mails.", *_left_alone(reviewed)]
        result = {"done": len(reviewed.done), "left_alone": reviewed.left_alone}
        self.answer(options, result, "\n".join(lines), BAD_INPUT if wrong and not reviewed.done else DONE)


def _as_row(text: Sample) -> dict[str, object]:
    written = text.written
    return {
        "count": text.count,
        "is_right": text.is_right,
        "account": text.account,
        "subject": written.subject if written else "",
        "text": written.text if written else "",
        "why_not": text.why_not,
    }


def _in_words(text: Sample) -> list[str]:
    said = f"{text.written.subject}\n\n{text.written.text}" if text.written else f"Can't be written. {text.why_not}"
    return [f"  {text.count} would say, as here to account {text.account}:", indent(said.rstrip(), "    ")]


def _left_alone(reviewed: reviewing.Reviewed) -> list[str]:
    return [f"  left alone: {key}: {why}" for key, why in reviewed.left_alone.items()]
