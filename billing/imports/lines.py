"""From bytes to the rows of a CSV file, in bounded memory, so that no byte of it gets lost.

The ends of lines may be `\\n`, `\\r\\n` or a lone `\\r`. A row may hold line breaks inside quotes, up to 20 lines;
a stray quote spoils its own line and no other. What is no row comes out as it is, with what is wrong with it. NULs and
byte order marks in front of a row are no part of its first field: a power cut leaves the ones, files put behind one
another the others.

Bytes that are not UTF-8 come out as lone surrogates (Python's `surrogateescape`), so that the raw bytes can be had
back: see `raw_bytes` and `readable`.
"""

import csv
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

BLOCK = 1 << 20
LONGEST_PIECE = 1 << 20
LONGEST_ROW = 1 << 16
MOST_LINES_OF_A_ROW = 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ByteStream(Protocol):
    """Anything that bytes can be read from: an open file, standard input."""

    def read(self, size: int, /) -> bytes: ...


class Row(NamedTuple):
    """A row of the file. `fields` is empty when it could not be read; `problem` says why, in a sentence."""

    line_number: int
    raw: str
    fields: list[str]
    problem: str
    is_ended: bool  # by a line end; the last row of a file may not be


def fields_of(text: str) -> tuple[list[str], str]:
    """The fields of a row as RFC 4180 has them, and what is wrong with its quotes, in a sentence; empty if nothing."""
    if '"' not in text:
        return text.split(","), ""
    try:
        return next(csv.reader((text,), strict=True)), ""
    except csv.Error as error:
        return [], f"Its quotes are wrong: {error}."


def rows(
    stream: ByteStream,
    *,
    is_row: Callable[[list[str]], bool],
    split: Callable[[str], tuple[list[str], str]] = fields_of,
) -> Iterator[Row]:
    """The rows of a CSV file, without blank ones (also commas alone). Lines are counted as a text editor counts them.

    `is_row` tells by its fields whether something can be a whole row: so a row over several lines is told from a line
    with a stray quote. `split` gives the fields of a row, for those who quote in a way of their own.
    """
    lines = _Lines(stream)
    while (text := lines.next()) is not None:
        if not text or text.isspace():
            continue
        number = lines.number
        if len(text) > LONGEST_ROW:
            yield Row(number, text, [], f"It is longer than {LONGEST_ROW:,} characters.", lines.is_ended)
            continue
        fields, problem = split(text.lstrip(_IN_FRONT) or text)
        if problem and text.count('"') % 2 and (whole := _row_over_several_lines(text, lines, is_row)):
            text = whole
            fields, problem = split(text.lstrip(_IN_FRONT))
        if any(fields) or problem:
            yield Row(number, text, fields, problem, lines.is_ended)


def raw_bytes(text: str) -> bytes:
    """The bytes that the text was read from (line breaks as `\\n`)."""
    return text.encode("utf-8", "surrogateescape")


def readable(text: str) -> str:
    """Text as people and PostgreSQL can read it: Latin-1 where it was not UTF-8, without NUL and line breaks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = raw_bytes(text).decode("latin-1")
    return text.translate(_UNREADABLE)


_IN_FRONT = "\0\ufeff"
_UNREADABLE = {0: "\N{SYMBOL FOR NULL}", 10: " ", 13: " "}


def _row_over_several_lines(text: str, lines: "_Lines", is_row: Callable[[list[str]], bool]) -> str | None:
    """The row that begins with this line and ends where its quote is closed; None if the quote is a stray one.

    It is when a line behind it is a row by itself: then that line must not disappear into this one.
    """
    for count, further in enumerate(lines.ahead(MOST_LINES_OF_A_ROW - 1), start=1):
        text += "\n" + further
        if len(text) > LONGEST_ROW or is_row(fields_of(further)[0]):
            return None
        if further.count('"') % 2:
            if not is_row(fields_of(text.lstrip(_IN_FRONT))[0]):
                return None
            lines.skip(count)
            return text
    return None


class _Lines:
    """The lines of a stream one by one, with a look at what is coming. A line without end comes in pieces."""

    def __init__(self, stream: ByteStream) -> None:
        self.number = 0
        self._stream = stream
        self._lines: list[str] = []
        self._next = 0
        self._rest = b""
        self._at_end = False
        self._is_first_block = True
        self._goes_on = False  # the last line read so far is a piece of one that goes on
        self._is_cut = False  # the very last line has no line end

    @property
    def is_ended(self) -> bool:
        """Whether the line handed out last had a line end."""
        return not (self._is_cut and self._next == len(self._lines))

    def next(self) -> str | None:
        if self._next == len(self._lines):
            was_piece = self._goes_on
            if not self._read():
                return None
            self.number -= was_piece
        self._next += 1
        self.number += 1
        return self._lines[self._next - 1]

    def ahead(self, count: int) -> Iterator[str]:
        """The next lines, at most so many, without going on to them."""
        for index in range(count):
            if self._next + index == len(self._lines) and (self._goes_on or not self._read(keep=True)):
                return
            yield self._lines[self._next + index]

    def skip(self, count: int) -> None:
        self._next += count
        self.number += count

    def _read(self, *, keep: bool = False) -> bool:
        """Read on until there is at least one more line; False at the end of the stream."""
        lines: list[str] = []
        self._goes_on = False
        while not lines:
            if self._at_end:
                return False
            lines = self._read_block()
        self._lines = self._lines[self._next :] + lines if keep else lines
        self._next = 0
        return True

    def _read_block(self) -> list[str]:
        block = self._stream.read(BLOCK)
        while block.endswith(b"\r") and (following := self._stream.read(1)):  # perhaps the first half of \r\n
            block += following
        if self._is_first_block and block:
            self._is_first_block = False
            block = block.removeprefix(BYTE_ORDER_MARK)
        if not block:
            self._at_end = True
            self._is_cut = bool(self._rest)
            block, self._rest = self._rest, b""
            return _split(block) if block else []
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if end:
            whole, self._rest = self._rest + block[:end], block[end:]
            return _split(whole)[:-1]
        self._rest += block
        if len(self._rest) < 2 * LONGEST_PIECE:
            return []
        # What stays behind is long as well, so that the end of a monstrous line is never taken for a row.
        self._goes_on = True
        whole, self._rest = self._rest[:LONGEST_PIECE], self._rest[LONGEST_PIECE:]
        return [whole.decode("utf-8", "surrogateescape")]


def _split(block: bytes) -> list[str]:
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return block.decode("utf-8", "surrogateescape").split("\n")
