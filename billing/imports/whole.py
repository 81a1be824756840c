"""All of a file or nothing: one transaction, and a result that names every line that stood in the way."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from django.db import DatabaseError, OperationalError, connection, transaction

from billing.imports.csvfile import LineError, Sheet

T = TypeVar("T")


class Progress(Protocol):
    """Hands the rows on and shows somebody how far it has come."""

    def __call__(self, rows: Iterable[T], doing: str) -> Iterable[T]: ...


def unwatched(rows: Iterable[T], doing: str) -> Iterable[T]:  # noqa: ARG001
    """The progress that nobody looks at."""
    return rows


@dataclass
class Tally:
    """What becomes of the rows: each is created, updated or unchanged. `notes`: what else happened, in sentences."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImportResult:
    """How an import ended. With errors nothing was written, and nothing counts as created, updated or unchanged.

    `read` counts the rows, not the header and no blank lines. The errors stand in the order of the lines.
    """

    read: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    errors: tuple[LineError, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "read": self.read,
            "created": self.created,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "errors": [{"line": error.line, "error": error.error} for error in self.errors],
        }


def all_or_nothing(sheet: Sheet, work: Callable[[Sheet], Tally], *, what: str, dry_run: bool) -> ImportResult:
    """Do the work in one transaction, and take it back when the sheet has errors then, or for a dry run.

    Imports of the same thing (`what`) wait for each other, so that the second sees what the first has written. What
    the database refuses becomes an error of the file, but for an OperationalError: then it is not the file's fault.
    """
    tally = Tally()
    if sheet.is_readable:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"ivy import {what}"])
                tally = work(sheet)
                if not sheet.errors:
                    connection.check_constraints()  # the deferred ones too, while it is time to say so
                if sheet.errors or dry_run:
                    transaction.set_rollback(True)
        except OperationalError:
            raise
        except DatabaseError as error:
            sheet.refuse(None, _in_words(error))
    if sheet.errors:
        return ImportResult(sheet.row_count, errors=tuple(sorted(sheet.errors, key=lambda error: error.line or 0)))
    return ImportResult(sheet.row_count, tally.created, tally.updated, tally.unchanged, notes=tuple(tally.notes))


def _in_words(error: DatabaseError) -> str:
    """What the database refused, with the constraint's name: it reads as a sentence."""
    diagnosis = getattr(error.__cause__, "diag", None)
    message = getattr(diagnosis, "message_primary", None) or str(error).strip() or type(error).__name__
    detail = getattr(diagnosis, "message_detail", None)
    constraint = getattr(diagnosis, "constraint_name", None)
    words = f"The database refuses the file: {message}"
    if constraint and constraint not in message:
        words += f" ({constraint})"
    return f"{words}. {detail}" if detail else f"{words}."
