"""What `release_quarantine` and `dismiss_quarantine` have in common: which calls are meant."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import IvyCommand
from billing.models import QuarantineReason, Source


class QuarantineCommand(IvyCommand):
    """A command on the calls that wait in quarantine."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--source", help="Only calls of this source.")
        parser.add_argument("--because", metavar="REASON", help="Only calls that wait for this reason.")
        parser.add_argument("--reason", default="", help="Why you do it.")

    def source(self, options: Mapping[str, Any]) -> Source | None:
        """The source meant; an unknown one is refused."""
        if options["source"] is None:
            return None
        found = Source.objects.filter(name=options["source"]).first()
        if found is None:
            self.refuse(f"There is no source “{options['source']}”.")
        return found

    def reasons(self, options: Mapping[str, Any]) -> list[QuarantineReason] | None:
        """The reason meant, written with blanks or underscores; an unknown one is refused."""
        if options["because"] is None:
            return None
        name = options["because"].strip().lower().replace(" ", "_").replace("-", "_")
        if name not in QuarantineReason.values:
            known = ", ".join(QuarantineReason.values)
            self.refuse(f"“{options['because']}” is no reason for quarantine; there are: {known}.")
        return [QuarantineReason(name)]
