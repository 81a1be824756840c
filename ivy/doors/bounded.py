"""Looking into the database within a bound: for those who ask from outside and must get an answer, whatever is frozen.

A server that is stopped, or a machine that is gone, answers nobody: neither `statement_timeout` nor libpq's own
`connect_timeout` (two seconds at least) helps. So the look is done by a thread with a connection of its own, which is
left behind when it takes too long, and ends by itself when the server is back.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections

T = TypeVar("T")

MOST_AT_ONCE = 4  # of one process; those left behind count
CONNECT_SECONDS = 2  # libpq takes less for two

_places = BoundedSemaphore(MOST_AT_ONCE)


class TookTooLong(Exception):
    """No answer within the time; the database may be away, frozen or very busy."""


class _Answer(Generic[T]):
    """What came of a look: its result or its exception."""

    def __init__(self, look: Callable[[], T]) -> None:
        self.result: T
        self.error: BaseException | None = None
        try:
            self.result = look()
        except BaseException as error:  # noqa: BLE001 - raised again, by the one who waits
            self.error = error


def within(seconds: float, look: Callable[[], T], *, statement_seconds: float | None = None) -> T:
    """What `look` answers, on a database connection of its own, closed afterwards. May be repeated.

    `statement_seconds`: for each statement, at most (default: `seconds`). Raises TookTooLong after `seconds`, or at
    once while several earlier looks still hang; and whatever `look` raises.
    """
    if not _places.acquire(blocking=False):
        raise TookTooLong("earlier looks at the database still wait for an answer")
    answers: SimpleQueue[_Answer[T]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put(_Answer(lambda: _on_a_connection_of_its_own(look, statement_seconds or seconds)))
        finally:
            _places.release()

    Thread(target=work, name="bounded look", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TookTooLong(f"the database gave no answer within {seconds:g} seconds") from None
    if answer.error is not None:
        raise answer.error
    return answer.result


def _on_a_connection_of_its_own(look: Callable[[], T], statement_seconds: float) -> T:
    own = connections[DEFAULT_DB_ALIAS].copy()
    options = own.settings_dict["OPTIONS"] = dict(own.settings_dict.get("OPTIONS", {}))
    milliseconds = int(statement_seconds * 1000)
    options["connect_timeout"] = CONNECT_SECONDS
    options["tcp_user_timeout"] = CONNECT_SECONDS * 1000
    options["application_name"] = "ivy doors"
    options["options"] = f"{options.get('options', '')} -c statement_timeout={milliseconds}".strip()
    connections[DEFAULT_DB_ALIAS] = own  # of this thread alone
    try:
        return look()
    finally:
        own.close()
