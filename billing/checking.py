"""What a check is, and how several are looked at so that one that fails keeps no other from being seen."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import InterfaceError, OperationalError, connection, transaction

logger = logging.getLogger(__name__)

CHECK_FAILED = "check-failed"
CHECK_SECONDS = 10

_failing: set[str] = set()  # whose error this process has logged


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what staff should know of it.

    `key` names the trouble, and its page of docs/runbook.md: "mail-server", or with one of many, "source-quiet:pbx-1".
    `wrong`: what is wrong, in sentences; empty: it is well. `affects`: who is not billed or not told. `todo`: what to
    do. `since`: when it began, as far as the data tell; by the database's clock.
    """

    key: str
    wrong: str = ""
    affects: str = ""
    todo: str = ""
    since: datetime | None = None

    @property
    def is_well(self) -> bool:
        return not self.wrong

    @property
    def page(self) -> str:
        """The heading in docs/runbook.md that tells of it."""
        return self.key.partition(":")[0]


Look = Callable[[], Check | Iterable[Check]]


def looked_at(looks: Mapping[str, Look]) -> list[Check]:
    """What each of them found. One that raises is a trouble of its own, and keeps no other from being looked at.

    Each has ten seconds of the database's time, unless a transaction is open already.
    """
    found: list[Check] = []
    for name, look in looks.items():
        try:
            found += _found_by(look)
            _failing.discard(name)
        except Exception as error:
            if name not in _failing:
                logger.exception("The check %s failed", name)
            _failing.add(name)
            found.append(
                Check(
                    f"{CHECK_FAILED}:{name}",
                    wrong=f"Ivy can't look at “{name}”: {type(error).__name__}.",
                    affects="Troubles of this kind are not seen, and those that stand are not cleared.",
                    todo="The log has the whole error.",
                )
            )
    return found


def _found_by(look: Look) -> list[Check]:
    """Look; once more if the connection to the database was lost, which is no fault of the check's."""
    server_connection = connection.connection
    try:
        return _found_at_once_by(look)
    except (OperationalError, InterfaceError):
        is_lost = connection.connection is not server_connection or not connection.is_usable()
        if connection.in_atomic_block or not is_lost:
            raise
        connection.close()
        return _found_at_once_by(look)


def _found_at_once_by(look: Look) -> list[Check]:
    is_alone = not connection.in_atomic_block
    with transaction.atomic():
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = '{CHECK_SECONDS}s'")
        found = look()
        return [found] if isinstance(found, Check) else list(found)
