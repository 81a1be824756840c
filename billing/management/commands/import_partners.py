from collections.abc import Mapping
from pathlib import Path
from typing import Any

from billing.imports.partners import import_partners
from billing.imports.whole import ImportResult, Progress
from billing.management.importing import ImportCommand


class Command(ImportCommand):
    help = "Create and update partners from a CSV file: all of it, or nothing."

    def import_file(
        self, source: Path | bytes, options: Mapping[str, Any], *, dry_run: bool, progress: Progress
    ) -> ImportResult:
        return import_partners(source, dry_run=dry_run, progress=progress)
