"""Format `ivy`: a CSV file with a header, for switches that can be told what to write.

Columns by name, in any order: call_id, account, direction (outbound, inbound), from_number, to_number, started_at,
answered_at, ended_at, billsec, disposition. Times are ISO 8601; one without a zone is local to the source, or UTC if
the source has no zone. Account: an account number, or a call identity as the customers file writes it.
"""

from collections.abc import Iterator
from datetime import datetime
from operator import itemgetter

from billing.imports.call_formats.base import (
    DISPOSITIONS,
    CallFormat,
    Leg,
    NotThisFormat,
    Unparsable,
    UnreadableField,
    fingerprint,
    shown,
    time_or_none,
    was_answered,
    whole_seconds,
    wrong_width,
)
from billing.imports.csvfile import is_number_of_a_spreadsheet
from billing.imports.lines import ByteStream, Row, rows
from billing.imports.local_times import instants
from billing.models import Direction

COLUMNS = (
    "call_id",
    "account",
    "direction",
    "from_number",
    "to_number",
    "started_at",
    "answered_at",
    "ended_at",
    "billsec",
    "disposition",
)


class IvyFormat(CallFormat):
    account_is_any_identity = True

    def read(self, stream: ByteStream) -> Iterator[Leg | Unparsable]:
        header: list[str] = []
        found = rows(stream, is_row=lambda fields: len(fields) == len(header) > 0)
        first = next(found, None)
        if first is None:
            raise NotThisFormat("It has no header; its first line must name the columns.")
        header += _column_names(first)
        return self._legs(found, header)

    def _legs(self, found: Iterator[Row], header: list[str]) -> Iterator[Leg | Unparsable]:
        in_order = itemgetter(*map(header.index, COLUMNS))
        for row in found:
            try:
                yield self._leg(row, in_order(_whole_fields(row, header)))
            except UnreadableField as error:
                if [name.strip(" \ufeff").lower() for name in row.fields] != header:  # of a file put behind another
                    yield Unparsable(row.line_number, row.raw, str(error))

    def _leg(self, row: Row, fields: tuple[str, ...]) -> Leg:
        call_id, account, direction, from_number, to_number, started, answered, ended, billsec, disposition = map(
            str.strip, fields
        )
        if not call_id:
            raise UnreadableField("call_id is empty.")
        if is_number_of_a_spreadsheet(call_id):
            raise UnreadableField(f"call_id “{shown(call_id)}” is a number that a spreadsheet has shortened.")
        if direction not in _DIRECTIONS:
            direction = direction.lower()
            if direction not in _DIRECTIONS:
                raise UnreadableField(f"direction “{shown(direction)}” is neither outbound nor inbound.")
        started_at = _time("started_at", started)
        if started_at is None:
            raise UnreadableField("started_at is empty.")
        is_answered = was_answered("disposition", disposition)
        seconds = whole_seconds("billsec", billsec if is_answered else billsec or "0")
        moments = instants(
            self.zone,
            started_at,
            _time("answered_at", answered),
            _time("ended_at", ended),
            seconds=seconds,
        )
        return Leg(
            line_number=row.line_number,
            content_hash=fingerprint(fields),
            call_id=call_id,
            direction=direction,
            account_code=account,
            from_peer="",
            to_peer="",
            from_number=self.numbers[from_number],
            to_number=self.numbers[to_number],
            started_at=moments.started_at,
            answered_at=moments.answered_at,
            ended_at=moments.ended_at,
            seconds=seconds,
            is_answered=is_answered,
            is_internal=False,
            raw=row.raw,
        )


def _time(name: str, text: str) -> datetime | None:
    return time_or_none(name, text, may_lack_seconds=True)


_DIRECTIONS = frozenset(Direction.values)


def _column_names(first: Row) -> list[str]:
    names = [name.strip().lower() for name in first.fields]
    columns = ", ".join(COLUMNS)
    if first.problem:
        raise NotThisFormat(f"Its header can't be read: {first.problem}")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise NotThisFormat(f"It has a column “{shown(unknown[0])}”; the columns are {columns}, separated by commas.")
    if missing := [name for name in COLUMNS if name not in names]:
        raise NotThisFormat(f"Its header lacks {', '.join(missing)}.")
    if len(names) != len(COLUMNS):
        raise NotThisFormat(f"A column stands there twice; the columns are {columns}.")
    return names


def _whole_fields(row: Row, header: list[str]) -> list[str]:
    if row.problem:
        raise UnreadableField(row.problem)
    if len(row.fields) != len(header):
        raise wrong_width(len(row.fields), f"the header has {len(header)}")
    if not row.is_ended and not _is_provably_whole(row, header):
        raise UnreadableField("The file ends without a line end: perhaps the line was cut off.")
    return row.fields


def _is_provably_whole(row: Row, header: list[str]) -> bool:
    """Whether nothing can be missing at the end of a last line without line end.

    Its last field is in quotes, which are closed, or is a word that no longer word begins with.
    """
    if row.raw.endswith('"'):
        return True
    last = row.fields[-1].strip().lower()
    is_word = header[-1] == "disposition" and last in DISPOSITIONS
    return is_word and not any(word != last and word.startswith(last) for word in DISPOSITIONS)
