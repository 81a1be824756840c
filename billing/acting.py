"""Who is doing it: told to the database session, where the triggers that keep every change find the name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from django.db import DatabaseError, connection

_told: ContextVar[str] = ContextVar("told", default="")


@contextmanager
def acting_as(by: str, **about: str) -> Iterator[None]:
    """What is changed inside is noted as done by this person; `about` says by which way. Ends with the block.

    Costs a statement at the start and one at the end. A connection that is lost meanwhile forgets the name.
    """
    told = json.dumps({"by": by, **about})
    _tell(told)
    before = _told.set(told)
    try:
        yield
    finally:
        _told.reset(before)
        if connection.connection is not None:
            with suppress(DatabaseError):  # it is broken, or its transaction is: then the name goes with it
                _tell(_told.get())


def _tell(told: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('pghistory.context_metadata', %s, false)", [told])
