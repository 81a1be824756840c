"""What `halt` and `resume` have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandParser

from billing import halting
from billing.halting import Halted
from billing.management.base import IvyCommand
from billing.models import Process
from ivy.incidents import Offer, offers

PROCESSES = {"billing": halting.BILLING, **{str(process.value): (process,) for process in Process}}


class SwitchCommand(IvyCommand):
    """A command that switches processes, for everyone or for one partner. `verb`: halt or resume."""

    verb: str

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("process", metavar="PROCESS", help="calls, items, billing (both) or notifications")
        parser.add_argument("--reason", default="", help="Why; kept in the history.")
        parser.add_argument("--partner", help="Only for the customers of this partner (its slug).")

    def processes(self, options: Mapping[str, Any]) -> Sequence[Process]:
        """The processes meant; an unknown name is refused."""
        if options["process"] not in PROCESSES:
            self.refuse(f"There is no process “{options['process']}”: calls, items, billing or notifications.")
        return PROCESSES[options["process"]]

    def tell(self, options: Mapping[str, Any], changes: Sequence[Halted]) -> None:
        """Print what was switched."""
        result = {
            "processes": [
                {
                    "process": change.process.value,
                    "partner": change.partner,
                    "state": "halted" if change.is_halted else "working",
                    "changed": change.changed,
                }
                for change in changes
            ]
        }
        sentences = [_in_words(self.verb, change) for change in changes]
        if self.verb == "halt" and (offered := offers()):
            sentences.append("To tell of it:")
            sentences += [f"  {_as_command(offer)}" for offer in offered]
        self.answer(options, result, "\n".join(sentences))


def _as_command(offer: Offer) -> str:
    return (
        f'manage.py incident open "{offer.title}" --affects {" ".join(offer.affects)}'
        f' --shown-to partners --since {offer.began_at:%Y-%m-%dT%H:%M:%SZ} --text "…"'
    )


def _in_words(verb: str, change: Halted) -> str:
    who = f"{change.process.value} of partner {change.partner}" if change.partner else change.process.value
    if verb == "halt":
        told = f"{who}: halted; nothing is in flight" if change.changed else f"{who}: halted already"
    elif change.is_halted:
        told = f"{who}: still halted, by the breaker or for everyone" + ("; staff's halt is ended" * change.changed)
    else:
        told = f"{who}: working again" if change.changed else f"{who}: was not halted"
    if change.ended_backends:
        told += f"; {change.ended_backends} hung and had to be ended"
    return told + "."
