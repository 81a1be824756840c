from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.imports import csvfile
from billing.imports.rates import DeckTerms, import_rates
from billing.imports.whole import ImportResult, Progress
from billing.management.importing import ImportCommand
from billing.models import Rounding

TERMS = {
    "currency": csvfile.currency,
    "decimals": csvfile.integer(0, 6),
    "rounding": csvfile.choice(Rounding.values),
    "timezone": csvfile.time_zone,
}


class Command(ImportCommand):
    help = "Add the rates of a CSV file to a deck, ending those that they replace: all of it, or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--deck", required=True, help="The rate deck; a new one needs --currency.")
        parser.add_argument("--currency", help="Of the deck: three letters, like EUR.")
        parser.add_argument("--decimals", help="A call's price is rounded to so many decimals. Default: 4.")
        parser.add_argument("--rounding", help="half-up, up or half-even. Default: half-up.")
        parser.add_argument("--timezone", help="Where dates begin, like Europe/Berlin. Default: UTC.")
        parser.add_argument(
            "--full", action="store_true", help="End every prefix that the file does not name, at --from."
        )
        parser.add_argument("--from", dest="full_from", metavar="D", help="With --full: a date, or a date and time.")

    def import_file(
        self, source: Path | bytes, options: Mapping[str, Any], *, dry_run: bool, progress: Progress
    ) -> ImportResult:
        return import_rates(
            source,
            deck=options["deck"],
            at=timezone.now(),
            terms=self._terms(options),
            full_from=self._full_from(options),
            dry_run=dry_run,
            progress=progress,
        )

    def _terms(self, options: Mapping[str, Any]) -> DeckTerms:
        terms: dict[str, Any] = {}
        for name, read in TERMS.items():
            if options[name] is not None:
                try:
                    terms[name] = read(str(options[name]))
                except csvfile.BadCell as reason:
                    self.refuse(f"--{name} “{options[name]}” {reason}.")
        return DeckTerms(**terms)

    def _full_from(self, options: Mapping[str, Any]) -> date | datetime | None:
        if options["full"] != (options["full_from"] is not None):
            self.refuse("--full needs --from, the day on which missing prefixes end, and --from belongs to --full.")
        if options["full_from"] is None:
            return None
        try:
            return csvfile.moment(options["full_from"])
        except csvfile.BadCell as reason:
            self.refuse(f"--from “{options['full_from']}” {reason}.")
