"""What all of Ivy's commands share: exit statuses, one JSON object for programs, plain sentences for people."""

import csv
import getpass
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError
from django.utils.dateparse import parse_date, parse_datetime

from billing.acting import acting_as
from billing.management.stopping import was_interrupted
from billing.models import Partner

DONE = 0
FAILED = 1
BAD_INPUT = 2
REFUSED = 3

UNDEFINED_TABLE = "42P01"
NAMES_OF_FILES = frozenset({"file", "watch"})

# At both ends of the calendar there is room for the date that any time zone has then.
FIRST_INSTANT = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
LAST_INSTANT = datetime(9999, 12, 31, tzinfo=UTC)


class IvyCommand(BaseCommand):
    """A command that answers people in sentences and, with `--json`, programs in one JSON object on stdout.

    Exit status: 0 done · 1 failed, or drift found · 2 bad usage or bad input, nothing written · 3 refused because
    halted or busy.
    """

    wants_json = False

    # Addresses, models, templates: `script/test` and `manage.py check` look at them. It takes a third of the time in
    # which a command starts. What the environment says is looked at all the same.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")

    def run_from_argv(self, argv: list[str]) -> None:
        """Be the command. It writes UTF-8 whatever language the terminal is set to, and names of files as they are."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """The parser of the command line. What is wrong with that is told to programs as well: on stdout, as JSON."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        explain_usage: Callable[[str], NoReturn] = parser.error

        def refuse(message: str) -> NoReturn:
            if "--json" in sys.argv:
                self.stdout.write(json.dumps({"error": message}))
            explain_usage(message)

        parser.error = refuse  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; what the surroundings lack is a sentence, not a traceback."""
        self.wants_json = bool(options.get("json"))
        try:
            self._refuse_nonsense(options)
            # What others print (mails, where no mail server is named) may not come between programs and their object.
            elsewhere = redirect_stdout(sys.stderr) if self.wants_json else nullcontext()
            with elsewhere, acting_as(self.person(), command=type(self).__module__.rpartition(".")[2]):
                return super().execute(*args, **options)
        except BrokenPipeError:
            # Who read along has seen enough; nothing more can be written, not even on the way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(DONE) from None
        except (Exception, KeyboardInterrupt) as error:
            failure = _in_a_sentence(error)
            if self.wants_json:
                words = str(failure) if failure else f"{type(error).__name__}: {first_line(error)}"
                self.stdout.write(json.dumps({"error": words}))
            if failure is None or failure is error:
                raise
            raise failure from (None if was_interrupted(error) else error)

    def _refuse_nonsense(self, options: Mapping[str, Any]) -> None:
        """Nothing begins in an environment that makes no sense, or with words that the database can't hold.

        Of Django's checks the first is the one that all commands need. Names of files may hold any byte.
        """
        if settings.ENVIRONMENT_PROBLEMS:
            self.refuse("\n".join(settings.ENVIRONMENT_PROBLEMS))
        for name, value in options.items():
            for word in value if isinstance(value, list) else [value]:
                if isinstance(word, str) and name not in NAMES_OF_FILES and not _is_utf_8(word):
                    self.refuse(f"{name.upper()}: “{word}” is not UTF-8.")

    def answer(self, options: Mapping[str, Any], result: Mapping[str, Any], sentences: str, status: int = DONE) -> None:
        """Print the result as JSON or as sentences, and leave with the exit status."""
        if options["json"]:
            self.stdout.write(json.dumps(result, default=as_json))
        elif sentences:
            self.stdout.write(sentences)
        if status:
            raise SystemExit(status)

    def export(self, options: Mapping[str, Any], columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
        """Print the rows as CSV with a header or, with `--json`, as one object `{"rows": [...]}`, as they come."""
        if options["json"]:
            self.stdout.write('{"rows": [', ending="")
            for number, row in enumerate(rows):
                self.stdout.write(("," if number else "") + json.dumps(row, default=as_json), ending="")
            self.stdout.write("]}")
            return
        lines = csv.writer(self.stdout, lineterminator="\n")
        lines.writerow(columns)
        for row in rows:
            lines.writerow("" if row[column] is None else as_cell(row[column]) for column in columns)

    def refuse(self, sentence: str) -> NoReturn:
        """Bad usage or bad input: the sentence goes to stderr (and, as JSON, to stdout); the exit status is 2."""
        raise CommandError(sentence, returncode=BAD_INPUT)

    def person(self) -> str:
        """Who sits at the terminal."""
        try:
            return f"{getpass.getuser()} (command line)"
        except (KeyError, OSError):
            return "command line"

    def reason(self, options: Mapping[str, Any]) -> str:
        """Why somebody does this; refused without."""
        reason = str(options["reason"]).strip()
        if not reason:
            self.refuse("Say why: --reason “…”. It is kept in the history.")
        return reason

    def is_for_a_person(self, options: Mapping[str, Any]) -> bool:
        """Whether somebody watches: progress bars are for them alone."""
        return not options["json"] and self.stderr.isatty()

    def partner(self, slug: str | None) -> Partner | None:
        """The partner called so; refused if there is none. None for None."""
        if slug is None:
            return None
        found = Partner.objects.filter(slug=slug).first()
        if found is None:
            self.refuse(f"There is no partner “{slug}”.")
        return found

    def time(self, name: str, text: str) -> datetime:
        """An instant as ISO 8601: no zone means UTC, a date its 00:00 UTC. Anything else is refused."""
        try:
            day = parse_date(text)
            at = datetime.combine(day, time()) if day is not None else parse_datetime(text)
        except ValueError:
            at = None
        if at is None:
            self.refuse(f"{name}: “{text}” is no time; write it like 2026-03-31 or 2026-03-31T18:00:00+02:00.")
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if not FIRST_INSTANT <= at <= LAST_INSTANT:
            self.refuse(f"{name}: “{text}” lies at the end of the calendar, where not every time zone has a date.")
        return at

    def day(self, name: str, text: str) -> date:
        """A date as ISO 8601. Anything else is refused."""
        try:
            day = parse_date(text)
        except ValueError:
            day = None
        if day is None:
            self.refuse(f"{name}: “{text}” is no date; write it like 2026-03-31.")
        return day

    def amount(self, name: str, text: str) -> Decimal:
        """An amount of money, exactly as written. Anything else is refused."""
        if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
            self.refuse(f"{name}: “{text}” is no amount; write it like 12.50.")
        return Decimal(text)

    def file(self, name: str) -> Path:
        """A readable file; a missing one, a folder or one without permission is refused."""
        path = Path(name)
        if path.is_dir():
            self.refuse(f"{name} is a folder, not a file.")
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            self.refuse(f"{name} can't be read: {error.strerror}.")


def _is_utf_8(word: str) -> bool:
    """Whether an argument came as UTF-8: bytes that are not come out as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in word)


def _in_a_sentence(error: BaseException) -> CommandError | None:
    """What ended the command, when that can be said in a sentence."""
    if isinstance(error, CommandError):
        return error
    if was_interrupted(error):
        return CommandError("Interrupted; what was committed counts, run it again for the rest.", returncode=FAILED)
    if isinstance(error, OperationalError | InterfaceError):
        return CommandError(f"The database does not answer: {first_line(error)}", returncode=FAILED)
    if isinstance(error, ProgrammingError) and getattr(error.__cause__, "sqlstate", None) == UNDEFINED_TABLE:
        return CommandError("The database has no tables of Ivy yet: run migrate first.", returncode=FAILED)
    if isinstance(error, DataError):
        return CommandError(f"The database can't hold that: {first_line(error)}.", returncode=BAD_INPUT)
    return None


def first_line(error: BaseException) -> str:
    """What went wrong, without the database's further explanations."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def as_json(value: object) -> object:
    """Amounts as decimal strings without needless zeros, times as ISO 8601."""
    if isinstance(value, Decimal):
        return decimal_string(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)


def as_cell(value: object) -> object:
    """A value as a CSV cell."""
    return as_json(value) if isinstance(value, (Decimal, date, datetime)) else value


def decimal_string(amount: Decimal) -> str:
    """A decimal as people write it: at least two decimals, no exponent, no further zeros at the end."""
    text = f"{amount:.6f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def amounts(by_currency: Mapping[str, Decimal]) -> str:
    """Amounts for a sentence: “12.50 EUR and 3.00 USD”."""
    return " and ".join(f"{decimal_string(amount)} {currency}" for currency, amount in sorted(by_currency.items()))
