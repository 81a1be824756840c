from typing import Any

from django.core.management.base import CommandParser

from billing.management.answers import preview_as_json
from billing.management.base import IvyCommand
from billing.preview import Preview
from notifications import releasing


class Command(IvyCommand):
    help = "Let mails go out again after the breaker has tripped; with --preview show first what would follow."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help="Why; kept in the history.")
        parser.add_argument("--preview", action="store_true", help="Show what would go out; change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["preview"]:
            found = releasing.preview()
            result = preview_as_json(Preview(), mails=found.mails)
            result |= {"trip": found.trip, "doubt": found.doubt, "by_kind": found.goes_out,
                       "no_longer_true": found.over, "a_minute": found.a_minute}  # fmt: skip
            self.answer(options, result, "\n".join(_in_words(found)))
            return
        reason = str(options["reason"]).strip()
        if not reason:
            self.refuse("Say why: --reason “…”. It is kept in the history.")
        release, ended = releasing.reset(reason=reason, by=self.person())
        state = "halted" if ended.is_halted else "working"
        result = {
            "processes": [{"process": "notifications", "partner": None, "state": state, "changed": ended.changed}],
            "mails": release.mails,
            "no_longer_true": release.over,
        }
        lines = [f"notifications: {state}" + ("" if ended.changed else "; the breaker had not halted them") + "."]
        if ended.is_halted:
            lines.append("Staff's own halt goes on: resume notifications ends it.")
        if release.mails or release.over:
            lines.append(
                f"{release.mails} held mails go out, {release.a_minute} a minute; {release.over} are no longer true."
            )
        self.answer(options, result, "\n".join(lines))


def _in_words(found: releasing.Release) -> list[str]:
    lines = [f"The breaker tripped: {found.trip}." if found.trip else "The breaker has not tripped."]
    if found.doubt:
        lines.append(f"A reset would also confirm this database as the one that mails: {found.doubt}.")
    lines.append(f"{found.mails} held mails would go out, {found.a_minute} a minute:")
    lines += [f"  {count} of kind {kind}" for kind, count in sorted(found.goes_out.items())]
    lines.append(f"{found.over} are no longer true and would not.")
    return lines
