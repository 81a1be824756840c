from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from billing.imports.payments import DEFAULT_SOURCE, import_payments
from billing.imports.whole import ImportResult, Progress
from billing.management.importing import ImportCommand


class Command(ImportCommand):
    help = "Post payments and refunds from a CSV file: all of it, or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--source", default=DEFAULT_SOURCE, help="Whose references these are: a bank, a payment provider."
        )

    def import_file(
        self, source: Path | bytes, options: Mapping[str, Any], *, dry_run: bool, progress: Progress
    ) -> ImportResult:
        return import_payments(
            source, at=timezone.now(), payment_source=options["source"], dry_run=dry_run, progress=progress
        )
