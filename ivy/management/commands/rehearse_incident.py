from dataclasses import asdict
from typing import Any

from billing.management.base import DONE, FAILED, IvyCommand
from ivy.rehearsal import story
from ivy.rehearsal.stage import stage


class Command(IvyCommand):
    help = (
        "Watch the failure of 2019 happen to the old way of telling customers, and not to Ivy: on private servers,"
        " in a minute or two. Nothing of this installation is touched, and nobody is mailed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        def say(line: str) -> None:
            if not options["json"]:
                self.stdout.write(line)
                self.stdout.flush()

        with stage() as here:
            outcome = story.play(here, say)
        result = {**asdict(outcome), "halted_ok": outcome.halted_ok, "ivy_held": outcome.ivy_held}
        self.answer(options, result, "\n".join(story.summary(outcome)), DONE if outcome.ivy_held else FAILED)
