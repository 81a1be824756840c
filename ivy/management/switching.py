"""What `halt` and `resume` have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandParser

from billing.halting import Halted
from billing.management.base import IvyCommand
from ivy import switches
from ivy.incidents import Offer, offers


class SwitchCommand(IvyCommand):
    """A command that switches processes, for everyone or for one partner. `verb`: halt or resume."""

    verb: str

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("process", metavar="PROCESS", help="calls, items, billing (both) or notifications")
        parser.add_argument("--reason", default="", help="Why; kept in the history.")
        parser.add_argument("--partner", help="Only for the customers of this partner (its slug).")

    def process(self, options: Mapping[str, Any]) -> str:
        """The process meant, or billing, which is two; an unknown name is refused."""
        name = str(options["process"])
        if name not in switches.PROCESSES:
            self.refuse(f"There is no process “{name}”: calls, items, billing or notifications.")
        return name

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
        sentences = switches.in_words(self.verb, changes)
        if self.verb == "halt" and (offered := offers()):
            sentences.append("To tell of it:")
            sentences += [f"  {_as_command(offer)}" for offer in offered]
        self.answer(options, result, "\n".join(sentences))


def _as_command(offer: Offer) -> str:
    return (
        f'manage.py incident open "{offer.title}" --affects {" ".join(offer.affects)}'
        f' --shown-to partners --since {offer.began_at:%Y-%m-%dT%H:%M:%SZ} --text "…"'
    )
