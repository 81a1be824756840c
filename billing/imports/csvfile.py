"""Reading a CSV file: UTF-8, the first line names the columns, commas, quotes as in RFC 4180.

Every mistake becomes a sentence with its line number, and reading goes on behind it, so that a file can be mended in
one go. Lines are counted as a text editor counts them; a row whose quoted cells hold line breaks has the number of its
first line. Blank lines, and lines of commas alone as spreadsheets leave them, are not read. Spaces around a cell do not
count. A byte order mark, CRLF and columns in any order are fine.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from babel import Locale, UnknownLocaleError
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing.models.fields import name_of_a_thing, validate_currency, validate_time_zone

CsvSource = Path | BinaryIO | bytes | str
LONGEST_LINE = 100_000
CLEAR = "-"


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong, in a sentence, and where; no line where it is the file or its options as a whole."""

    line: int | None
    error: str


class BadCell(ValueError):
    """The text of a cell is not what its column holds; the message goes on after “the text …”."""


_NEVER: Final = object()


@dataclass(frozen=True, slots=True)
class Column:
    """How the cells of a column are read.

    Required: it stands in the header, and no cell of it is empty. `clears_to` is what a lone `-` means; a column
    without it must have a value, so that `-` is refused.
    """

    read: Callable[[str], Any]
    is_required: bool = False
    clears_to: Any = _NEVER


@dataclass(slots=True)
class Row:
    """The cells of a row that are not empty, by column."""

    line: int
    cells: dict[str, str]
    is_bad: bool = False


@dataclass
class Sheet:
    """A file as it was read: the rows that have a cell for every column, and what is wrong with the others.

    `row_count` counts bad rows too. `is_readable`: the header is right, so that it makes sense to look at the rows.
    """

    columns: Mapping[str, Column]
    rows: list[Row] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    row_count: int = 0
    is_readable: bool = False
    _lines_of: dict[Hashable, int] = field(default_factory=dict)

    def refuse(self, row: Row | None, sentence: str) -> None:
        """Note an error of a row, or of the file as a whole."""
        if row is not None:
            row.is_bad = True
        self.errors.append(LineError(row.line if row else None, sentence))

    def values(self, row: Row) -> dict[str, Any]:
        """The cells of the row that say something, as values: no empty ones, no bad ones (which are noted)."""
        values = {}
        for name, text in row.cells.items():
            column = self.columns[name]
            if text == CLEAR:
                if column.clears_to is _NEVER:
                    self.refuse(row, f"{name} can't be cleared with “-”: it must have a value.")
                else:
                    values[name] = column.clears_to
                continue
            try:
                values[name] = column.read(text)
            except BadCell as reason:
                self.refuse(row, f"{name} “{shown(text)}” {reason}.")
        for name, column in self.columns.items():
            if column.is_required and name not in row.cells:
                self.refuse(row, f"{name} is empty; every line needs one.")
        return values

    def is_repeated(self, row: Row, key: Hashable, words: str) -> bool:
        """Whether an earlier line has the same key: an error of this line, since nobody knows which of them holds."""
        first = self._lines_of.setdefault(key, row.line)
        if first == row.line:
            return False
        self.refuse(row, f"{words} stands in line {first} already.")
        return True


def read(source: CsvSource, columns: Mapping[str, Column]) -> Sheet:
    """Read a file (a path, an open binary file, its bytes, or its text) with these columns."""
    sheet = Sheet(columns)
    lines = _lines(_bytes_of(source), sheet.errors)
    records = _records(lines, sheet.errors)
    header = next(records, None)
    if header is None:
        if not sheet.errors:
            sheet.errors.append(LineError(1, f"The file is empty; its first line names the columns: {_list(columns)}."))
        return sheet
    names = _column_names(header, columns, sheet.errors)
    if not names:
        return sheet
    sheet.is_readable = True
    for line, cells in records:
        sheet.row_count += 1
        if cells is None:
            continue
        if len(cells) != len(names):
            words = f"The line has {_count(len(cells), 'cell')}, the header {_count(len(names), 'column')}."
            sheet.errors.append(LineError(line, words))
            continue
        sheet.rows.append(Row(line, {name: cell for name, cell in zip(names, cells, strict=True) if cell}))
    return sheet


def shown(text: str) -> str:
    """The text of a cell as an error may show it: not too long, nothing invisible."""
    visible = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text[:81])
    return visible if len(visible) <= 80 else visible[:79] + "…"


def is_number_of_a_spreadsheet(text: str) -> bool:
    """Whether a spreadsheet has made a number of the digits of a name, of which most are gone: 2.02603E+11."""
    return _SHORTENED.fullmatch(text) is not None


def plain(number: Decimal | int) -> str:
    """A number without needless zeros and without an exponent."""
    return f"{Decimal(number).normalize():f}"


# Cells --------------------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]{2,}")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?) ?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_NAME = re.compile(cast("re.Pattern[str]", name_of_a_thing.regex).pattern)  # the validator, being lazy, is slow
FIRST_YEAR = 1900


def text(longest: int) -> Callable[[str], str]:
    """Text of at most so many characters."""

    def read_text(cell: str) -> str:
        if len(cell) > longest:
            raise BadCell(f"is longer than {longest} characters")
        return cell

    return read_text


def decimal(*, at_least: int | None = None, at_most: int | None = None) -> Callable[[str], Decimal]:
    """An exact number with a decimal point, as numeric(18,6) holds it: at most 6 decimals, 12 digits before them."""

    def read_decimal(cell: str) -> Decimal:
        if not _DECIMAL.fullmatch(cell):
            if "," in cell:
                raise BadCell("has a comma: write a decimal point and no separators of thousands, like 1234.56")
            raise BadCell("is not a number: write it like 1234.56")
        whole, _, fraction = cell.lstrip("+-").partition(".")
        fraction = fraction.rstrip("0")
        if len(fraction) > 6:
            raise BadCell("has more than 6 decimals")
        if len(whole.lstrip("0")) > 12:
            raise BadCell("is too large: there may be 12 digits before the point")
        number = Decimal(f"{'-' if cell[0] == '-' else ''}{whole or 0}.{fraction or 0}")
        if at_least is not None and number < at_least:
            raise BadCell(f"must be at least {at_least}")
        if at_most is not None and number > at_most:
            raise BadCell(f"must be at most {at_most:,}")
        return number if number else Decimal(0)  # no minus zero

    return read_decimal


def integer(at_least: int, at_most: int) -> Callable[[str], int]:
    """A whole number between the two."""

    def read_integer(cell: str) -> int:
        if not _INTEGER.fullmatch(cell):
            raise BadCell("is not a whole number")
        number = int(cell) if len(cell) < 20 else at_most + 1
        if not at_least <= number <= at_most:
            raise BadCell(f"must be between {at_least} and {at_most}")
        return number

    return read_integer


def day(cell: str) -> date:
    """A date, as ISO 8601 writes it with dashes."""
    if not _DATE.fullmatch(cell):
        raise BadCell("is not a date: write it like 2026-03-31")
    try:
        found = date.fromisoformat(cell)
    except ValueError:
        raise BadCell("is a day that no calendar has") from None
    if found.year < FIRST_YEAR:
        raise BadCell(f"is before the year {FIRST_YEAR}")
    return found


def moment(cell: str) -> date | datetime:
    """A date, or a date and time with or without a zone. `instant` says which moment is meant."""
    if len(cell) <= 10:
        try:
            return day(cell)
        except BadCell as error:
            raise BadCell(str(error).replace("is not a date: write it", "is not a date or time: write it")) from None
    parts = _DATETIME.fullmatch(cell)
    if not parts:
        raise BadCell("is not a date or time: write it like 2026-03-31 or 2026-03-31T18:00:00+02:00")
    try:
        found = datetime.fromisoformat(f"{parts[1]}T{parts[2]}{parts[3] or ''}")
    except ValueError:
        raise BadCell("is a time that no calendar and clock has") from None
    if not FIRST_YEAR <= found.year < date.max.year:  # room for any zone at both ends
        raise BadCell(f"is not between the years {FIRST_YEAR} and {date.max.year - 1}")
    return found


def instant(at: date | datetime, *, midnight_in: tzinfo, zone: tzinfo) -> datetime:
    """The moment in UTC: a date is its midnight in one zone, a time that names no zone stands in the other.

    Of an hour that the clocks pass twice it is the first; of one that they leave out, as if they had not been changed.
    """
    if not isinstance(at, datetime):
        return datetime.combine(at, time(), midnight_in).astimezone(UTC)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def choice(values: Iterable[str]) -> Callable[[str], str]:
    """One of a few words; capitals do not count."""
    known = list(values)

    def read_choice(cell: str) -> str:
        if cell.lower() not in known:
            raise BadCell(f"is not known: write {', '.join(known[:-1])} or {known[-1]}")
        return cell.lower()

    return read_choice


def name(cell: str) -> str:
    """What something is called by: a slug, an account, a reference, the name of a deck."""
    if len(cell) > 64:
        raise BadCell("is longer than 64 characters")
    if not _NAME.match(cell):
        raise BadCell("is no name: use letters, digits, dots, dashes and underscores, a letter or digit first")
    return cell


def email(cell: str) -> str:
    if len(cell) > 254:
        raise BadCell("is longer than 254 characters")
    try:
        validate_email(cell)
    except ValidationError:
        raise BadCell("is not an e-mail address") from None
    return cell


def currency(cell: str) -> str:
    if not _is_valid(validate_currency, cell):
        raise BadCell("is not a currency: write its three letters, like EUR")
    return cell


def time_zone(cell: str) -> str:
    if not _is_valid(validate_time_zone, cell):
        raise BadCell("is not a time zone: write it like Europe/Berlin")
    return cell


def language(cell: str) -> str:
    """A language as browsers name it: en, de-AT."""
    if len(cell) > 16 or not _is_valid(_validate_language, cell):
        raise BadCell("is not a language: write it like en or de-AT")
    return cell


def _validate_language(cell: str) -> None:
    try:
        Locale.parse(cell, sep="-")
    except (ValueError, UnknownLocaleError) as error:
        raise ValidationError(str(error)) from error


@lru_cache(maxsize=10_000)
def _is_valid(validate: Callable[[str], None], cell: str) -> bool:
    """Remembered, since the lists that the validators ask take milliseconds to make."""
    try:
        validate(cell)
    except ValidationError:
        return False
    return True


# From bytes to cells ------------------------------------------------------------------------------------------------

_QUOTED_OR_PLAIN = re.compile(r' *"([^"]*(?:""[^"]*)*)" *(?:,|\Z)|([^",]*)(?:,|\Z)')
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WIDE_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def _bytes_of(source: CsvSource) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    if isinstance(source, str):
        return source.encode()
    return source if isinstance(source, bytes) else source.read()


def _lines(content: bytes, errors: list[LineError]) -> list[str | None]:
    """The lines of the file, without their ends; None for one that is not UTF-8."""
    if content[:2] in _WIDE_MARKS:
        errors.append(LineError(1, "The file is UTF-16, not UTF-8; save it as “CSV UTF-8”."))
        return []
    content = content.removeprefix(b"\xef\xbb\xbf")
    end = b"\n" if b"\n" in content else b"\r"
    pieces = content.split(end)
    if not pieces[-1]:
        pieces.pop()
    lines: list[str | None] = []
    for number, line in enumerate(pieces, start=1):
        piece = line.removesuffix(b"\r")
        try:
            lines.append(piece.decode())
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} of the line is 0x{piece[error.start]:02X}"
            errors.append(LineError(number, f"The line is not UTF-8: {where}. Save the file as “CSV UTF-8”."))
            lines.append(None)
    return lines


def _records(lines: list[str | None], errors: list[LineError]) -> Iterator[tuple[int, list[str] | None]]:
    """The rows with their line numbers, each a list of cells; None for one that can't be read (the error is noted)."""
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if line is None:
            yield index, None
            continue
        if len(line) > LONGEST_LINE:
            errors.append(LineError(index, f"The line is longer than {LONGEST_LINE:,} characters."))
            yield index, None
            continue
        if '"' not in line:
            cells = [cell.strip() for cell in line.split(",")] if "," in line else [line.strip()]
            number, problem = index, None
        else:
            number, row = index, _whole_row(lines, index)
            cells, problem = _cells_with_quotes(row)
            if problem is None:
                line = row
                index += row.count("\n")
        if problem is None and _INVISIBLE.search(line):
            problem = next((what for cell in cells if (what := _invisible(cell))), None)
        if problem is not None:
            errors.append(LineError(number, problem))
            yield number, None
        elif any(cells):
            yield number, cells


def _whole_row(lines: list[str | None], number: int) -> str:
    """The row that begins in line `number`, with as many further lines as its quotes embrace."""
    row = lines[number - 1] or ""
    quotes = row.count('"')
    for further in lines[number:]:
        if quotes % 2 == 0 or further is None or len(row) > LONGEST_LINE:
            break
        row += "\n" + further
        quotes += further.count('"')
    return row if quotes % 2 == 0 else lines[number - 1] or ""


def _cells_with_quotes(row: str) -> tuple[list[str], str | None]:
    """The cells of a row, or what is wrong with its quotes."""
    cells: list[str] = []
    at = 0
    while True:
        cell = _QUOTED_OR_PLAIN.match(row, at)
        if cell is None:
            begins_quoted = row[at:].lstrip(" ").startswith('"')
            if begins_quoted and row[at:].count('"') % 2:
                return [], f"Cell {len(cells) + 1} begins with a quote that is never closed."
            where = "text after its closing quote" if begins_quoted else "a stray quote"
            return [], f"Cell {len(cells) + 1} has {where}: put the cell in quotes, and write quotes inside it twice."
        quoted, plain = cell.groups()
        cells.append((plain if quoted is None else quoted.replace('""', '"')).strip())
        at = cell.end()
        if at == len(row) and not cell[0].endswith(","):
            return cells, None
        if at == len(row):
            cells.append("")
            return cells, None


def _invisible(cell: str) -> str | None:
    """What is wrong with a cell that holds a line break, a NUL byte or another control character."""
    found = _INVISIBLE.search(cell)
    if found is None:
        return None
    if found[0] in "\n\r\u2028\u2029":
        return f"“{shown(cell)}” has a line break in it."
    if found[0] == "\0":
        return f"“{shown(cell)}” has a NUL byte in it: the file is damaged, or not UTF-8."
    return f"“{shown(cell)}” has a control character in it (U+{ord(found[0]):04X})."


def _column_names(
    header: tuple[int, list[str] | None], columns: Mapping[str, Column], errors: list[LineError]
) -> list[str]:
    """The names of the columns in the order of the file; none when anything is wrong with them."""
    line, cells = header
    if cells is None:
        return []
    names = [cell.lower() for cell in cells]
    known = f"the columns are {_list(columns)}"
    problems = []
    if len(names) == 1 and re.search(r"[;\t]", cells[0]):
        problems.append(f"The columns are not separated by commas; {known}.")
    else:
        problems += [f"Column {number} has no name; {known}." for number, name in enumerate(names, 1) if not name]
        problems += [
            f"There is no column “{shown(cell)}”; {known}."
            for cell, name in zip(cells, names, strict=True)
            if name and name not in columns
        ]
        problems += [f"The column {name} stands there twice." for name in columns if names.count(name) > 1]
        problems += [
            f"The column {name} is missing."
            for name, column in columns.items()
            if column.is_required and name not in names
        ]
    errors += [LineError(line, problem) for problem in problems]
    return [] if problems else names


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
