"""CSV files for partners, of any length: written row by row while they are read, in constant memory.

A spreadsheet takes a cell that begins with = + - @ for a formula. Such a cell gets an apostrophe before it, unless it
is a number. So does what would be such a cell in countries whose spreadsheets part cells at semicolons.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

ROWS_AT_A_TIME = 2_000
FORMULA_BEGINS = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the wide ones, which spreadsheets read alike
FORMULA_WITHIN = re.compile("(?<=[;\t\r\n])(?=[=+@＝＋－＠-])")  # noqa: RUF001
NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*")


def answer(file_name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download of these rows. `rows` should come from a server-side cursor: `queryset.values_list(...).iterator()`.

    Amounts are written as plain decimals, times in ISO 8601 with their zone.
    """
    return StreamingHttpResponse(
        lines(columns, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(as_attachment=True, filename=file_name) or ""},
    )


def lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The file in pieces of some thousand lines; the header first."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    held = 0
    for row in rows:
        writer.writerow([harmless(cell) for cell in row])
        held += 1
        if held == ROWS_AT_A_TIME:
            yield _taken(buffer)
            held = 0
    yield _taken(buffer)


def harmless(cell: object) -> str:
    """The cell as text that no spreadsheet takes for a formula."""
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    if isinstance(cell, datetime):
        return cell.isoformat()
    text = FORMULA_WITHIN.sub("'", str(cell))
    if text and text[0] in FORMULA_BEGINS and not NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _taken(buffer: StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
