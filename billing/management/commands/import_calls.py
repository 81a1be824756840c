import sys
from argparse import ArgumentTypeError
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from billing import sources
from billing.imports import calls
from billing.imports.call_formats import FORMATS, NotThisFormat
from billing.imports.lines import readable
from billing.imports.watching import SETTLED_SECONDS, FiledFile, FolderWatch, UnusableFolder
from billing.management.base import DONE, FAILED, IvyCommand
from billing.management.stopping import PatienceIsOver, stop_signals
from billing.models import Source

STDIN = "-"
FILES_IN_AN_ANSWER = 1_000  # of a watch that may go on for years


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 86_400:
        raise ArgumentTypeError("must be a number of seconds, less than a day")
    return seconds


class Command(IvyCommand):
    help = (
        "Take in the call records of a switch. Every record gets one fate: accepted, duplicate, quarantined or"
        " unparsable. Safe to repeat, and to interrupt: run it again and it goes on. Never halted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", nargs="?", help="A file as the switch wrote it; - reads stdin.")
        parser.add_argument(
            "--watch",
            metavar="FOLDER",
            help="Take every finished file of the folder and move it to done/ or failed/ there, until stopped (SIGTERM,"
            " Ctrl-C). A switch must not go on writing to a file that it left alone for --settled seconds.",
        )
        parser.add_argument("--once", action="store_true", help="With --watch: take what is finished now, and end.")
        parser.add_argument(
            "--settled",
            type=_seconds,
            default=SETTLED_SECONDS,
            metavar="SECONDS",
            help=f"With --watch: how long a file must not have changed (default {SETTLED_SECONDS:g}).",
        )
        parser.add_argument("--source", required=True, metavar="S", help="Name of the switch that wrote the file.")
        parser.add_argument("--new-source", action="store_true", help="Register the source, with these settings:")
        parser.add_argument("--format", metavar="T", help=f"What its files look like: {', '.join(sorted(FORMATS))}.")
        parser.add_argument("--timezone", metavar="TZ", help="Zone of local times, such as Europe/Berlin.")
        parser.add_argument("--region", metavar="CC", help="Country whose dialling rules its numbers follow: GB.")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["file"]) == bool(options["watch"]):
            self.refuse("Name a file, or a folder with --watch.")
        if options["once"] and not options["watch"]:
            self.refuse("--once goes with --watch.")
        source = self.source(options)
        if options["watch"]:
            self.watch(source, options)
        else:
            self.take_in(source, options)

    def take_in(self, source: Source, options: dict[str, Any]) -> None:
        name = "standard input" if options["file"] == STDIN else options["file"]
        with self.opened(options["file"]) as (stream, size), self.progress(options, size) as bar:
            try:
                found = calls.read(stream, source=source, on_bytes=bar.update)
                if options["new_source"]:
                    source = sources.register(
                        source.name, format=source.format, timezone=source.timezone, region=source.region
                    )
                result = calls.take_in(found, source=source, file_name=name)
            except NotThisFormat as error:
                self.refuse(f"{name} is no file of format {source.format}. {error}")
            except OSError as error:
                sentence = f"Reading {name} stopped: {error.strerror}. What was read is in; import it again to go on."
                raise CommandError(sentence, returncode=FAILED) from error
        self.answer(options, result.as_json(), in_words(result, name))

    def watch(self, source: Source, options: dict[str, Any]) -> None:
        files: deque[FiledFile] = deque(maxlen=FILES_IN_AN_ANSWER)
        total = calls.CallImport()
        failed = 0

        def tell(file: FiledFile) -> None:
            nonlocal failed
            files.append(file)
            total.add(file.result)
            failed += not file.is_done
            if not options["json"]:
                self.stdout.write(filed_in_words(file))
                self.stdout.flush()

        with stop_signals() as is_stopping:
            try:
                folder = FolderWatch(
                    Path(options["watch"]), settled_seconds=options["settled"], is_stopping=is_stopping
                )
            except UnusableFolder as error:
                self.refuse(str(error))
            if options["new_source"]:
                source = sources.register(
                    source.name, format=source.format, timezone=source.timezone, region=source.region
                )
            with suppress(PatienceIsOver):
                folder.run(source, on_filed=tell, once=options["once"])
        answer = {"files": [file.as_json() for file in files], **total.as_json()}
        self.answer(options, answer, "", status=FAILED if options["once"] and failed else DONE)

    def source(self, options: dict[str, Any]) -> Source:
        """The source that is named, unsaved if it is new; refused if that makes no sense."""
        name, format_name, timezone, region = (options[key] for key in ("source", "format", "timezone", "region"))
        region = region and region.upper()
        try:
            if not options["new_source"]:
                return sources.find(name, format=format_name, timezone=timezone, region=region)
            if not format_name:
                self.refuse(f"A new source needs its --format: {', '.join(sorted(FORMATS))}.")
            return sources.describe(name, format=format_name, timezone=timezone or "", region=region or "")
        except sources.UnknownSource as error:
            self.refuse(f"{error} Register a new one with --new-source.")
        except (sources.BadSource, sources.SourceDiffers) as error:
            self.refuse(str(error))

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[BinaryIO, int | None]]:
        """The file and its size; a size that nobody knows is None."""
        if name == STDIN:
            yield sys.stdin.buffer, None
            return
        path: Path = self.file(name)
        with path.open("rb") as stream:
            yield stream, path.stat().st_size or None

    def progress(self, options: dict[str, Any], size: int | None) -> Any:
        """A bar that fills by bytes, for a person."""
        return tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=not self.is_for_a_person(options))


def filed_in_words(file: FiledFile) -> str:
    if file.is_done:
        return f"{in_words(file.result, file.name)}\nFiled as {readable(str(file.filed_as))}."
    return f"{file.name} failed. {file.reason} Filed as {readable(str(file.filed_as))}."


def in_words(result: calls.CallImport, name: str) -> str:
    """What became of the records, and where to look for those that need somebody."""
    fates = (
        f"{result.accepted:,} accepted, {result.duplicate:,} known already, {result.quarantined:,} quarantined,"
        f" {result.unparsable:,} unparsable"
    )
    sentences = [f"{name}: {result.read:,} call {'record' if result.read == 1 else 'records'} read; {fates}."]
    if result.quarantined:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.quarantine_reasons.most_common())
        sentences.append(f"In quarantine: {reasons}. See “Quarantined calls” in the admin.")
    if result.unparsable:
        lines = "".join(f"\n  line {number}: {reason}" for number, reason in result.unparsable_examples)
        sentences.append(f"Unparsable lines are kept as they came; see “Unparsable lines” in the admin.{lines}")
    return "\n".join(sentences)
