"""What the commands share that read a CSV file of which all is taken, or nothing."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError
from tqdm import tqdm

from billing.imports.whole import ImportResult, Progress, unwatched
from billing.management.base import BAD_INPUT, FAILED, IvyCommand

ERRORS_SHOWN = 100
T = TypeVar("T")


class ImportCommand(IvyCommand):
    """Import a file through `import_file`, and answer with what became of its lines.

    Exit status: 0 imported, or all of it was there already · 1 the database gave up, nothing written · 2 something is
    wrong with the file, nothing written. JSON names every bad line; people are shown the first hundred.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="A CSV file, UTF-8, with a header; “-” reads standard input.")
        parser.add_argument("--dry-run", action="store_true", help="Check everything; write nothing.")

    def import_file(
        self, source: Path | bytes, options: Mapping[str, Any], *, dry_run: bool, progress: Progress
    ) -> ImportResult:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        name = "standard input" if options["file"] == "-" else options["file"]
        source = sys.stdin.buffer.read() if options["file"] == "-" else self.file(options["file"])
        progress: Progress = _bar if self.is_for_a_person(options) else unwatched
        try:
            result = self.import_file(source, options, dry_run=options["dry_run"], progress=progress)
        except OperationalError as error:
            raise CommandError(f"Nothing was imported: {str(error).strip()}", returncode=FAILED) from error
        if result.errors and not options["json"]:
            self.stderr.write(_errors_in_words(name, result))
            raise SystemExit(BAD_INPUT)
        sentences = _in_words(name, result, dry_run=options["dry_run"])
        self.answer(options, result.as_json(), sentences, BAD_INPUT if result.errors else 0)


def _bar(rows: Iterable[T], doing: str) -> Iterable[T]:
    return tqdm(rows, desc=doing, unit=" lines", leave=False)


def _in_words(name: str, result: ImportResult, *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = "1 line" if result.read == 1 else f"{result.read:,} lines"
    counts = f"{result.created:,} {would}created, {result.updated:,} {would}updated, {result.unchanged:,} unchanged"
    sentences = [f"{name}: {lines} read; {counts}."]
    sentences += result.notes
    if dry_run:
        sentences.append("Nothing was written: it was a dry run.")
    return "\n".join(sentences)


def _errors_in_words(name: str, result: ImportResult) -> str:
    shown = [
        f"{name}: {error.error}" if error.line is None else f"{name}, line {error.line}: {error.error}"
        for error in result.errors[:ERRORS_SHOWN]
    ]
    if len(result.errors) > ERRORS_SHOWN:
        shown.append(f"... and {len(result.errors) - ERRORS_SHOWN:,} more")
    shown.append("Nothing was imported.")
    return "\n".join(shown)
