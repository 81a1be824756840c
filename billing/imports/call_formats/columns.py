"""What the CSV formats share whose columns an operator may choose: named by a header, or in a well-known order."""

import math
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import ClassVar

from billing.imports.call_formats.base import (
    MOST_SECONDS,
    CallFormat,
    Leg,
    NotThisFormat,
    Unparsable,
    UnreadableField,
    shown,
    time_or_none,
    wrong_width,
)
from billing.imports.lines import ByteStream, Row, fields_of, rows
from billing.imports.local_times import FIRST_YEAR, LAST_YEAR

Fields = dict[str, str]  # by the names of their columns, stripped

ROWS_TO_KNOW_IT_BY = 20
LONGEST_HEADER = 8_000


class ColumnsFormat(CallFormat):
    """A CSV file with a header or, without one, in a layout that a row can be told by.

    A header may stand again anywhere (files put behind one another): from there on its columns hold. Columns that
    nobody knows are passed over.
    """

    header_word: ClassVar[str]  # every header holds it
    needed: ClassVar[tuple[tuple[str, ...], ...]]  # of each of these, a header names one
    expected: ClassVar[str]  # what a row has to be like where there is no header, for a sentence

    def read(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        found = self._with_columns(stream)
        first = []
        for row, columns in found:
            first.append((row, columns))
            if columns or len(first) == ROWS_TO_KNOW_IT_BY:
                break
        else:
            if not first and not self._header:
                raise NotThisFormat("It holds nothing but blank lines.")
        if first and not self._header and not any(columns for _, columns in first):
            raise NotThisFormat(f"It has no header that names its columns, and its lines are not {self.expected}.")
        return self.legs(chain(first, found))

    def legs(self, found: Iterator[tuple[Row, Sequence[str]]]) -> Iterator[Leg | Unparsable]:
        """The legs of rows with their columns (none for a row that has no known layout)."""
        width = 0
        for row, columns in found:
            try:
                yield self.leg(row, self._whole_fields(row, columns, width))
            except UnreadableField as error:
                yield Unparsable(row.line_number, row.raw, str(error))
            width = len(row.fields)

    @abstractmethod
    def layout(self, fields: list[str]) -> Sequence[str]:
        """The columns of a row in a file without header, at least as many as it has; empty if it is no row."""

    @abstractmethod
    def leg(self, row: Row, fields: Fields) -> Leg:
        """The leg that the row tells of. Raises UnreadableField."""

    def column_name(self, written: str) -> str:
        """The name of a column as a header may write it."""
        return written.strip(" \ufeff").lower()

    def split(self, text: str) -> tuple[list[str], str]:
        """The fields of a row, and what is wrong with its quotes."""
        return fields_of(text)

    def is_provably_whole(self, row: Row, width: int) -> bool:
        """Whether a last line without line end can lack nothing that tells or prices the call.

        It ends with a quoted text and is as wide as a row has to be.
        """
        return len(row.fields) == width and row.raw.endswith('"')

    _header: Sequence[str] = ()

    def _with_columns(self, stream: ByteStream) -> Iterator[tuple[Row, Sequence[str]]]:
        self._header = ()
        for row in rows(stream, is_row=self._is_row, split=self.split):
            if self.header_word in row.raw[:LONGEST_HEADER].lower() and (names := self._names(row)):
                self._header = names
            else:
                yield row, self._header or self.layout(row.fields)

    def _is_row(self, fields: list[str]) -> bool:
        return len(fields) == len(self._header) if self._header else bool(self.layout(fields))

    def _names(self, row: Row) -> Sequence[str]:
        names = [self.column_name(field) for field in row.fields]
        is_header = all(any(name in names for name in alternatives) for alternatives in self.needed)
        return names if is_header else ()

    def _whole_fields(self, row: Row, columns: Sequence[str], width: int) -> Fields:
        if row.problem:
            raise UnreadableField(row.problem)
        count = len(row.fields)
        if self._header and count != len(self._header):
            raise wrong_width(count, f"the header has {len(self._header)}")
        if not columns:
            raise wrong_width(count, f"without a header it must be {self.expected}")
        if not row.is_ended and not self.is_provably_whole(row, len(self._header) or width):
            raise UnreadableField("The file ends without a line end: perhaps the line was cut off.")
        # Of two columns of one name the first counts: a second one is the operator's.
        return dict(zip(reversed(columns[:count]), map(_bare, reversed(row.fields)), strict=True))


def _bare(field: str) -> str:
    """The field without blanks around it, nor quotes that a blank before them kept from being quotes."""
    field = field.strip()
    if len(field) > 1 and field[0] == field[-1] == '"':
        return field[1:-1].replace('""', '"').strip()
    return field


def local_or_epoch(name: str, text: str) -> datetime | None:
    """The time in a field: ISO 8601, or seconds since 1970, which are aware; 0 is none. Raises UnreadableField."""
    if _EPOCH.fullmatch(text):
        return from_epoch(name, text)
    return time_or_none(name, text)


def from_epoch(name: str, text: str, *, a_second: int = 1) -> datetime | None:
    """The instant so many seconds after the beginning of 1970; `a_second`: how many of its units are one.

    None for an empty field and for 0, which is how switches write “never”. Raises UnreadableField.
    """
    if not text:
        return None
    if not _UNITS.fullmatch(text):
        raise UnreadableField(f"{name} “{shown(text)}” is no number of seconds since 1970.")
    units = Decimal(text)
    if not units:
        return None
    try:
        found = _BEGINNING + timedelta(microseconds=int(units * 1_000_000 / a_second))
    except OverflowError:
        found = None
    if found is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise UnreadableField(f"{name} “{shown(text)}” is outside any calendar.")
    return found


_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = re.compile(r"(?:0|[0-9]{9,10})(?:\.[0-9]{0,9})?")
_UNITS = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,9})?")


def seconds_of(name: str, text: str, *, a_second: int) -> int:
    """Seconds from a number of smaller units; a begun second counts. Raises UnreadableField."""
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise UnreadableField(f"{name} “{shown(text)}” is no number." if text else f"{name} is empty.")
    seconds = math.ceil(Decimal(text) / a_second)
    if abs(seconds) > MOST_SECONDS:
        raise UnreadableField(f"{name} “{text}” is longer than any call.")
    return seconds
