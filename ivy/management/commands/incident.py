from argparse import SUPPRESS
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import F

from billing.management.base import IvyCommand
from ivy import incidents
from ivy.incidents import BadIncident, Change
from ivy.models import Incident, IncidentState, Part

LISTED = 50


class Command(IvyCommand):
    help = "Tell of something that went wrong: open an incident, add updates, list them, show one with its time line."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        opened = verbs.add_parser("open", help="open an incident")
        opened.add_argument("title", metavar="TITLE", help="What is wrong, in a few words.")
        opened.add_argument("--affects", nargs="+", default=[], metavar="PART", help=", ".join(Part.values))
        opened.add_argument("--shown-to", default="staff", help="staff, partners or everybody")
        opened.add_argument("--text", default="", help="What is known so far.")
        opened.add_argument("--since", help="When the trouble began (ISO 8601); default now.")
        updated = verbs.add_parser("update", help="add an update")
        updated.add_argument("id", metavar="ID")
        updated.add_argument("--state", help=f"{', '.join(IncidentState.values)}; default as it was")
        updated.add_argument("--text", default="", help="What was found or done.")
        updated.add_argument("--affects", nargs="+", metavar="PART", help="Which parts it affects from now on.")
        updated.add_argument("--shown-to", help="To whom it is shown from now on.")
        updated.add_argument("--only-staff", action="store_true", help="Partners do not read this update.")
        written = verbs.add_parser("post-mortem", help="write down what happened and why, once it is resolved")
        written.add_argument("id", metavar="ID")
        written.add_argument("--text", default="", help="What happened, why, and what keeps it from happening again.")
        written.add_argument(
            "--shown", action="store_true", default=None, help="Those to whom the incident is shown read it, too."
        )
        verbs.add_parser("list", help=f"the last {LISTED}, open ones first")
        shown = verbs.add_parser("show", help="one, with its time line")
        shown.add_argument("id", metavar="ID")
        for verb in verbs.choices.values():
            # Suppressed, so that it does not take back a --json that stands before the verb.
            verb.add_argument("--json", action="store_true", default=SUPPRESS, help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "open": self.open,
            "update": self.update,
            "post-mortem": self.post_mortem,
            "list": self.list,
            "show": self.show,
        }
        try:
            verbs[options["verb"]](options)
        except BadIncident as bad:
            self.refuse(str(bad))

    def open(self, options: Mapping[str, Any]) -> None:
        change = incidents.open_incident(
            options["title"],
            affects=options["affects"],
            text=options["text"],
            by=self.person(),
            shown_to=options["shown_to"],
            began_at=self.time("--since", options["since"]) if options["since"] else None,
        )
        words = "is open" if change.changed else "was open already, and stays as it is"
        self.tell(options, change, f"Incident {change.incident.pk} {words}: {change.incident.title}")

    def update(self, options: Mapping[str, Any]) -> None:
        change = incidents.update(
            self.incident(options["id"]).pk,
            by=self.person(),
            text=options["text"],
            state=options["state"],
            is_shown=False if options["only_staff"] else None,
            affects=options["affects"],
            shown_to=options["shown_to"],
        )
        incident = change.incident
        words = f"is {incident.state}" if change.changed else f"is {incident.state} already; nothing was changed"
        if change.reopened:
            words = f"was reopened: {incident.state}"
        self.tell(options, change, f"Incident {incident.pk} {words}: {incident.title}")

    def post_mortem(self, options: Mapping[str, Any]) -> None:
        change = incidents.write_post_mortem(
            self.incident(options["id"]).pk, text=options["text"], is_shown=options["shown"], by=self.person()
        )
        words = "written" if change.changed else "the same already"
        self.tell(options, change, f"Incident {change.incident.pk}: the post-mortem is {words}.")

    def list(self, options: Mapping[str, Any]) -> None:
        found = Incident.objects.order_by(F("resolved_at").desc(nulls_first=True), "-began_at", "-pk")[:LISTED]
        lines = [_in_a_line(incident) for incident in found] or ["There is no incident."]
        self.answer(options, {"incidents": [_as_json(incident) for incident in found]}, "\n".join(lines))

    def show(self, options: Mapping[str, Any]) -> None:
        incident = self.incident(options["id"])
        moments = incidents.timeline(incident)
        result = {
            **_as_json(incident),
            "post_mortem": incident.post_mortem,
            "timeline": [
                {"at": m.at, "kind": m.kind, "words": m.words, "by": m.by, "is_shown": m.is_shown} for m in moments
            ],
        }
        lines = [_in_a_line(incident), f"  affects {', '.join(incident.affects)}; shown to {incident.shown_to}"]
        for moment in moments:
            by = f" ({moment.by})" if moment.by else ""
            lines.append(f"  {moment.at:%Y-%m-%d %H:%M:%S} UTC  {moment.kind:9} {moment.words}{by}")
        if incident.post_mortem:
            lines += ["Post-mortem", *(f"  {line}" for line in incident.post_mortem.splitlines())]
        self.answer(options, result, "\n".join(lines))

    def incident(self, text: str) -> Incident:
        """The incident of this number; refused if there is none."""
        found = Incident.objects.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 19 else None
        if found is None:
            self.refuse(f"There is no incident “{text}”: incident list shows which there are.")
        return found

    def tell(self, options: Mapping[str, Any], change: Change, sentence: str) -> None:
        result = {"incident": change.incident.pk, "state": change.incident.state, "changed": change.changed}
        self.answer(options, result, sentence)


def _in_a_line(incident: Incident) -> str:
    until = f" until {incident.resolved_at:%Y-%m-%d %H:%M}" if incident.resolved_at else ""
    return f"{incident.pk}: {incident.title}: {incident.state}, since {incident.began_at:%Y-%m-%d %H:%M}{until} UTC"


def _as_json(incident: Incident) -> dict[str, Any]:
    return {
        "incident": incident.pk,
        "title": incident.title,
        "state": incident.state,
        "affects": incident.affects,
        "shown_to": incident.shown_to,
        "began_at": incident.began_at,
        "opened_at": incident.opened_at,
        "opened_by": incident.opened_by,
        "resolved_at": incident.resolved_at,
    }
