"""What `release_quarantine` and `dismiss_quarantine` have in common: which calls are meant."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import IvyCommand
from billing.models import QuarantineReason, Source
from billing.waiting import Selection


class QuarantineCommand(IvyCommand):
    """A command on the calls that wait in quarantine."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--source", help="Only calls of this source.")
        parser.add_argument("--because", metavar="REASON", help="Only calls that wait for this reason.")
        parser.add_argument("--reason", default="", help="Why you do it.")

    def selection(self, options: Mapping[str, Any]) -> Selection:
        """The calls meant; an unknown source or reason (written with blanks or underscores) is refused."""
        source, because = options["source"], options["because"]
        if source is not None and not Source.objects.filter(name=source).exists():
            self.refuse(f"There is no source “{source}”.")
        if because is None:
            return Selection(source=source or "")
        name = because.strip().lower().replace(" ", "_").replace("-", "_")
        if name not in QuarantineReason.values:
            known = ", ".join(QuarantineReason.values)
            self.refuse(f"“{because}” is no reason for quarantine; there are: {known}.")
        return Selection(source=source or "", reasons=(name,))
