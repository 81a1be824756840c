from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.utils import timezone

from billing.imports.customers import import_customers
from billing.imports.whole import ImportResult, Progress
from billing.management.importing import ImportCommand


class Command(ImportCommand):
    help = "Create and update customers from a CSV file: all of it, or nothing."

    def import_file(
        self, source: Path | bytes, options: Mapping[str, Any], *, dry_run: bool, progress: Progress
    ) -> ImportResult:
        return import_customers(source, at=timezone.now(), dry_run=dry_run, progress=progress)
